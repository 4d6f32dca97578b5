"""A receiver of callbacks, run as a process of its own so that nobody's work delays its clock.

Writes its port on the first line of stdout and then a JSON line for each callback. The path says
what it answers: `/` 200 at once, `/wait/SECONDS` 200 after a while, `/tell/SECONDS` the same and
then a line that it has been answered, and when, `/status/CODE` that code, `/never` nothing;
`/reset` closes without an answer. `/fail/COUNT/CODE` answers so many attempts of each timer with
that code, and 200 from then on; a name and a value behind it are a header of those answers.

On stderr stands, 100 times a second, by how many milliseconds it woke late from a sleep: what this
machine, as busy as it is, does to any process.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import NoReturn

import httptools
import trio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
READ_BYTES = 65_536
SLEEP_S = 0.01


@dataclass(slots=True)
class Requests:
    """The requests in a stream of bytes; the methods in `on_` are httptools'."""

    at: float = 0.0
    path: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    whole: list[tuple[str, str, int]] = field(default_factory=list)
    """The path, the timer and the attempt of each."""

    def on_message_begin(self) -> None:
        self.at = time.time()  # noqa: TID251 - an arrival by the clock of the world outside
        self.path, self.headers, self.body = "", [], b""

    def on_url(self, url: bytes) -> None:
        self.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        headers = dict(self.headers)
        write_line(
            {
                "at": self.at,
                "path": self.path,
                "headers": headers,
                "body": self.body.decode("latin-1"),
            }
        )
        attempt = int(headers.get("x-timer-attempt", 1))
        self.whole.append((self.path, headers.get("x-timer-id", ""), attempt))


def write_line(value: object, file: int = 1) -> None:
    os.write(file, json.dumps(value).encode() + b"\n")


async def serve(stream: trio.SocketStream) -> None:
    requests = Requests()
    parser = httptools.HttpRequestParser(requests)
    try:
        while data := await stream.receive_some(READ_BYTES):
            parser.feed_data(data)
            while requests.whole:
                await answer(stream, *requests.whole.pop(0))
    except trio.BrokenResourceError:
        pass
    await stream.aclose()


async def answer(stream: trio.SocketStream, path: str, timer_id: str, attempt: int) -> None:
    _, verb, *rest = path.split("/")
    if verb == "reset":
        raise trio.BrokenResourceError
    if verb == "fail" and attempt <= int(rest[0]):
        headers = f"{rest[2]}: {rest[3]}\r\n" if rest[2:] else ""
        failed = f"HTTP/1.1 {rest[1]} No\r\n{headers}Content-Length: 5\r\n\r\nsorry"
        await stream.send_all(failed.encode())
        return
    if verb == "never":
        await trio.sleep_forever()
    if verb in {"wait", "tell"}:
        await trio.sleep(float(rest[0]))
    if verb == "status":
        await stream.send_all(b"HTTP/1.1 %s No\r\nContent-Length: 0\r\n\r\n" % rest[0].encode())
        return
    answered_at = time.time()  # noqa: TID251 - before the next callback can come
    await stream.send_all(OK)
    if verb == "tell":
        write_line({"answered": timer_id, "attempt": attempt, "at": answered_at})


async def measure_machine() -> NoReturn:
    while True:
        wake_at = trio.current_time() + SLEEP_S
        await trio.sleep_until(wake_at)
        write_line((trio.current_time() - wake_at) * 1000, file=2)


async def main() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
    write_line(listeners[0].socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure_machine)
        nursery.start_soon(trio.serve_listeners, serve, listeners)


if __name__ == "__main__":
    trio.run(main)
