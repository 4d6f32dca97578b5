"""What waits for one destination, or in one flow, nearest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop
from typing import Final

from timer_trio.domain.pace import BacklogKey
from timer_trio.domain.timer import Lane

NEVER: Final = float("inf")
STALE_ALLOWED: Final = 16
"""Stale entries that a heap may always hold: rebuilding a small heap gains nothing."""


@dataclass(slots=True, eq=False)
class Backlog:
    """A heap of entries; what was moved or forgotten stays in it, and is no longer in `known`."""

    key: BacklogKey
    number: int
    """Which of two comes first whose first timers are due at once."""
    limit: int
    """How many entries it may hold; beyond it, it is cut."""
    is_unproven: bool
    heap: list[Entry] = field(default_factory=list)
    live: int = 0
    cutoff_s: float = NEVER
    """From here on, timers of this backlog were left out."""
    lanes: dict[int, Lane] = field(default_factory=dict)
    """Where each timer of a flow goes, by its id."""

    def lane_of(self, entry: Entry) -> Lane:
        """Say where one of its timers goes."""
        key = self.key
        return key if isinstance(key, Lane) else self.lanes[entry[1]]

    def first_s(self, known: Mapping[int, Entry]) -> float | None:
        """Drop what is stale in front, and name the first due time; None: nothing is left."""
        heap = self.heap
        while heap:
            if known.get(heap[0][1]) is heap[0]:
                return heap[0][0]
            heappop(heap)
        return None

    def compact(self, known: Mapping[int, Entry]) -> None:
        """Drop what is stale, once it is the greater part."""
        if len(self.heap) > 2 * self.live + STALE_ALLOWED:
            self.heap = [entry for entry in self.heap if known.get(entry[1]) is entry]
            heapify(self.heap)


Entry = tuple[float, int, Backlog]
"""Unix seconds, the 128 bits of the id, and where it waits."""


def level(counts: Sequence[int], budget: int) -> int:
    """Find down to where the greatest of some counts are to be cut, so that all fit into a budget.

    The counts ascend, and are more than the budget together. One of each is left in any case.
    """
    place = 0
    while counts[place] * (len(counts) - place) <= budget:
        budget -= counts[place]
        place += 1
    return max(1, budget // (len(counts) - place))
