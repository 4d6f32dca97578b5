"""An independent receiver: answers 200 to each callback, and tells how late each one came.

python benchmarks/receiver.py COUNT: prints its port, then, after COUNT callbacks, their lateness in
milliseconds as one line of JSON. It shares the machine's clock with the database.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from functools import partial

import trio

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
PATIENCE_S = 120


class Arrivals:
    def __init__(self, expected: int) -> None:
        self.late_ms: list[float] = []
        self._expected = expected
        self.complete = trio.Event()

    def note(self, head: bytes) -> None:
        line = next(
            line for line in head.split(b"\r\n") if line.startswith(b"X-Timer-Scheduled-At")
        )
        scheduled = datetime.fromisoformat(line.partition(b": ")[2].decode())
        late_s = time.time() - scheduled.timestamp()  # noqa: TID251 - what a receiver sees
        self.late_ms.append(late_s * 1000)
        if len(self.late_ms) == self._expected:
            self.complete.set()


async def answer(arrivals: Arrivals, stream: trio.SocketStream) -> None:
    received = b""
    async for data in stream:
        received += data
        while b"\r\n\r\n" in received:
            head, _, received = received.partition(b"\r\n\r\n")
            arrivals.note(head)
            await stream.send_all(ANSWER)


async def main(expected: int) -> None:
    arrivals = Arrivals(expected)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, partial(answer, arrivals), 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        print(listener.socket.getsockname()[1], flush=True)
        with trio.move_on_after(PATIENCE_S):
            await arrivals.complete.wait()
        # A callback too many would still come now.
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    print(json.dumps(arrivals.late_ms), flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
