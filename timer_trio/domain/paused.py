"""What is to be tried again, each after a pause of its own that grows."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

from timer_trio.backoff import Backoff

FIRST_PAUSE_S: Final = 0.05
"""A transaction of ours has ended by then."""
LONGEST_PAUSE_S: Final = 1.0
"""How late something may be found that can go on: a stranger's transaction ends after hours."""

_PAUSES: Final = Backoff(first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Paused(Generic[T]):
    """Something that waits for another try, and how long it waits this time."""

    item: T
    pause_s: float


class PausedItems(Generic[T]):
    """Orders what waits by when its time comes; what is taken comes back by `again`, or never."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Paused[T]]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_s(self) -> float:
        """When the first one's time comes; infinite if nothing waits."""
        return self._heap[0][0] if self._heap else float("inf")

    def add(self, item: T, now_s: float) -> None:
        self._push(Paused(item, _PAUSES.next_s(0.0)), now_s)

    def again(self, one: Paused[T], now_s: float) -> None:
        """Put back what was tried in vain: it waits twice as long."""
        self._push(Paused(one.item, _PAUSES.next_s(one.pause_s)), now_s)

    def take(self, now_s: float, at_most: int) -> list[Paused[T]]:
        """Take out those whose time has come, the first ones first."""
        taken: list[Paused[T]] = []
        while self._heap and self._heap[0][0] <= now_s and len(taken) < at_most:
            taken.append(heappop(self._heap)[2])
        return taken

    def _push(self, one: Paused[T], now_s: float) -> None:
        self._order += 1
        heappush(self._heap, (now_s + one.pause_s, self._order, one))
