// The jobs of a schedule, and the callback that each makes: the same request as the service's.
//
// The callback comes in two ways, and a peer takes the one that costs it less. Neither limits the
// connections to a destination; both keep them.

import { randomUUID } from "node:crypto";
import http from "node:http";
import { Agent, request } from "undici";

const PATIENCE_MS = 30_000;

const dispatcher = new Agent();
const agent = new http.Agent({ keepAlive: true });

export function makeJobs({ instants, urls, payload }) {
  return instants.map((instant, number) => {
    const runAt = new Date(Math.round(instant * 1000));
    const url = urls[number % urls.length];
    return { runAt, data: { id: randomUUID(), url, payload, scheduledAt: runAt.toISOString() } };
  });
}

export async function callBackByUndici(data) {
  const { statusCode, body } = await request(data.url, {
    dispatcher,
    method: "POST",
    headers: headersOf(data),
    body: data.payload,
    headersTimeout: PATIENCE_MS,
  });
  await body.dump();
  check(statusCode);
}

export function callBackByHttp(data) {
  return new Promise((resolve, reject) => {
    const options = { agent, method: "POST", headers: headersOf(data), timeout: PATIENCE_MS };
    const asked = http.request(data.url, options, (answer) => {
      answer.resume();
      answer.on("error", reject);
      answer.on("end", () => resolve(answer.statusCode));
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer in time")));
    asked.on("error", reject);
    asked.end(data.payload);
  }).then(check);
}

function headersOf({ id, payload, scheduledAt }) {
  return {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(payload),
    "x-timer-id": id,
    "x-timer-attempt": "1",
    "x-timer-scheduled-at": scheduledAt,
  };
}

function check(status) {
  if (status < 200 || status > 299) throw new Error(`the receiver answered ${status}`);
}
