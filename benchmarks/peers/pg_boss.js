// pg-boss on a database: node pg_boss.js URL [BATCH_SIZE].

import { PgBoss } from "pg-boss";

import { callBackByUndici } from "./callbacks.js";
import { takeOrders } from "./orders.js";

const QUEUE = "callbacks";

// As low a cost and as early a last arrival as it gave for 10,000 jobs at one instant.
const SETTINGS = {
  // The least that it allows. It has no other way to see that a job has become due.
  pollingIntervalSeconds: 0.5,
  // Without a pause from one full batch to the next.
  burstWhenBatchFull: true,
  // A batch is fetched by one statement and completed by another. Larger ones open more connections
  // at once, and cost a twentieth more at 1,000; at 250 the last job comes later.
  batchSize: Number(process.argv[3] ?? 500),
  // More of them take each other's turns on the one processor, and cost more.
  localConcurrency: 1,
};

const boss = new PgBoss({ connectionString: process.argv[2] });
boss.on("error", (error) => console.error(error));
await boss.start();
await boss.createQueue(QUEUE);

await takeOrders({
  write: (jobs) =>
    boss.insert(QUEUE, jobs.map(({ runAt, data }) => ({ startAfter: runAt, data }))),
  // undici costs it a tenth less than node:http.
  work: () =>
    boss.work(QUEUE, SETTINGS, (jobs) =>
      Promise.all(jobs.map((job) => callBackByUndici(job.data))),
    ),
});
