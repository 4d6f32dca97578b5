// Answers each callback by whether the documented function takes it for genuine.
import { createServer } from "node:http";
import { receive } from "./verify.mjs";

const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  try {
    const payload = receive(Buffer.concat(parts), request.headers);
    response.writeHead(payload?.greeting === "grüß" ? 204 : 422).end();
  } catch (error) {
    response.writeHead(error.constructor.name === "WebhookVerificationError" ? 401 : 500).end();
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
