"""`timer-trio serve --test-clock`: a service for tests, over real HTTP, on a clock that stands."""

from __future__ import annotations

import gc
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog
import trio

from timer_trio import __version__
from timer_trio.clock import Clock
from timer_trio.config import Settings, StartRefusedError
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.timer import rfc3339
from timer_trio.domain.virtual_time import NO_REAL_SERVICE, Advanced
from timer_trio.run.process import fit, handled_signals, use_system
from timer_trio.server import Server
from timer_trio.telemetry.metrics import Metrics
from timer_trio.testing.service import ANYWHERE, API_KEY
from timer_trio.testing.world import World
from timer_trio.transport import CallbackTransport, Transport
from timer_trio.transport.pool import Pool

CLOCK_HEADER: Final = "X-Test-Clock"
"""Of each answer: what the clock shows, so that nobody takes this for a real service."""

_WORDS: Final = """
timer-trio listens on {url}   docs: {url}/docs

THIS IS NO REAL SERVICE, but one for tests: its clock stands still, and nothing is kept.
API key: {api_key}

curl {url}/clock/advance -H "X-API-Key: {api_key}" -H "Content-Type: application/json" \
-d '{{"seconds": 3600}}'
"""

log = structlog.get_logger()


async def serve_test_clock(
    settings: Settings,
    *,
    start: datetime | None = None,
    hypercorn_config: Path | None = None,
    until_stdin_ends: bool = False,
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, or until nobody holds our standard input open.

    `start`: what the clock shows first, and after each reset; None: the machine's time.

    Raises:
        StartRefusedError: the settings are those of a real service, or the address is in use.
    """
    _refuse_real_service(settings)
    thresholds = gc.get_threshold()
    shares = use_system(settings)
    gc.set_threshold(*thresholds)  # each reset leaves a world behind, full of cycles
    if "callback_allow" not in settings.model_fields_set:
        settings = settings.model_copy(update={"callback_allow": ANYWHERE})
    server = Server(settings, hypercorn_config, most_connections=shares.clients)
    api_key = settings.api_key.get_secret_value() if settings.api_key else API_KEY
    async with (
        handled_signals(),
        CallbackTransport(
            guard=AddressGuard(settings.callback_allow),
            ca_file=settings.callback_ca_file,
            pool=Pool(max_idle=shares.idle),
        ) as transport,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(transport.close_expired_forever)
        if until_stdin_ends:
            nursery.start_soon(_cancel_with_stdin, nursery.cancel_scope)
        service = VirtualService(
            fit(settings, shares), api_key=api_key, transport=transport, start=start
        )
        await nursery.start(service.run)
        await nursery.start(server.run, service, Metrics(), trio.Event())
        _show_ready(server.urls[0], api_key, service.now)
    log.info("stopped")


class VirtualService:
    """One world after the other, each from a reset to the next; an ASGI app."""

    def __init__(
        self, settings: Settings, *, api_key: str, transport: Transport, start: datetime | None
    ) -> None:
        self._settings = settings
        self._api_key = api_key
        self._transport = transport
        self._start = start
        self._resetting = trio.Lock()
        self._world = self._new_world()

    @property
    def now(self) -> datetime:
        """What the clock shows."""
        return self._world.now

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_clock(message: Any) -> None:
            if message["type"] == "http.response.start":
                told = CLOCK_HEADER.encode(), rfc3339(self.now).encode()
                message = {**message, "headers": [*message["headers"], told]}
            await send(message)

        await self._world.app(scope, receive, send_with_clock)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Run until cancelled; started once timers can be created."""
        async with trio.open_nursery() as self._worlds:
            await self._worlds.start(self._world.run)
            task_status.started()
            await trio.sleep_forever()
        raise AssertionError("it ends by cancellation alone")

    async def advance_by(self, time: timedelta) -> Advanced:
        return await self._world.advance_by(time)

    async def advance_to(self, instant: datetime) -> Advanced:
        return await self._world.advance_to(instant)

    async def reset(self) -> datetime:
        # Whoever asks may leave, and there must be a world all the same.
        with trio.CancelScope(shield=True):
            async with self._resetting:
                await self._world.end()
                self._world = world = self._new_world()
                await self._worlds.start(world.run)
        return self.now

    def _new_world(self) -> World:
        return World(
            self._start or _machine_time(),
            settings=self._settings,
            api_key=self._api_key,
            transport=self._transport,
            control=self,
        )


def _refuse_real_service(settings: Settings) -> None:
    if settings.databases:
        raise StartRefusedError(
            "--test-clock is no real service and keeps nothing: start it without DATABASE_URL"
        )
    if settings.workers != 1:
        raise StartRefusedError("--test-clock runs in one process: start it without WORKERS")


def _machine_time() -> datetime:
    """Return the last whole second, which is before whatever anybody reads from now on."""
    return Clock().timestamp().replace(microsecond=0)


async def _cancel_with_stdin(scope: trio.CancelScope) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        while await stdin.receive_some():
            pass
    scope.cancel()


def _show_ready(url: str, api_key: str, now: datetime) -> None:
    log.warning("test_clock", version=__version__, now=rfc3339(now), warning=NO_REAL_SERVICE)
    log.info("ready", url=url)
    print(_WORDS.format(url=url, api_key=api_key), flush=True)  # noqa: T201 - for whoever started it
