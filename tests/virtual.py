"""A service on a test clock over real HTTP, with a receiver that a function plays."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import trio

from tests.receivers import Received, Stream, read_request, receiver
from timer_trio.config import Settings
from timer_trio.domain.addresses import LOOPBACK, AddressGuard
from timer_trio.server import Server
from timer_trio.telemetry.metrics import Metrics
from timer_trio.testing import API_KEY
from timer_trio.testing.log import quiet_log
from timer_trio.testing.served import VirtualService
from timer_trio.transport import CallbackTransport

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
PATIENCE_S: Final = 60
"""For what takes a second, on a machine that has other things to do."""


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A callback as it came in; `at` is what the clock showed then."""

    at: datetime
    request: Received

    @property
    def timer_id(self) -> str:
        return self.request.header(b"x-timer-id")[0].decode()

    @property
    def attempt(self) -> int:
        return int(self.request.header(b"x-timer-attempt")[0])

    @property
    def payload(self) -> Any:
        return json.loads(self.request.body)


Play = Callable[[Arrived], Awaitable[int]]
"""Answers a callback with a status code."""


async def ok(_: Arrived) -> int:
    return 200


@dataclass(slots=True)
class Virtual:
    """The service as its consumers know it, and what its receiver has got."""

    client: httpx.AsyncClient
    service: VirtualService
    callback_url: str = ""
    play: Play = ok
    arrived: list[Arrived] = field(default_factory=list)

    async def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        with trio.fail_after(PATIENCE_S):
            return await self.client.request(method, path, **given)

    async def data(self, method: str, path: str, **given: Any) -> Any:
        answer = await self.ask(method, path, **given)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    async def create(self, **fields: Any) -> str:
        wanted = {"callback_url": self.callback_url, **fields}
        return str((await self.data("POST", "/timers", json=wanted))["id"])

    async def timer(self, timer_id: str) -> Any:
        return await self.data("GET", f"/timers/{timer_id}")

    async def advance(self, seconds: float | None = None, *, to: datetime | None = None) -> Any:
        """Return what was fired."""
        wanted = {"seconds": seconds} if to is None else {"to": to.isoformat()}
        return (await self.data("POST", "/clock/advance", json=wanted))["fired"]

    async def now(self) -> datetime:
        return instant((await self.data("GET", "/clock"))["now"])

    async def passed(self) -> timedelta:
        return await self.now() - START

    async def answer(self, stream: Stream) -> None:
        while (request := await read_request(stream)) is not None:
            arrived = Arrived(self.service.now, request)
            self.arrived.append(arrived)
            status = await self.play(arrived)
            await stream.send_all(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status)


@asynccontextmanager
async def virtual_service(
    start: datetime | None = START, **settings: Any
) -> AsyncIterator[Virtual]:
    """Run it until the block ends."""
    server = Server(Settings(port=0))
    url = server.urls[0]
    headers = {"X-API-Key": API_KEY}
    with quiet_log():
        async with (
            CallbackTransport(guard=AddressGuard(LOOPBACK)) as transport,
            httpx.AsyncClient(base_url=url, headers=headers, timeout=None) as client,  # noqa: S113 - each request is bounded
            trio.open_nursery() as nursery,
        ):
            service = VirtualService(
                Settings(callback_allow=LOOPBACK, **settings),
                api_key=API_KEY,
                transport=transport,
                start=start,
            )
            await nursery.start(service.run)
            await nursery.start(server.run, service, Metrics(), trio.Event())
            virtual = Virtual(client, service)
            async with receiver(virtual.answer) as far_end:
                virtual.callback_url = far_end.url("/hook")
                yield virtual
            nursery.cancel_scope.cancel()
