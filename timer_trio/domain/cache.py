"""The heap of due times: which timers fall due next.

Theory of operation. The cache is a hint, never the truth: a stale entry does no harm, because the
claim decides. Each destination has a lane of its own, a heap, so that a full destination can wait
without hiding the others; `_fronts` orders the lanes by their first entry. What was moved or
forgotten stays behind in the heaps and is recognised there, because `_entries` no longer knows it.

What does not fit is left out from its far end, and the cache remembers from where: the horizon for
all of it, a cutoff for a lane. Nothing is missing before them, so the loader knows what to read.

An entry takes about 200 bytes: a tuple of numbers rather than a datetime and a UUID.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from typing import Final
from uuid import UUID

from timer_trio.domain.timer import SHARDS, Destination, DueTimer, TimerId

LANE_SHARE: Final = 8
"""One destination may take an eighth of the cache, so that its backlog leaves room for others."""
KEPT_SHARE: Final = 0.75
"""What a trim keeps: it is paid for once in a quarter of the cache."""
HUNGRY_SHARE: Final = 0.5
"""Below it, what was left out is worth reading again."""

_NEVER: Final = float("inf")
_SHARD: Final = SHARDS - 1
"""The bits of an id that name its shard."""
_STALE_ALLOWED: Final = 16
"""Stale entries that a heap may always hold: rebuilding a small heap gains nothing."""


@dataclass(slots=True, eq=False)
class _Lane:
    destination: Destination
    heap: list[_Entry] = field(default_factory=list)
    live: int = 0
    cutoff_s: float = _NEVER
    """From here on, timers of this lane were left out."""


_Entry = tuple[float, int, _Lane]
"""Unix seconds, the 128 bits of the id, and the lane."""


class Cache:
    """The timers that are due before `horizon`, as far as they have room.

    An entry leaves when it is taken to be claimed. Whoever took it reports what became of it with
    `done`; until then the same timer is not put in again, and what is heard of it is kept aside.
    """

    def __init__(self, max_timers: int) -> None:
        self._max_timers = max_timers
        self._max_per_lane = max(1, max_timers // LANE_SHARE)
        self._entries: dict[int, _Entry] = {}
        self._taken: dict[int, DueTimer | None] = {}
        self._lanes: dict[Destination, _Lane] = {}
        self._cut: dict[Destination, _Lane] = {}
        self._fronts: list[tuple[float, Destination]] = []
        self._aside: set[Destination] = set()
        self._horizon_s = 0.0
        self._trimmed = False

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def horizon(self) -> datetime:
        """Up to where the cache is complete, but for the lanes that are cut off."""
        return datetime.fromtimestamp(self._horizon_s, UTC)

    @property
    def first_due_s(self) -> float | None:
        """The first due time in Unix seconds, lanes set aside included; looks at every lane."""
        return min((lane.heap[0][0] for lane in self._lanes.values() if lane.live), default=None)

    @property
    def cut_off(self) -> list[Destination]:
        """Name the destinations whose lanes are cut off: what lies beyond has no room now."""
        return list(self._cut)

    @property
    def is_hungry(self) -> bool:
        """Whether something was left out and has room again."""
        if self._trimmed and len(self._entries) <= self._max_timers * HUNGRY_SHARE:
            return True
        return any(self._is_drained(lane) for lane in self._cut.values())

    def open_until(self, until: datetime) -> None:
        """Accept what is due before `until`: the loader is about to read up to there."""
        self._move_horizon(until.timestamp())
        self._trimmed = False

    def reopen_drained_lanes(self) -> list[Destination]:
        """Accept again what drained lanes had left out; names those that are still too full."""
        for lane in [lane for lane in self._cut.values() if self._is_drained(lane)]:
            lane.cutoff_s = _NEVER
            del self._cut[lane.destination]
            self._drop_if_empty(lane)
        return self.cut_off

    def put(self, timer: DueTimer) -> None:
        """Take note of a timer, or of its new time; what lies beyond the horizon is left out."""
        key = timer.id.int
        if key in self._taken:
            heard = self._taken[key]
            self._taken[key] = timer if heard is None else min(heard, timer)
            return
        due_s = timer.due_at.timestamp()
        known = self._entries.get(key)
        if known is not None:
            if known[0] == due_s and known[2].destination == timer.destination:
                return
            self._forget(known)
        if due_s < self._horizon_s:
            self._add(due_s, key, timer.destination)

    def put_reading(self, timer: DueTimer) -> None:
        """Take note of what a statement has read, maybe before a change that is known already.

        So an earlier time that is known stays: if it is the wrong one, its claim will say so.
        """
        known = self._entries.get(timer.id.int)
        if known is None or timer.due_at.timestamp() < known[0]:
            self.put(timer)

    def peek(self) -> tuple[float, Destination] | None:
        """Name the first due time, in Unix seconds, and its destination, lanes set aside apart."""
        while self._fronts:
            front = self._fronts[0]
            lane = self._lanes.get(front[1])
            if lane is not None and self._first_of(lane) == front[0]:
                return front
            heappop(self._fronts)
        return None

    def take(self) -> DueTimer:
        """Take out the entry that `peek` named."""
        due_s, destination = heappop(self._fronts)
        lane = self._lanes[destination]
        entry = lane.heap[0]
        self._taken[entry[1]] = None
        self._forget(entry)
        due_at = datetime.fromtimestamp(due_s, UTC)
        return DueTimer(due_at, TimerId(UUID(int=entry[1])), destination)

    def set_aside(self) -> None:
        """Hide the lane that `peek` named, until `recall`."""
        front = heappop(self._fronts)
        self._aside.add(front[1])
        while self._fronts and self._fronts[0] == front:
            heappop(self._fronts)

    def recall(self) -> None:
        """Show all lanes again."""
        for destination in tuple(self._aside):
            lane = self._lanes.get(destination)
            if lane is not None and lane.live:
                self._show(lane.heap[0][0], destination)
        self._aside.clear()

    def done(self, timer_id: TimerId) -> DueTimer | None:
        """Hear that the claim of a taken timer has been answered; tells what was put meanwhile."""
        return self._taken.pop(timer_id.int, None)

    def keys(self) -> list[int]:
        """List what `let_go` takes; a copy, since it may be worked through bit by bit."""
        return list(self._entries)

    def let_go(self, keys: Iterable[int], shards: Container[int], after: datetime) -> None:
        """Forget those of some entries that are in none of the `shards` and due later."""
        after_s = after.timestamp()
        for key in keys:
            entry = self._entries.get(key)
            if entry is not None and entry[0] > after_s and key & _SHARD not in shards:
                self._forget(entry)

    def _add(self, due_s: float, key: int, destination: Destination) -> None:
        lane = self._lanes.setdefault(destination, _Lane(destination))
        if due_s >= lane.cutoff_s:
            return
        entry = (due_s, key, lane)
        self._entries[key] = entry
        lane.live += 1
        heappush(lane.heap, entry)
        if lane.heap[0] is entry:
            self._show(due_s, destination)
        if lane.live > self._max_per_lane:
            kept = int(self._max_per_lane * KEPT_SHARE)
            first_cut_s = self._trim(lane.heap, kept)
            lane.cutoff_s = min(lane.cutoff_s, first_cut_s, self._horizon_s)
            self._cut[destination] = lane
        if len(self._entries) > self._max_timers:
            kept = int(self._max_timers * KEPT_SHARE)
            self._move_horizon(min(self._horizon_s, self._trim(self._entries.values(), kept)))
            self._trimmed = True

    def _move_horizon(self, horizon_s: float) -> None:
        self._horizon_s = horizon_s
        # What is left out beyond the horizon is missing from a cut lane too, when the horizon
        # moves on and the lane is still too full to be read again.
        for lane in self._cut.values():
            lane.cutoff_s = min(lane.cutoff_s, horizon_s)

    def _trim(self, entries: Iterable[_Entry], kept: int) -> float:
        """Forget all but the nearest entries; answers from which due time on some are missing."""
        live = sorted(entry for entry in entries if self._entries.get(entry[1]) is entry)
        for entry in live[kept:]:
            self._forget(entry)
        return live[kept][0]

    def _forget(self, entry: _Entry) -> None:
        lane = entry[2]
        was_first = lane.heap[0] is entry
        del self._entries[entry[1]]
        lane.live -= 1
        if len(lane.heap) > 2 * lane.live + _STALE_ALLOWED:
            lane.heap = [each for each in lane.heap if self._entries.get(each[1]) is each]
            heapify(lane.heap)
        first_s = self._first_of(lane) if was_first else None
        if first_s is not None:
            self._show(first_s, lane.destination)
        self._drop_if_empty(lane)

    def _show(self, due_s: float, destination: Destination) -> None:
        self._aside.discard(destination)
        heappush(self._fronts, (due_s, destination))
        if len(self._fronts) > 2 * len(self._lanes) + _STALE_ALLOWED:
            lanes = [each for each in self._lanes.values() if each.destination not in self._aside]
            self._fronts = [(each.heap[0][0], each.destination) for each in lanes if each.live]
            heapify(self._fronts)

    def _drop_if_empty(self, lane: _Lane) -> None:
        if not lane.live and lane.destination not in self._cut:
            self._lanes.pop(lane.destination, None)

    def _first_of(self, lane: _Lane) -> float | None:
        heap = lane.heap
        while heap:
            if self._entries.get(heap[0][1]) is heap[0]:
                return heap[0][0]
            heappop(heap)
        return None

    def _is_drained(self, lane: _Lane) -> bool:
        return lane.cutoff_s < self._horizon_s and lane.live <= self._max_per_lane * HUNGRY_SHARE
