"""An independent receiver of callbacks, cheap enough to share the machine with what it watches.

python -m benchmarks.receiver PORTS [DELAY_S [FAILURES]]: listens on so many ports, prints them as
JSON, and answers 200 to each callback, after the delay, but 503 to the first FAILURES attempts of
each timer. For each line `COUNT SECONDS` on its standard input it waits until it has seen so many
attempts since the last answer, at most so long, and prints what it has seen as one line of JSON. It
ends with its standard input. One loop over epoll and no task, no future and no parser: about 20 us
a callback.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final

from benchmarks.machine import monotonic, time

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n\r\n"
    b"come back later\n"
)
BACKLOG: Final = 4096
LINGER_S: Final = 0.3
"""After the last one that was asked for: one too many would still come now."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID: Final = re.compile(rb"\r\nx-timer-id: *([0-9a-f-]{36})", re.IGNORECASE)
_ATTEMPT: Final = re.compile(rb"\r\nx-timer-attempt: *(\d+)", re.IGNORECASE)
_SCHEDULED: Final = re.compile(rb"\r\nx-timer-scheduled-at: *([^\r]+)", re.IGNORECASE)


class Arrivals:
    """What has come since the last report; doubles are counted over all reports.

    With `keeps_instants` the report says when each attempt came, by timer and attempt.
    """

    def __init__(self, *, keeps_instants: bool = False) -> None:
        self._seen: set[tuple[bytes, int]] = set()
        self._late_ms: list[float] = []
        self._keeps_instants = keeps_instants
        self._instants: list[tuple[str, int, float]] = []
        self._first_s = self._last_s = 0.0
        self.distinct = 0

    def note(self, request: bytes, now_s: float) -> int:
        """Count a request; answers with the number of its attempt."""
        timer_id, scheduled = _ID.search(request), _SCHEDULED.search(request)
        numbered = _ATTEMPT.search(request)
        if timer_id is None or scheduled is None or numbered is None:
            return 0
        attempt = int(numbered[1])
        due_s = datetime.fromisoformat(scheduled[1].decode()).timestamp()
        self._late_ms.append((now_s - due_s) * 1000)
        self._first_s = self._first_s or now_s
        self._last_s = now_s
        if (timer_id[1], attempt) not in self._seen:
            self._seen.add((timer_id[1], attempt))
            self.distinct += 1
        if self._keeps_instants:
            self._instants.append((timer_id[1].decode(), attempt, now_s))
        return attempt

    def report(self) -> str:
        report = {
            "late_ms": self._late_ms,
            "distinct": self.distinct,
            "first_s": self._first_s,
            "last_s": self._last_s,
            "instants": self._instants,
        }
        self._late_ms, self._instants = [], []
        self._first_s, self.distinct = 0.0, 0
        return json.dumps(report)


class Receiver:
    def __init__(self, ports: int, delay_s: float, failures: int) -> None:
        self._delay_s = delay_s
        self._failures = failures
        self._epoll = select.epoll()
        self._arrivals = Arrivals(keeps_instants=failures > 0)
        self._actions: dict[int, Callable[[], None]] = {}
        self._partial: dict[socket.socket, bytes] = {}
        self._held: deque[tuple[float, socket.socket, bytes]] = deque()
        self._wanted: int | None = None
        self._give_up_s = self._report_s = float("inf")
        self._is_open = True
        self._listeners = [self._listen() for _ in range(ports)]
        self._watch(sys.stdin.fileno(), self._take_order)

    def run(self) -> None:
        print(json.dumps([each.getsockname()[1] for each in self._listeners]), flush=True)
        while self._is_open:
            for fd, _ in self._epoll.poll(self._patience_s()):
                # A socket that was closed a moment ago may still have an event here.
                action = self._actions.get(fd)
                if action is not None:
                    action()
            self._answer_held()
            self._report_if_due()

    def _watch(self, fd: int, action: Callable[[], None]) -> None:
        self._actions[fd] = action
        self._epoll.register(fd, select.EPOLLIN)

    def _listen(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        listener.setblocking(False)
        self._watch(listener.fileno(), partial(self._accept, listener))
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                self._watch(connection.fileno(), partial(self._receive, connection))

    def _receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        now_s = time()
        if not data:
            self._close(connection)
            return
        if connection in self._partial:
            data = self._partial.pop(connection) + data
        if not _is_whole(data):
            self._partial[connection] = data
            return
        attempt = self._arrivals.note(data, now_s)
        answer = REFUSAL if attempt <= self._failures else ANSWER
        if self._delay_s:
            self._held.append((monotonic() + self._delay_s, connection, answer))
        else:
            self._answer(connection, answer)

    def _answer(self, connection: socket.socket, answer: bytes) -> None:
        with suppress(OSError):  # whoever has gone gets no answer
            connection.send(answer)

    def _close(self, connection: socket.socket) -> None:
        self._partial.pop(connection, None)
        del self._actions[connection.fileno()]
        self._epoll.unregister(connection.fileno())
        connection.close()

    def _answer_held(self) -> None:
        while self._held and self._held[0][0] <= monotonic():
            _, connection, answer = self._held.popleft()
            self._answer(connection, answer)

    def _patience_s(self) -> float:
        wake_s = min(self._give_up_s, self._report_s)
        if self._held:
            wake_s = min(wake_s, self._held[0][0])
        return -1 if wake_s == float("inf") else max(0.0, wake_s - monotonic())

    def _take_order(self) -> None:
        # An order is written as one line, and the next only after its answer.
        line = os.read(sys.stdin.fileno(), 1024).decode()
        if not line:
            self._is_open = False
            return
        count, seconds = line.split()
        self._wanted = int(count)
        self._give_up_s = monotonic() + float(seconds)

    def _report_if_due(self) -> None:
        if self._wanted is None:
            return
        now_s = monotonic()
        if self._arrivals.distinct >= self._wanted and self._report_s == float("inf"):
            self._report_s = now_s + LINGER_S
        if now_s >= min(self._give_up_s, self._report_s):
            self._wanted = None
            self._give_up_s = self._report_s = float("inf")
            print(self._arrivals.report(), flush=True)


def _is_whole(request: bytes) -> bool:
    head_end = request.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    length = _LENGTH.search(request)
    return len(request) >= head_end + 4 + (int(length[1]) if length else 0)


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ports, delay_s, failures = [*sys.argv[1:], *("0", "0")][:3]
    Receiver(int(ports), float(delay_s), int(failures)).run()


if __name__ == "__main__":
    main()
