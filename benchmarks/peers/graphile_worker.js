// graphile-worker on a database: node graphile_worker.js URL.

import { Logger, makeWorkerUtils, run } from "graphile-worker";

import { callBackByHttp } from "./callbacks.js";
import { takeOrders } from "./orders.js";

const TASK = "callback";

// As low a cost as it gave for 500 jobs a second that come within 25 ms.
const SETTINGS = {
  // How late a job is found due: 20 ms cost a tenth less and let one in a hundred come after 25 ms;
  // 5 ms cost a tenth more.
  pollInterval: 10,
  // Without it each of the concurrent ones polls by itself.
  localQueue: { size: 500 },
  concurrentJobs: 100,
  // Completions are written together, at the service's own interval.
  completeJobBatchDelay: 100,
  failJobBatchDelay: 100,
};

const connectionString = process.argv[2];
// No log: the service's is counted, theirs would be lines of text for each job.
const logger = new Logger(() => () => {});
const utils = await makeWorkerUtils({ connectionString, logger });
await utils.migrate();

await takeOrders({
  write: (jobs) =>
    utils.addJobs(jobs.map(({ runAt, data }) => ({ identifier: TASK, runAt, payload: data }))),
  // node:http costs it a twentieth less than undici.
  work: () =>
    run({
      connectionString,
      logger,
      noHandleSignals: true,
      taskList: { [TASK]: callBackByHttp },
      preset: { worker: SETTINGS },
    }),
});
