"""How many callbacks may be in flight, altogether and to one destination."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from timer_trio.domain.timer import Destination

FREE_SHARE: Final = 4
"""A destination may hold a quarter of what is free, so that the next one finds a slot too."""
TOP_UP_SHARE: Final = 4
"""A full destination is topped up when a quarter of its slots is free: one claim serves all."""
TOP_UP_PAUSE_S: Final = 0.010
"""Or so long after the first slot came free, so that a slow destination is not kept waiting."""


class Slots:
    """The slots of one replica. A timer holds one from before its claim until its callback ends.

    `waiting` names the destinations that were found full, with the time at which the first slot
    came free since (None: not yet).
    """

    def __init__(self, total: int, per_destination: int) -> None:
        self._total = total
        self._per_destination = per_destination
        self._held: dict[Destination, int] = {}
        self.in_use = 0
        self.waiting: dict[Destination, float | None] = {}

    @property
    def free(self) -> int:
        return self._total - self.in_use

    def is_open(self, destination: Destination, now_s: float) -> bool:
        """Tell whether the destination may hold one more; if not, it is waiting from now on."""
        limit = max(1, min(self._per_destination, self.free // FREE_SHARE))
        room = limit - self._held.get(destination, 0)
        if room <= 0:
            self.waiting[destination] = None
            return False
        freed_s = self.waiting.get(destination)
        if freed_s is None or room * TOP_UP_SHARE >= limit or now_s >= freed_s + TOP_UP_PAUSE_S:
            self.waiting.pop(destination, None)
            return True
        return False

    def opens_s(self, destination: Destination) -> float | None:
        """When a waiting destination opens by itself, in Unix seconds; None: as slots come free."""
        freed_s = self.waiting.get(destination)
        return None if freed_s is None else freed_s + TOP_UP_PAUSE_S

    def keep_waiting(self, destinations: Collection[Destination]) -> None:
        """Hear which destinations have timers that wait: no others do."""
        for destination in self.waiting.keys() - destinations:
            del self.waiting[destination]

    def hold(self, destination: Destination) -> None:
        self.in_use += 1
        self._held[destination] = self._held.get(destination, 0) + 1

    def release(self, destination: Destination, now_s: float) -> None:
        self.in_use -= 1
        held = self._held[destination] - 1
        if held:
            self._held[destination] = held
        else:
            del self._held[destination]
        if destination in self.waiting and self.waiting[destination] is None:
            self.waiting[destination] = now_s
