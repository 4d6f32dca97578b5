"""The heap of due times: which timers fall due next.

Theory of operation. The cache is a hint, never the truth: a stale entry does no harm, because the
claim decides. Each destination has a lane of its own, a heap, so that a full destination can wait
without hiding the others; `_fronts` orders the lanes by their first entry. What was moved or
forgotten stays behind in the heaps and is recognised there, because `_entries` no longer knows it.

What does not fit is left out from its far end, and the cache remembers from where: the horizon for
all of it, a nearer one for unproven destinations, a cutoff for a lane. Nothing is missing before
them, so the loader knows what to read.

The crowd, which is the lanes set aside and those of unproven destinations, has a half of the cache
at most: however many timers wait for full destinations, or for slow and new ones, those of all
others have room.

An entry takes about 200 bytes: a tuple of numbers rather than a datetime and a UUID.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush, nlargest
from typing import Final
from uuid import UUID

from timer_trio.domain.pace import Pace, Queue
from timer_trio.domain.timer import SHARDS, Destination, DueTimer, TimerId

LANE_SHARE: Final = 8
"""One destination may take an eighth of the cache, so that its backlog leaves room for others."""
CROWD_SHARE: Final = 2
"""The crowd may take a half, so that it hides no others."""
KEPT_SHARE: Final = 0.75
"""What a trim keeps: it is paid for once in a quarter of the cache."""
HUNGRY_SHARE: Final = 0.5
"""Below it, what was left out is worth reading again."""

MAX_CUT_OFFS: Final = 100
"""Named to the loader: the database compares each row that it reads with all of them."""

_NEVER: Final = float("inf")
_SHARD: Final = SHARDS - 1
"""The bits of an id that name its shard."""
_STALE_ALLOWED: Final = 16
"""Stale entries that a heap may always hold: rebuilding a small heap gains nothing."""


@dataclass(slots=True, eq=False)
class _Lane:
    destination: Destination
    limit: int
    """How many entries it may hold; beyond it, it is cut."""
    is_unproven: bool
    heap: list[_Entry] = field(default_factory=list)
    live: int = 0
    cutoff_s: float = _NEVER
    """From here on, timers of this lane were left out."""


_Entry = tuple[float, int, _Lane]
"""Unix seconds, the 128 bits of the id, and the lane."""


class Cache:
    """The timers that are due before `horizon`, as far as they have room.

    `is_unproven` tells which destinations have not answered in good time so far.

    An entry leaves when it is taken to be claimed. Whoever took it reports what became of it with
    `done`; until then the same timer is not put in again, and what is heard of it is kept aside.
    """

    def __init__(
        self, max_timers: int, is_unproven: Callable[[Destination], bool] = lambda _: False
    ) -> None:
        self._max_timers = max_timers
        self._is_unproven = is_unproven
        self._max_per_lane = max(1, max_timers // LANE_SHARE)
        self._entries: dict[int, _Entry] = {}
        self._taken: dict[int, DueTimer | None] = {}
        self._lanes: dict[Destination, _Lane] = {}
        self._cut: dict[Destination, _Lane] = {}
        self._fronts: list[tuple[float, Destination]] = []
        self._max_crowd = max_timers // CROWD_SHARE
        self._crowd_live = 0
        self._aside: dict[Destination, Queue] = {}
        self._queues: Counter[Queue] = Counter()
        self._behind: dict[Pace, list[tuple[float, Destination]]] = {pace: [] for pace in Pace}
        self._horizon_s = 0.0
        self._trimmed = False
        self._unproven_horizon_s = 0.0
        self._crowd_trimmed = False
        self._is_short = False

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
    def cut_off(self) -> Mapping[Destination, datetime]:
        """Name the fullest of the lanes that are cut off, and from when on they are."""
        fullest = nlargest(MAX_CUT_OFFS, self._cut.values(), key=lambda lane: lane.live)
        return {lane.destination: datetime.fromtimestamp(lane.cutoff_s, UTC) for lane in fullest}

    @property
    def queues(self) -> AbstractSet[Queue]:
        """Name the queues for which lanes are set aside."""
        return self._queues.keys()

    @property
    def is_hungry(self) -> bool:
        """Whether something was left out and has room again."""
        if self._is_short:
            return True
        if self._trimmed and len(self._entries) <= self._max_timers * HUNGRY_SHARE:
            return True
        if self._crowd_trimmed and self._crowd_live <= self._max_crowd * HUNGRY_SHARE:
            return True
        return any(self._is_drained(lane) for lane in self._cut.values())

    def open_until(self, until: datetime) -> None:
        """Accept what is due before `until`: the loader is about to read up to there."""
        self._move_horizon(until.timestamp())
        self._unproven_horizon_s = self._horizon_s
        self._trimmed = self._crowd_trimmed = self._is_short = False

    def reopen_drained_lanes(self) -> None:
        """Accept again what drained lanes had left out: the loader is about to read it."""
        for lane in [lane for lane in self._cut.values() if self._is_drained(lane)]:
            lane.cutoff_s = _NEVER
            lane.limit = min(self._max_per_lane, 2 * lane.limit)
            del self._cut[lane.destination]
            self._drop_if_empty(lane)

    def judge_anew(self, destination: Destination) -> None:
        """Ask again whether a destination is unproven: that has changed."""
        is_unproven = self._is_unproven(destination)
        if lane := self._lanes.get(destination):
            was_in_crowd = self._is_in_crowd(lane)
            lane.is_unproven = is_unproven
            self._move_crowd(lane, was_in=was_in_crowd)
            lane.limit = lane.limit if is_unproven else self._max_per_lane
        if not is_unproven and self._crowd_trimmed:
            self._is_short = True  # of what it may have beyond the horizon of the unproven

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

    def set_aside(self, queue: Queue) -> None:
        """Hide the lane that `peek` named until `recall` of this queue, or until a nearer timer."""
        front = heappop(self._fronts)
        destination = front[1]
        lane = self._lanes[destination]
        was_in_crowd = self._is_in_crowd(lane)
        self._aside[destination] = queue
        self._queues[queue] += 1
        if isinstance(queue, Pace):
            self._line_up(front, queue)
        while self._fronts and self._fronts[0] == front:
            heappop(self._fronts)
        self._move_crowd(lane, was_in=was_in_crowd)

    def recall(self, queue: Queue, count: int = 1) -> list[Destination]:
        """Show a lane again, or so many of those that wait for a pace, the nearest first."""
        if not isinstance(queue, Pace):
            return self._recall_lane(queue)
        shown: list[Destination] = []
        behind = self._behind[queue]
        while behind and len(shown) < count:
            destination = heappop(behind)[1]
            if self._aside.get(destination) is queue:
                shown += self._recall_lane(destination)
        return shown

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
        lane = self._lanes.get(destination)
        if lane is None:
            unproven = self._is_unproven(destination)
            lane = self._lanes[destination] = _Lane(destination, self._max_per_lane, unproven)
        if due_s >= lane.cutoff_s or (lane.is_unproven and due_s >= self._unproven_horizon_s):
            self._drop_if_empty(lane)
            return
        entry = (due_s, key, lane)
        self._entries[key] = entry
        self._count(lane, 1)
        heappush(lane.heap, entry)
        if lane.heap[0] is entry:
            self._show(due_s, destination)
        if lane.live > lane.limit:
            self._cut_lane(lane, max(1, int(lane.limit * KEPT_SHARE)))
        if self._crowd_live > self._max_crowd:
            self._cut_crowd()
        if len(self._entries) > self._max_timers:
            self._trim()

    def _count(self, lane: _Lane, more: int) -> None:
        lane.live += more
        if self._is_in_crowd(lane):
            self._crowd_live += more

    def _is_in_crowd(self, lane: _Lane) -> bool:
        return lane.is_unproven or lane.destination in self._aside

    def _move_crowd(self, lane: _Lane, *, was_in: bool) -> None:
        """Count a lane that may have joined the crowd or left it."""
        self._crowd_live += lane.live * (self._is_in_crowd(lane) - was_in)
        if self._crowd_live > self._max_crowd:
            self._cut_crowd()

    def _line_up(self, front: tuple[float, Destination], pace: Pace) -> None:
        behind = self._behind[pace]
        heappush(behind, front)
        if len(behind) > 2 * self._queues[pace] + _STALE_ALLOWED:
            aside = [d for d, queue in self._aside.items() if queue is pace]
            behind[:] = [(self._lanes[d].heap[0][0], d) for d in aside]
            heapify(behind)

    def _recall_lane(self, destination: Destination) -> list[Destination]:
        if destination not in self._aside:
            return []
        self._show(self._lanes[destination].heap[0][0], destination)
        return [destination]

    def _leave_aside(self, lane: _Lane) -> None:
        if lane.destination not in self._aside:
            return
        queue = self._aside.pop(lane.destination)
        self._crowd_live -= 0 if lane.is_unproven else lane.live
        self._queues[queue] -= 1
        if not self._queues[queue]:
            del self._queues[queue]

    def _cut_crowd(self) -> None:
        """Cut the fullest lanes of the crowd to one level, or if that is not enough by time."""
        lanes = [lane for lane in self._lanes.values() if lane.live and self._is_in_crowd(lane)]
        budget = int(self._max_crowd * KEPT_SHARE)
        level = _level(sorted(lane.live for lane in lanes), budget)
        for lane in lanes:
            if lane.live > level:
                lane.limit = max(1, int(level / KEPT_SHARE))
                self._cut_lane(lane, level)
        unproven = [entry for entry in self._entries.values() if entry[2].is_unproven]
        if len(unproven) > budget:
            self._unproven_horizon_s = min(
                self._unproven_horizon_s, self._keep_nearest(unproven, budget)
            )
            self._crowd_trimmed = True

    def _cut_lane(self, lane: _Lane, kept: int) -> None:
        """Leave out all but the nearest entries of a lane."""
        live = [entry for entry in lane.heap if self._entries.get(entry[1]) is entry]
        live.sort()
        for entry in live[kept:]:
            del self._entries[entry[1]]
        self._count(lane, kept - len(live))
        lane.heap = live[:kept]  # what is sorted is a heap
        lane.cutoff_s = min(lane.cutoff_s, live[kept][0], self._horizon_s)
        self._cut[lane.destination] = lane

    def _trim(self) -> None:
        """Leave out all but the nearest entries, and draw the horizon in."""
        kept = int(self._max_timers * KEPT_SHARE)
        first_cut_s = self._keep_nearest(list(self._entries.values()), kept)
        self._move_horizon(min(self._horizon_s, first_cut_s))
        self._trimmed = True

    def _keep_nearest(self, entries: list[_Entry], kept: int) -> float:
        """Forget all but the nearest of some entries; answers from which due time on."""
        entries.sort()
        for entry in reversed(entries[kept:]):
            self._forget(entry)
        return entries[kept][0]

    def _move_horizon(self, horizon_s: float) -> None:
        self._horizon_s = horizon_s
        # What is left out beyond the horizon is missing from a cut lane too, when the horizon
        # moves on and the lane is still too full to be read again.
        for lane in self._cut.values():
            lane.cutoff_s = min(lane.cutoff_s, horizon_s)

    def _forget(self, entry: _Entry) -> None:
        lane = entry[2]
        was_first = lane.heap[0] is entry
        del self._entries[entry[1]]
        self._count(lane, -1)
        if len(lane.heap) > 2 * lane.live + _STALE_ALLOWED:
            lane.heap = [each for each in lane.heap if self._entries.get(each[1]) is each]
            heapify(lane.heap)
        first_s = self._first_of(lane) if was_first else None
        if first_s is not None:
            self._show(first_s, lane.destination)
        self._drop_if_empty(lane)

    def _show(self, due_s: float, destination: Destination) -> None:
        self._leave_aside(self._lanes[destination])
        heappush(self._fronts, (due_s, destination))
        if len(self._fronts) > 2 * len(self._lanes) + _STALE_ALLOWED:
            lanes = [each for each in self._lanes.values() if each.destination not in self._aside]
            self._fronts = [(each.heap[0][0], each.destination) for each in lanes if each.live]
            heapify(self._fronts)

    def _drop_if_empty(self, lane: _Lane) -> None:
        if lane.live:
            return
        self._leave_aside(lane)
        if lane.destination not in self._cut:
            self._lanes.pop(lane.destination, None)

    def _first_of(self, lane: _Lane) -> float | None:
        heap = lane.heap
        while heap:
            if self._entries.get(heap[0][1]) is heap[0]:
                return heap[0][0]
            heappop(heap)
        return None

    def _is_drained(self, lane: _Lane) -> bool:
        return lane.cutoff_s < self._horizon_s and lane.live <= lane.limit * HUNGRY_SHARE


def _level(counts: Sequence[int], budget: int) -> int:
    """Find down to where the greatest of some counts are to be cut, so that all fit into a budget.

    The counts ascend, and are more than the budget together. One of each is left in any case.
    """
    place = 0
    while counts[place] * (len(counts) - place) <= budget:
        budget -= counts[place]
        place += 1
    return max(1, budget // (len(counts) - place))
