"""A service whose clock stands still: all there is between two resets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import trio
import trio.testing

from timer_trio.api import ClockControl
from timer_trio.config import Settings
from timer_trio.domain.timer import rfc3339
from timer_trio.domain.virtual_time import (
    MOST_FIRED,
    MOST_INSTANTS,
    NO_REAL_SERVICE,
    Advanced,
    AdvanceEndlessError,
    ClockNotBackError,
    ClockResetError,
    ClockTooFarError,
)
from timer_trio.run.replica import Replica
from timer_trio.run.stages import Database
from timer_trio.testing.noted_storage import NotedStorage
from timer_trio.testing.service import LEASE
from timer_trio.testing.standing_clock import StandingClock
from timer_trio.transport import Transport

FURTHEST: Final = timedelta(days=3_660)
"""Of one advance: no timer is due later."""
LAST_YEAR: Final = 9_900
"""All that is due later still lies within what Python's datetime can hold."""
POLL_S: Final = 0.001
"""Real time, between two looks at callbacks that are under way."""
PATIENCE_S: Final = 0.1
"""Real time, for all tasks to come to wait for something."""


class World:
    """A replica on storage in memory, the clock of both, and who moves it.

    What the service does, waits for or times out, takes real time; when something is due says the
    clock alone. It is set to each instant at which something falls due, in their order, as a
    database's clock may be set, and stays there until all of it is settled.
    """

    def __init__(
        self,
        start: datetime,
        *,
        settings: Settings,
        api_key: str,
        transport: Transport,
        control: ClockControl,
    ) -> None:
        self._clock = StandingClock(start)
        self._storage = NotedStorage(self._clock.now)
        self._replica = Replica(
            # What is claimed ahead would be `executing` for as long as the clock stands.
            settings.model_copy(update={"claim_ahead_s": 0.0, "claim_reach_s": 0.0}),
            [
                Database(
                    storage=self._storage,
                    clock=self._clock,
                    alone=True,
                    warnings=lambda: [NO_REAL_SERVICE],
                )
            ],
            transport=transport,
            lease=LEASE,
        )
        # Quart's types of the ASGI messages are narrower than hypercorn's.
        self.app: Any = self._replica.create_app(api_key, control)
        self._turn = trio.Lock()
        self._has_ended = trio.Event()
        self._life = trio.CancelScope()
        self._advances: set[trio.CancelScope] = set()

    @property
    def now(self) -> datetime:
        """What the clock shows."""
        return self._clock.now()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until `end` or cancelled; started once timers can be created."""
        try:
            with self._life:
                await self._replica.run(task_status=task_status)
        finally:
            self._has_ended.set()

    async def end(self) -> None:
        """Break off whatever is under way, advances as well, and return once it has ended."""
        for advance in self._advances:
            advance.cancel()
        self._life.cancel()
        await self._has_ended.wait()

    async def advance_by(self, time: timedelta) -> Advanced:
        """Do as ClockControl says."""
        with self._advance():
            async with self._turn:
                return await self._go_to(self.now + time)

    async def advance_to(self, instant: datetime) -> Advanced:
        """Do as ClockControl says."""
        with self._advance():
            async with self._turn:
                if instant < self.now:
                    now = rfc3339(self.now)
                    raise ClockNotBackError(f"lies before the time that the clock shows, {now}")
                return await self._go_to(instant)

    @contextmanager
    def _advance(self) -> Iterator[None]:
        """Raise a ClockResetError if the world ends in this block, or has ended before."""
        with trio.CancelScope() as scope:
            if self._life.cancel_called:
                scope.cancel()  # nothing in this world would ever come to rest
            self._advances.add(scope)
            try:
                yield
            finally:
                self._advances.remove(scope)
        if scope.cancelled_caught:
            raise ClockResetError("the clock was reset meanwhile, and everything with it")

    async def _go_to(self, end: datetime) -> Advanced:
        if end > self.now + FURTHEST:
            raise ClockTooFarError(f"is more than {FURTHEST.days:,} days ahead of the clock")
        if end.year > LAST_YEAR:
            raise ClockTooFarError(f"lies beyond the year {LAST_YEAR}")
        most = self._storage.fired_count + MOST_FIRED
        await self._come_to_rest(most)
        for _ in range(MOST_INSTANTS):
            if self.now >= end:
                return Advanced(now=self.now, fired=self._storage.take_fired())
            self._clock.set(min(self._first_instant() or end, end))
            self._replica.look_anew()
            await self._come_to_rest(most)
        raise self._endless(f"{MOST_INSTANTS:,} instants at which something falls due")

    def _first_instant(self) -> datetime | None:
        """Return when something falls due next, or some gate opens; None: never."""
        instants = (self._storage.first_due(self.now), self._clock.first_awaited())
        return min((each for each in instants if each is not None), default=None)

    async def _come_to_rest(self, most_fired: int) -> None:
        """Return once all that is due is answered and settled, and what follows from that."""
        while self._storage.fired_count <= most_fired:
            # Where a chain of timers goes on and on there is always some task that can.
            with trio.move_on_after(PATIENCE_S) as waiting:
                await trio.testing.wait_all_tasks_blocked()
            if self._replica.is_at_rest and not waiting.cancelled_caught:
                return
            self._replica.hurry()
            await trio.sleep(POLL_S)
        raise self._endless(f"{MOST_FIRED:,} callbacks")

    def _endless(self, what: str) -> AdvanceEndlessError:
        return AdvanceEndlessError(
            f"{what} have not been the end: is there a chain of timers without one? The clock has "
            f"come to {rfc3339(self.now)}; go on in shorter steps"
        )
