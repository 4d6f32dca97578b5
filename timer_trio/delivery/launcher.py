"""The stage before the last: each claimed timer is started at its instant."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from heapq import heappop, heappush
from typing import Final

import trio

from timer_trio.alarm import Alarm
from timer_trio.clock import Clock
from timer_trio.delivery.firer import Firer, Firing
from timer_trio.domain.timer import ClaimedTimer, DueTimer, ReplicaId
from timer_trio.lifecycle import Lifecycle, ended_by

MAX_STARTS: Final = 32
"""Callbacks started at once: then answers have their turn, and their connections carry the next."""


class Launcher:
    """Has each timer fired at its instant, by an alarm that rings then."""

    def __init__(self, *, lifecycle: Lifecycle, clock: Clock, firer: Firer, alarm: Alarm) -> None:
        self._lifecycle = lifecycle
        self._clock = clock
        self._firer = firer
        self._alarm = alarm
        self._waiting: list[tuple[datetime, int, Firing]] = []
        self._order = 0

    def add(self, timer: ClaimedTimer, due: DueTimer, replica: ReplicaId) -> None:
        """Take over a timer that `replica` has claimed, to be fired at its instant.

        One that comes after the begin of `giving_back` is given back at once.
        """
        firing = self._firer.prepare(timer, due, replica)
        if self._lifecycle.giving_back.is_set():
            self._firer.give_back(firing)
            return
        self._order += 1
        heappush(self._waiting, (timer.due_at, self._order, firing))
        if self._waiting[0][2] is firing:
            self._set_alarm()

    async def run(self, callbacks: trio.Nursery) -> None:
        """Fire each timer at its instant, in a task of its own in `callbacks`, to `giving_back`.

        Gives back what it has not started, also when cancelled.
        """
        try:
            async with ended_by(self._lifecycle.giving_back):
                await self._alarm.run(partial(self._fire_due, callbacks))
        finally:
            for _, _, firing in self._waiting:
                self._firer.give_back(firing)
            self._waiting.clear()

    def _fire_due(self, callbacks: trio.Nursery) -> None:
        if self._lifecycle.giving_back.is_set():
            return
        now = self._clock.now()
        for _ in range(MAX_STARTS):
            if not self._waiting or self._waiting[0][0] > now:
                break
            self._firer.fire(heappop(self._waiting)[2], callbacks)
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._waiting:
            wait_s = (self._waiting[0][0] - self._clock.now()).total_seconds()
            self._alarm.set(trio.current_time() + wait_s)
