// What the benchmark orders by lines on standard input, and is answered by lines.

import { createInterface } from "node:readline";

import { makeJobs } from "./callbacks.js";

const AT_ONCE = 1000;

// Takes schedules, as JSON, to write, and `load`, from which on the peer works, until its input ends.
export async function takeOrders({ write, work }) {
  console.log(`started with ${process.execPath}`);
  let isWorking = false;
  for await (const line of createInterface({ input: process.stdin })) {
    if (line !== "load") {
      await writeAll(write, makeJobs(JSON.parse(line)));
      console.log("written");
      continue;
    }
    if (!isWorking) await work();
    isWorking = true;
    console.log("loaded");
  }
  process.exit(0);
}

async function writeAll(write, jobs) {
  for (let start = 0; start < jobs.length; start += AT_ONCE) {
    await write(jobs.slice(start, start + AT_ONCE));
  }
}
