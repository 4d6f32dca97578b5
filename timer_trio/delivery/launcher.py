"""The stage before the last: each claimed timer is started at its instant."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from itertools import islice
from math import inf
from typing import Final

import trio

from timer_trio.alarm import Alarm
from timer_trio.clock import Clock
from timer_trio.delivery.firer import Firer
from timer_trio.delivery.firing import Firing
from timer_trio.delivery.lines import Lines
from timer_trio.domain.timer import ClaimedTimer, DueTimer, ReplicaId
from timer_trio.lifecycle import Lifecycle, ended_by

MAX_STARTS: Final = 32
"""Callbacks started at once: then answers have their turn, and their connections carry the next."""
LATE: Final = timedelta(milliseconds=10)
"""Who is so late already may stand in line a moment longer: it is the processor that makes him."""
CROWD: Final = 500
"""Timers in hand from which on that is so: a few, late after a hand-over, wait for nobody."""
LOOK_S: Final = 0.05
"""Between looks at lines for those who are stuck."""


class Launcher:
    """Has each timer fired at its instant, by an alarm that rings then.

    It rings `together_s` later, and those that fall due until then go out together.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        clock: Clock,
        firer: Firer,
        lines: Lines,
        alarm: Alarm,
        together_s: float = 0.0,
    ) -> None:
        self._lifecycle = lifecycle
        self._clock = clock
        self._firer = firer
        self._alarm = alarm
        self._lines = lines
        self._together_s = together_s
        self._waiting: list[tuple[datetime, int, Firing]] = []
        self._order = 0
        self._look_s = -inf

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
            for firing in self._lines.take_all():
                self._firer.give_back(firing)

    def _fire_due(self, callbacks: trio.Nursery) -> None:
        if self._lifecycle.giving_back.is_set():
            return
        if self._lines and trio.current_time() >= self._look_s:
            for firing in islice(self._lines.take_stuck(), MAX_STARTS):
                self._firer.fire(firing, callbacks)
            self._look_s = trio.current_time() + LOOK_S
        self._start_due(callbacks)
        self._set_alarm()

    def _start_due(self, callbacks: trio.Nursery) -> None:
        had_lines = bool(self._lines)
        now = self._clock.now()
        late = now - LATE
        is_crowd = self._firer.in_hand >= CROWD
        for _ in range(MAX_STARTS):
            if not self._waiting or self._waiting[0][0] > now:
                break
            due_at, _, firing = heappop(self._waiting)
            self._firer.fire(firing, callbacks, may_wait=is_crowd and due_at < late)
        if self._lines and not had_lines:
            self._look_s = trio.current_time() + LOOK_S

    def _set_alarm(self) -> None:
        if self._lines:
            self._alarm.set(self._look_s)
        if self._waiting:
            wait_s = self._clock.seconds_until(self._waiting[0][0])
            self._alarm.set(trio.current_time() + wait_s + self._together_s)
