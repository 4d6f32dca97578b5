// An invoice of which nobody hears for a month goes to collection. Node 20, and nothing besides.
import { createServer } from "node:http";

export function createApp(timers) {
  const invoices = new Map();

  async function bill(number, ownUrl) {
    const answer = await fetch(`${timers.url}/timers`, {
      method: "POST",
      headers: { "X-API-Key": timers.key, "Content-Type": "application/json" },
      body: JSON.stringify({
        delay: "P30D",
        callback_url: `${ownUrl}/collect`,
        callback_payload: { number },
      }),
    });
    if (!answer.ok) throw new Error(await answer.text());
    invoices.set(number, "billed");
  }

  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    invoices.set(JSON.parse(body).number, "in collection");
    response.writeHead(204).end();
  });

  return { bill, invoices, server };
}
