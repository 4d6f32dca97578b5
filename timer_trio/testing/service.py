"""The service itself, and the far end of its callbacks."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any, Final

import httpx
import trio

from timer_trio.clock import Clock
from timer_trio.config import Settings
from timer_trio.domain.membership import LeaseTimes
from timer_trio.run.replica import Replica
from timer_trio.run.stages import Database
from timer_trio.storage.memory import MemoryStorage
from timer_trio.testing.clock import hold_clock_for_threads
from timer_trio.testing.log import quiet_log
from timer_trio.testing.receiver import Answer, Callback, Receiver

API_KEY: Final = "a-key-for-tests-of-32-characters"
START: Final = datetime(2030, 1, 1, tzinfo=UTC)

LEASE: Final = LeaseTimes(beat_interval_s=3600, fence_s=float("inf"), dead_after_s=float("inf"))
"""Nothing can die in one process's memory: an hourly look is enough, and makes a year cheap."""
ANYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""Where callbacks may go that nobody else sends."""
_SETTINGS: Final = Settings(loader_interval_s=3600, cache_window_s=86_400, callback_allow=ANYWHERE)


class TimerService:
    """The service, the callbacks that it made, and a client of its API.

    `client` carries the key and needs no base URL: `await service.client.post("/timers", ...)`.
    Code under test that brings its own client can be given `service.api` as that client's
    transport, and `API_KEY`.
    """

    def __init__(
        self, *, answer: Answer, start: datetime, settings: Settings, log: bool = False
    ) -> None:
        self._log = log
        self.start = start
        self._began_s = trio.current_time()
        self._arrived = trio.Event()
        self.callbacks: list[Callback] = []
        self._replica = Replica(
            settings,
            [
                Database(
                    storage=MemoryStorage(self.now),
                    clock=Clock(elapsed=trio.current_time),
                    alone=True,
                )
            ],
            transport=Receiver(self.now, self._note, answer),
            lease=LEASE,
        )
        # Quart's types of the ASGI messages are narrower than httpx's.
        app: Any = self._replica.create_app(API_KEY)
        self.api = httpx.ASGITransport(app=app)
        self.client = httpx.AsyncClient(
            transport=self.api, base_url="http://timer-trio", headers={"X-API-Key": API_KEY}
        )

    def now(self) -> datetime:
        """Return the virtual time."""
        return self.start + timedelta(seconds=trio.current_time() - self._began_s)

    async def wait_callbacks(self, count: int) -> list[Callback]:
        """Wait until so many callbacks have been made since the start; answers with all of them."""
        while len(self.callbacks) < count:
            await self._arrived.wait()
        return self.callbacks

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once timers can be created.

        Raises:
            ThreadHoldsClockError: a worker thread and the virtual clock wait for each other.
        """
        with nullcontext() if self._log else quiet_log():
            async with trio.open_nursery() as nursery:
                await nursery.start(hold_clock_for_threads)
                await self._replica.run(task_status=task_status)
                nursery.cancel_scope.cancel()

    def _note(self, callback: Callback) -> None:
        self.callbacks.append(callback)
        self._arrived.set()
        self._arrived = trio.Event()


async def start_timer_service(
    nursery: trio.Nursery,
    *,
    answer: Answer = lambda _: 200,
    start: datetime = START,
    settings: Settings = _SETTINGS,
    log: bool = False,
) -> TimerService:
    """Start a service in the caller's nursery, which ends it; its clock shows `start`.

    `answer` is the receiver: it gets each callback. Until it says otherwise all are answered 200.

    Nothing is connected to, so a callback may name any address, this machine included. `settings`
    of your own bring the guard of their `callback_allow`: a timer whose URL names an address that
    it does not admit is refused, as by the service that is deployed. The service logs warnings and
    errors alone, unless `log` wants all; structlog's configuration, if there is one, says how.
    """
    service = TimerService(answer=answer, start=start, settings=settings, log=log)
    await nursery.start(service.run)
    return service
