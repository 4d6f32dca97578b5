"""The stage before the last: each claimed timer is started at its instant."""

from __future__ import annotations

from datetime import datetime
from heapq import heappop, heappush
from math import inf
from typing import Final

import trio

from timer_trio.clock import Clock
from timer_trio.delivery.firer import Firer, Firing
from timer_trio.domain.timer import ClaimedTimer, DueTimer, ReplicaId
from timer_trio.lifecycle import Lifecycle

MAX_STARTS: Final = 32
"""Callbacks started at once: then answers have their turn, and their connections carry the next."""


class Launcher:
    """Sleeps until the next instant, and starts a task for each timer that is due then."""

    def __init__(self, *, lifecycle: Lifecycle, clock: Clock, firer: Firer) -> None:
        self._lifecycle = lifecycle
        self._clock = clock
        self._firer = firer
        self._nap = trio.CancelScope()
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
            self._nap.cancel()

    async def run(self, callbacks: trio.Nursery) -> None:
        """Start a task in `callbacks` for each timer at its instant, until `giving_back`.

        Gives back what it has not started, also when cancelled.
        """
        try:
            while not self._lifecycle.giving_back.is_set():
                self._start_due(callbacks)
                await self._take_nap()
        finally:
            for _, _, firing in self._waiting:
                self._firer.give_back(firing)
            self._waiting.clear()

    def _start_due(self, callbacks: trio.Nursery) -> None:
        now = self._clock.now()
        for _ in range(MAX_STARTS):
            if not self._waiting or self._waiting[0][0] > now:
                return
            callbacks.start_soon(self._firer.fire, heappop(self._waiting)[2])

    async def _take_nap(self) -> None:
        nap_s = inf
        if self._waiting:
            nap_s = (self._waiting[0][0] - self._clock.now()).total_seconds()
        self._nap = trio.CancelScope(deadline=trio.current_time() + nap_s)
        with self._nap:
            await self._lifecycle.giving_back.wait()
