// Run by: node --test
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, beforeEach, test } from "node:test";

import { createApp } from "./app.mjs";

const key = "a-key-for-tests-of-32-characters";
let service, timers, app, ownUrl;

async function clock(action, body = {}) {
  const answer = await fetch(`${timers.url}/clock/${action}`, {
    method: "POST",
    headers: { "X-API-Key": key, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const { message, data } = await answer.json();
  if (!answer.ok) throw new Error(message);
  return data;
}

before(async () => {
  // It ends with this process, whose pipe is its standard input.
  service = spawn("timer-trio", ["serve", "--test-clock", "--until-stdin-ends"], {
    env: { ...process.env, API_KEY: key, PORT: "0", LOG_FORMAT: "json" },
    stdio: ["pipe", "ignore", "pipe"],
  });
  for await (const line of createInterface({ input: service.stderr })) {
    const { event, url } = JSON.parse(line);
    if (event === "ready") {
      timers = { url, key };
      break;
    }
  }
  service.stderr.resume();
  app = createApp(timers);
  app.server.listen(0, "127.0.0.1");
  await once(app.server, "listening");
  ownUrl = `http://127.0.0.1:${app.server.address().port}`;
});

after(() => {
  app.server.close();
  service.stdin.end();
});

beforeEach(() => clock("reset"));

test("an invoice goes to collection after a month", async () => {
  await app.bill(4711, ownUrl);

  assert.deepEqual((await clock("advance", { seconds: 29 * 86400 })).fired, []);
  assert.equal(app.invoices.get(4711), "billed");

  const { fired } = await clock("advance", { seconds: 86400 });
  assert.deepEqual(fired.map((each) => [each.status, each.http_status]), [["completed", 204]]);
  assert.equal(app.invoices.get(4711), "in collection");
});
