"""A consumer of the API: plain HTTP/1.1 on connections that are kept for the next request."""

from __future__ import annotations

import json
import select
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import trio

from tests.acceptance.processes import PATIENCE_S
from tests.acceptance.receiver import now

SIDE_BY_SIDE: Final = 16
FRESH_S: Final = 2.0
"""Well within what the service keeps an idle connection for."""


class NoAnswerError(Exception):
    """The connection ended before an answer was whole: nobody knows what became of the request."""


class NotSentError(NoAnswerError):
    """There was no connection to be had: the request can be made elsewhere."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def data(self) -> Any:
        return self.body["data"]


class Consumer:
    """Asks one service, on `port`, in the default project or another one."""

    def __init__(self, api_key: str, port: int = 0, project: str = "") -> None:
        self._api_key = api_key
        self.port = port
        self._project = f"X-Project: {project}\r\n" if project else ""
        self._idle: list[tuple[float, trio.SocketStream]] = []

    async def create(self, **fields: Any) -> str:
        """Create a timer and answer with its id."""
        answer = await self.ask("POST", "/timers", fields)
        assert answer.status == 201, answer
        return str(answer.data["id"])

    async def create_many(self, due_at: Sequence[float], **fields: Any) -> set[str]:
        """Create a timer for each of these instants of trio's clock, side by side."""
        timer_ids: set[str] = set()

        async def create_each(instants: Iterator[float]) -> None:
            for due in instants:
                execute_at = instant(due - trio.current_time())
                timer_ids.add(await self.create(execute_at=execute_at, **fields))

        shared = iter(due_at)
        async with trio.open_nursery() as nursery:
            for _ in range(SIDE_BY_SIDE):
                nursery.start_soon(create_each, shared)
        return timer_ids

    async def create_batch(self, due_at: Sequence[float], **fields: Any) -> set[str]:
        """Create up to 1,000 such timers in one request: that keeps the service busy for less."""
        now_s = trio.current_time()
        timers = [fields | {"execute_at": instant(due - now_s)} for due in due_at]
        answer = await self.ask("POST", "/timers/batch", {"timers": timers})
        assert answer.status == 201, answer
        return {summary["id"] for summary in answer.data["timers"]}

    async def get(self, timer_id: str) -> Any:
        answer = await self.ask("GET", f"/timers/{timer_id}")
        assert answer.status == 200, answer
        return answer.data

    async def total(self, status: str = "") -> int:
        of_status = f"&status={status}" if status else ""
        answer = await self.ask("GET", f"/timers?limit=1{of_status}")
        assert answer.status == 200, answer
        return int(answer.data["total"])

    async def wait_ended(self) -> None:
        """Wait until every timer has ended: outcomes are written within 100 ms or so."""
        with trio.fail_after(PATIENCE_S):
            while await self._live():  # noqa: ASYNC110 - as a consumer would
                await trio.sleep(0.05)

    async def _live(self) -> int:
        """How many timers have not ended: what has does so for good, so it is counted first."""
        ended = [await self.total(status) for status in ("completed", "failed", "canceled")]
        return await self.total() - sum(ended)

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Make a request.

        Raises:
            NotSentError: nothing listens there.
            NoAnswerError: the service went away meanwhile.
        """
        with trio.fail_after(PATIENCE_S):
            try:
                stream = await self._connection()
            except OSError as error:
                raise NotSentError(f"{method} {path}") from error
            try:
                answer = await self._exchange(stream, self._request(method, path, body))
            except (OSError, trio.BrokenResourceError) as error:
                raise NoAnswerError(f"{method} {path}") from error
        if answer.headers.get("connection", "").lower() == "close":
            stream.socket.close()
        else:
            self._idle.append((trio.current_time(), stream))
        return answer

    async def _exchange(self, stream: trio.SocketStream, request: bytes) -> Answer:
        try:
            await stream.send_all(request)
            return await read_answer(stream)
        except BaseException:
            stream.socket.close()
            raise

    def close(self) -> None:
        for _, stream in self._idle:
            stream.socket.close()

    async def _connection(self) -> trio.SocketStream:
        while self._idle:
            used_at, stream = self._idle.pop()
            if trio.current_time() - used_at < FRESH_S and not has_word(stream):
                return stream
            stream.socket.close()
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    def _request(self, method: str, path: str, body: object) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {self._api_key}\r\n{self._project}"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


def has_word(stream: trio.SocketStream) -> bool:
    """Tell whether the service has said something unasked: as good as always goodbye."""
    poll = select.poll()
    poll.register(stream.socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def instant(in_s: float) -> str:
    """Name the instant that is so many seconds away."""
    return (now() + timedelta(seconds=in_s)).isoformat()


async def read_answer(stream: trio.SocketStream) -> Answer:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await _more(stream)
    head, _, content = data.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
    while len(content) < int(headers["content-length"]):
        content += await _more(stream)
    return Answer(int(status.split()[1]), headers, json.loads(content))


async def _more(stream: trio.SocketStream) -> bytes:
    data = bytes(await stream.receive_some())
    if not data:
        raise trio.BrokenResourceError("closed before the answer was whole")
    return data
