"""A load client of a few lines: HTTP/1.1 over kept connections and one epoll, no task, no parser.

About 15 us a request, so that on a machine of two processors it takes little from what it measures.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from benchmarks.machine import monotonic
from benchmarks.programs import BenchmarkError

PATIENCE_S: Final = 30.0


def request_bytes(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    fields = {"Host": parts.netloc, "Content-Length": str(len(body)), **headers}
    lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields), "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass(slots=True)
class Load:
    """What became of the requests; `latencies_s` is sorted."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.latencies_s)

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    def latency_ms(self, share: float) -> float:
        return self.latencies_s[min(int(self.count * share), self.count - 1)] * 1000


class _Connection:
    """One request after the other, each sent when the last one is answered."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.socket: Final = socket.create_connection(address, PATIENCE_S)
        self._request = request
        self._answer = b""
        self._sent_s = 0.0

    def send(self) -> None:
        self._sent_s = monotonic()
        self.socket.sendall(self._request)

    def receive(self, status: int) -> float | None:
        """Take what has come; once the answer is whole, tell how long it took.

        Raises:
            BenchmarkError: it has another status.
        """
        data = self.socket.recv(1 << 20)
        if not data:
            raise BenchmarkError("the service closed a connection")
        self._answer += data
        if not _is_whole(self._answer):
            return None
        answer, self._answer = self._answer, b""
        if int(answer[9:12]) != status:
            raise BenchmarkError(f"instead of {status}: {answer[:1000].decode()}")
        return monotonic() - self._sent_s


def load(url: str, request: bytes, *, connections: int, seconds: float, status: int = 201) -> Load:
    """Send the same request again and again on so many connections at once, for some seconds.

    Raises:
        BenchmarkError: an answer had another status, or none came.
    """
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 80)
    opened = [_Connection(address, request) for _ in range(connections)]
    try:
        return _load({each.socket.fileno(): each for each in opened}, seconds, status)
    finally:
        for each in opened:
            each.socket.close()


def _load(opened: Mapping[int, _Connection], seconds: float, status: int) -> Load:
    result = Load()
    epoll = select.epoll()
    for fd in opened:
        epoll.register(fd, select.EPOLLIN)
    began_s = monotonic()
    for connection in opened.values():
        connection.send()
    busy = len(opened)
    while busy:
        events = epoll.poll(PATIENCE_S)
        if not events:
            raise BenchmarkError(f"no answer within {PATIENCE_S:g}s")
        is_over = monotonic() - began_s >= seconds
        for fd, _ in events:
            took_s = opened[fd].receive(status)
            if took_s is None:
                continue
            result.latencies_s.append(took_s)
            if is_over:
                busy -= 1
            else:
                opened[fd].send()
    result.seconds = monotonic() - began_s
    result.latencies_s.sort()
    epoll.close()
    return result


def _is_whole(answer: bytes) -> bool:
    head_end = answer.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    at = answer.lower().find(b"\r\ncontent-length:", 0, head_end + 2)
    if at < 0:
        raise BenchmarkError(f"an answer without a length: {answer[:200].decode()}")
    length = answer[at + 17 : answer.find(b"\r\n", at + 2)]
    return len(answer) >= head_end + 4 + int(length)
