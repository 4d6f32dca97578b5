"""The heap of due times: which timers fall due next.

Theory of operation. The cache is a hint, never the truth: a stale entry does no harm, because the
claim decides. Each destination of a project has a backlog of its own, so that a full one can wait
without hiding the others, and so has each flow, whose timers wait for each other wherever they go;
`_fronts` orders the backlogs by their first entry. What was moved or
forgotten stays behind in the heaps and is recognised there, because `_entries` no longer knows it.

What does not fit is left out from its far end, and the cache remembers from where: the horizon for
all of it, a nearer one for unproven destinations, a cutoff for a backlog. Nothing is missing before
them, so the loader knows what to read.

What is held back, which is the backlogs set aside and those of unproven destinations, has a half
of the cache at most: however many timers wait for full destinations, or for slow and new ones,
those of all others have room.

An entry takes about 200 bytes: a tuple of numbers rather than a datetime and a UUID; the backlog of
a flow with one timer a kilobyte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import lru_cache
from heapq import heapify, heappop, heappush, nlargest
from typing import Final
from uuid import UUID

from timer_trio.domain.backlog import NEVER, STALE_ALLOWED, Backlog, Entry, level
from timer_trio.domain.flow import FlowId
from timer_trio.domain.pace import BacklogKey, Queue
from timer_trio.domain.timer import SHARDS, DueTimer, Lane, TimerId

BACKLOG_SHARE: Final = 8
"""One destination may take an eighth of the cache, so that its backlog leaves room for others."""
HELD_BACK_SHARE: Final = 2
"""What is held back may take a half, so that it hides no others."""
KEPT_SHARE: Final = 0.75
"""What a trim keeps: it is paid for once in a quarter of the cache."""
REFILL_SHARE: Final = 0.5
"""Below it, what was left out is worth reading again."""

SAMPLE: Final = 1_000
"""Of a backlog, to estimate how much of it is due: 50 us."""
MAX_CUT_OFFS: Final = 100
"""Named to the loader: the database compares each row that it reads with all of them."""

_SHARD: Final = SHARDS - 1
"""The bits of an id that name its shard."""


class Cache:
    """The timers that are due before `horizon`, as far as they have room.

    `is_unproven` tells which destinations have not answered in good time so far.

    An entry leaves when it is taken to be claimed. Whoever took it reports what became of it with
    `done`; until then the same timer is not put in again, and what is heard of it is kept aside.
    """

    def __init__(
        self, max_timers: int, is_unproven: Callable[[Lane], bool] = lambda _: False
    ) -> None:
        self._max_timers = max_timers
        self._is_unproven = is_unproven
        self._max_per_backlog = max(1, max_timers // BACKLOG_SHARE)
        self._entries: dict[int, Entry] = {}
        self._taken: dict[int, DueTimer | None] = {}
        self._backlogs: dict[BacklogKey, Backlog] = {}
        self._number = 0
        self._cut: dict[BacklogKey, Backlog] = {}
        self._fronts: list[_Front] = []
        self._max_held_back = max_timers // HELD_BACK_SHARE
        self._held_back_live = 0
        # Which queue each backlog that is set aside waits for; None: whoever did it shows it again.
        self._aside: dict[BacklogKey, Queue | None] = {}
        self._queues: Counter[Queue] = Counter()
        self._behind: dict[Queue, list[_Front]] = {}
        self._horizon_s = 0.0
        self._trimmed = False
        self._unproven_horizon_s = 0.0
        self._held_back_trimmed = False
        self._is_short = False

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def horizon(self) -> datetime:
        """Up to where the cache is complete, but for the backlogs that are cut off."""
        return datetime.fromtimestamp(self._horizon_s, UTC)

    @property
    def first_due_s(self) -> float | None:
        """The first due time in Unix seconds, whatever is set aside; looks at every backlog."""
        return min(
            (backlog.heap[0][0] for backlog in self._backlogs.values() if backlog.live),
            default=None,
        )

    @property
    def cut_off(self) -> Mapping[BacklogKey, datetime]:
        """Name the fullest of the backlogs that are cut off, and from when on they are."""
        fullest = nlargest(MAX_CUT_OFFS, self._cut.values(), key=lambda backlog: backlog.live)
        return {backlog.key: datetime.fromtimestamp(backlog.cutoff_s, UTC) for backlog in fullest}

    @property
    def queues(self) -> AbstractSet[Queue]:
        """Name the queues for which backlogs are set aside."""
        return self._queues.keys()

    @property
    def holds_back(self) -> bool:
        """Whether a backlog is set aside."""
        return bool(self._aside)

    @property
    def wants_refill(self) -> bool:
        """Whether something was left out and has room again."""
        if self._is_short:
            return True
        if self._trimmed and len(self._entries) <= self._max_timers * REFILL_SHARE:
            return True
        if self._held_back_trimmed and self._held_back_live <= self._max_held_back * REFILL_SHARE:
            return True
        return any(self._is_drained(backlog) for backlog in self._cut.values())

    def open_until(self, until: datetime) -> None:
        """Accept what is due before `until`: the loader is about to read up to there."""
        self._move_horizon(until.timestamp())
        self._unproven_horizon_s = self._horizon_s
        self._trimmed = self._held_back_trimmed = self._is_short = False

    def reopen_drained(self) -> None:
        """Accept again what drained backlogs had left out: the loader is about to read it."""
        for backlog in [backlog for backlog in self._cut.values() if self._is_drained(backlog)]:
            backlog.cutoff_s = NEVER
            backlog.limit = min(self._max_per_backlog, 2 * backlog.limit)
            del self._cut[backlog.key]
            self._drop_if_empty(backlog)

    def waiting(self, now_s: float) -> Iterator[tuple[Lane, int]]:
        """Count what is due of each destination, but for what is in flows.

        Of a backlog of thousands the share that is due is estimated.
        """
        for key, backlog in self._backlogs.items():
            first_s = backlog.first_s(self._entries) if isinstance(key, Lane) else None
            if first_s is not None and first_s <= now_s and isinstance(key, Lane):
                sample = backlog.heap[:: 1 + len(backlog.heap) // SAMPLE]
                due = sum(entry[0] <= now_s for entry in sample)
                yield key, max(1, backlog.live * due // len(sample))

    def judge_anew(self, lane: Lane) -> None:
        """Ask again whether a destination is unproven: that has changed."""
        is_unproven = self._is_unproven(lane)
        if backlog := self._backlogs.get(lane):
            was_held_back = self._is_held_back(backlog)
            backlog.is_unproven = is_unproven
            self._move_held_back(backlog, was_in=was_held_back)
            backlog.limit = backlog.limit if is_unproven else self._max_per_backlog
        if not is_unproven and self._held_back_trimmed:
            self._is_short = True  # of what it may have beyond the horizon of the unproven

    def put(self, timer: DueTimer) -> None:
        """Take note of a timer, or of its new time; what lies beyond the horizon is left out."""
        key = timer.id.int
        if key in self._taken:
            heard = self._taken[key]
            self._taken[key] = timer if heard is None or timer.due_at <= heard.due_at else heard
            return
        due_s = timer.due_at.timestamp()
        known = self._entries.get(key)
        if known is not None:
            if known[0] == due_s and self._says(known, timer):
                return
            self._forget(known)
        if due_s < self._horizon_s:
            self._add(due_s, key, timer)

    def put_reading(self, timer: DueTimer) -> None:
        """Take note of what a statement has read, maybe before a change that is known already.

        So an earlier time that is known stays: if it is the wrong one, its claim will say so.
        """
        known = self._entries.get(timer.id.int)
        if known is None or timer.due_at.timestamp() < known[0]:
            self.put(timer)

    def peek(self) -> tuple[float, BacklogKey] | None:
        """Name the first due time in Unix seconds, and its backlog; what is set aside apart."""
        while self._fronts:
            due_s, number, key = self._fronts[0]
            backlog = self._backlogs.get(key)
            # A backlog that was emptied and filled again has another number.
            if (
                backlog is not None
                and backlog.number == number
                and backlog.first_s(self._entries) == due_s
            ):
                return due_s, key
            heappop(self._fronts)
        return None

    def front_lane(self) -> Lane:
        """Name where the entry that `peek` named goes."""
        backlog = self._backlogs[self._fronts[0][2]]
        return backlog.lane_of(backlog.heap[0])

    def take(self) -> DueTimer:
        """Take out the entry that `peek` named."""
        due_s, _, key = heappop(self._fronts)
        backlog = self._backlogs[key]
        entry = backlog.heap[0]
        due_at, timer_id = datetime.fromtimestamp(due_s, UTC), TimerId(UUID(int=entry[1]))
        if isinstance(key, Lane):
            timer = DueTimer(due_at, timer_id, key)
        else:
            timer = DueTimer(due_at, timer_id, backlog.lane_of(entry), key.key)
        self._taken[entry[1]] = None
        self._forget(entry)
        return timer

    def set_aside(self, queue: Queue | None) -> None:
        """Hide the backlog that `peek` named until `recall` of this queue, or a nearer timer.

        None: until `show` of this very backlog, or a nearer timer.
        """
        front = heappop(self._fronts)
        key = front[2]
        backlog = self._backlogs[key]
        was_held_back = self._is_held_back(backlog)
        self._aside[key] = queue
        if queue is not None:
            self._queues[queue] += 1
            if queue != key:  # many may wait for it
                self._line_up(front, queue)
        while self._fronts and self._fronts[0] == front:
            heappop(self._fronts)
        self._move_held_back(backlog, was_in=was_held_back)

    def recall(self, queue: Queue, count: int = 1) -> list[BacklogKey]:
        """Show so many of the backlogs that wait for a queue, the nearest first.

        A destination's own, whatever that waits for, besides.
        """
        shown: list[BacklogKey] = []
        behind = self._behind.get(queue, [])
        while behind and len(shown) < count:
            key = heappop(behind)[2]
            if self._aside.get(key) == queue:
                shown.append(self._recall_backlog(key))
        if isinstance(queue, Lane) and self._aside.get(queue) is not None:
            shown.append(self._recall_backlog(queue))
        return shown

    def is_line_behind(self, queue: Queue) -> bool:
        """Whether more than a destination's own backlog waits for a queue."""
        return queue in self._behind

    def show(self, key: BacklogKey) -> bool:
        """Show a backlog again that waits for no queue; returns whether there is one."""
        is_hidden = key in self._aside and self._aside[key] is None
        if is_hidden:
            self._recall_backlog(key)
        return is_hidden

    def done(self, timer_id: TimerId) -> DueTimer | None:
        """End the claim of a taken timer; returns what was put of it meanwhile."""
        return self._taken.pop(timer_id.int, None)

    def keys(self) -> list[int]:
        """List what `let_go` takes; a copy, since it may be worked through bit by bit."""
        return list(self._entries)

    def let_go(self, keys: Iterable[int], shards: Container[int], after: datetime) -> None:
        """Forget those of some entries that are in none of the `shards` and due later.

        What is in a flow there is forgotten whenever it is due.
        """
        after_s = after.timestamp()
        for key in keys:
            entry = self._entries.get(key)
            if entry is None or key & _SHARD in shards:
                continue
            if entry[0] > after_s or isinstance(entry[2].key, FlowId):
                self._forget(entry)

    def forget(self, key: BacklogKey) -> None:
        """Forget all of a backlog: the loader is to read it anew."""
        backlog = self._backlogs.get(key)
        if backlog is None:
            return
        live = [entry for entry in backlog.heap if self._entries.get(entry[1]) is entry]
        for entry in live:
            self._strike_out(entry)
        self._count(backlog, -len(live))
        backlog.heap.clear()
        self._drop_if_empty(backlog)

    def _says(self, known: Entry, timer: DueTimer) -> bool:
        """Whether an entry is in the backlog of this timer, and goes there."""
        backlog = known[2]
        return backlog.lane_of(known) == timer.lane and backlog.key == (timer.flow or timer.lane)

    def _add(self, due_s: float, key: int, timer: DueTimer) -> None:
        backlog_key = timer.flow or timer.lane
        backlog = self._backlogs.get(backlog_key)
        if backlog is None:
            backlog = self._new_backlog(backlog_key)
        if due_s >= backlog.cutoff_s or (backlog.is_unproven and due_s >= self._unproven_horizon_s):
            self._drop_if_empty(backlog)
            return
        entry = (due_s, key, backlog)
        self._entries[key] = entry
        if timer.flow_key is not None:
            backlog.lanes[key] = _kept(timer.lane)
        self._count(backlog, 1)
        heappush(backlog.heap, entry)
        if backlog.heap[0] is entry:
            self._show(due_s, backlog)
        if backlog.live > backlog.limit:
            self._cut_backlog(backlog, max(1, int(backlog.limit * KEPT_SHARE)))
        if self._held_back_live > self._max_held_back:
            self._cut_held_back()
        if len(self._entries) > self._max_timers:
            self._trim()

    def _new_backlog(self, key: BacklogKey) -> Backlog:
        # A flow goes to many destinations, so none of them says anything of it.
        is_unproven = isinstance(key, Lane) and self._is_unproven(key)
        self._number += 1
        backlog = Backlog(key, self._number, self._max_per_backlog, is_unproven)
        self._backlogs[key] = backlog
        return backlog

    def _count(self, backlog: Backlog, more: int) -> None:
        backlog.live += more
        if self._is_held_back(backlog):
            self._held_back_live += more

    def _is_held_back(self, backlog: Backlog) -> bool:
        return backlog.is_unproven or backlog.key in self._aside

    def _move_held_back(self, backlog: Backlog, *, was_in: bool) -> None:
        """Count a backlog that may be held back now, or no longer."""
        self._held_back_live += backlog.live * (self._is_held_back(backlog) - was_in)
        if self._held_back_live > self._max_held_back:
            self._cut_held_back()

    def _line_up(self, front: _Front, queue: Queue) -> None:
        behind = self._behind.setdefault(queue, [])
        heappush(behind, front)
        if len(behind) > 2 * self._queues[queue] + STALE_ALLOWED:
            aside = [key for key, waits_for in self._aside.items() if waits_for == queue != key]
            behind[:] = [_front(self._backlogs[key]) for key in aside]
            heapify(behind)

    def _recall_backlog(self, key: BacklogKey) -> BacklogKey:
        backlog = self._backlogs[key]
        self._show(backlog.heap[0][0], backlog)
        return key

    def _leave_aside(self, backlog: Backlog) -> None:
        if backlog.key not in self._aside:
            return
        queue = self._aside.pop(backlog.key)
        self._held_back_live -= 0 if backlog.is_unproven else backlog.live
        if queue is None:
            return
        self._queues[queue] -= 1
        if not self._queues[queue]:
            del self._queues[queue]
            self._behind.pop(queue, None)  # what is left in it is stale

    def _cut_held_back(self) -> None:
        """Cut the fullest of what is held back to one level, or if that is not enough by time."""
        backlogs = [
            backlog
            for backlog in self._backlogs.values()
            if backlog.live and self._is_held_back(backlog)
        ]
        budget = int(self._max_held_back * KEPT_SHARE)
        most = level(sorted(backlog.live for backlog in backlogs), budget)
        for backlog in backlogs:
            if backlog.live > most:
                backlog.limit = max(1, int(most / KEPT_SHARE))
                self._cut_backlog(backlog, most)
        unproven = [entry for entry in self._entries.values() if entry[2].is_unproven]
        if len(unproven) > budget:
            self._unproven_horizon_s = min(
                self._unproven_horizon_s, self._keep_nearest(unproven, budget)
            )
            self._held_back_trimmed = True

    def _cut_backlog(self, backlog: Backlog, kept: int) -> None:
        """Leave out all but the nearest entries of a backlog."""
        live = [entry for entry in backlog.heap if self._entries.get(entry[1]) is entry]
        live.sort()
        for entry in live[kept:]:
            self._strike_out(entry)
        self._count(backlog, kept - len(live))
        backlog.heap = live[:kept]  # what is sorted is a heap
        backlog.cutoff_s = min(backlog.cutoff_s, live[kept][0], self._horizon_s)
        self._cut[backlog.key] = backlog

    def _trim(self) -> None:
        """Leave out all but the nearest entries, and draw the horizon in."""
        kept = int(self._max_timers * KEPT_SHARE)
        first_cut_s = self._keep_nearest(list(self._entries.values()), kept)
        self._move_horizon(min(self._horizon_s, first_cut_s))
        self._trimmed = True

    def _keep_nearest(self, entries: list[Entry], kept: int) -> float:
        """Forget all but the nearest of some entries; answers from which due time on."""
        entries.sort()
        for entry in reversed(entries[kept:]):
            self._forget(entry)
        return entries[kept][0]

    def _move_horizon(self, horizon_s: float) -> None:
        self._horizon_s = horizon_s
        # What is left out beyond the horizon is missing from a cut backlog too, when the horizon
        # moves on and the backlog is still too full to be read again.
        for backlog in self._cut.values():
            backlog.cutoff_s = min(backlog.cutoff_s, horizon_s)

    def _strike_out(self, entry: Entry) -> None:
        del self._entries[entry[1]]
        if lanes := entry[2].lanes:
            del lanes[entry[1]]

    def _forget(self, entry: Entry) -> None:
        backlog = entry[2]
        was_first = backlog.heap[0] is entry
        self._strike_out(entry)
        self._count(backlog, -1)
        backlog.compact(self._entries)
        first_s = backlog.first_s(self._entries) if was_first else None
        if first_s is not None:
            self._show(first_s, backlog)
        self._drop_if_empty(backlog)

    def _show(self, due_s: float, backlog: Backlog) -> None:
        self._leave_aside(backlog)
        heappush(self._fronts, (due_s, backlog.number, backlog.key))
        if len(self._fronts) > 2 * len(self._backlogs) + STALE_ALLOWED:
            shown = [each for each in self._backlogs.values() if each.key not in self._aside]
            self._fronts = [_front(each) for each in shown if each.live]
            heapify(self._fronts)

    def _drop_if_empty(self, backlog: Backlog) -> None:
        if backlog.live:
            return
        self._leave_aside(backlog)
        if backlog.key not in self._cut:
            self._backlogs.pop(backlog.key, None)

    def _is_drained(self, backlog: Backlog) -> bool:
        return backlog.cutoff_s < self._horizon_s and backlog.live <= backlog.limit * REFILL_SHARE


@lru_cache(maxsize=4_096)
def _kept(lane: Lane) -> Lane:
    """Return one object for all timers of a flow that go to the same destination."""
    return lane


_Front = tuple[float, int, BacklogKey]
"""When the first timer of a backlog is due, and which backlog that is: its number, and its name."""


def _front(backlog: Backlog) -> _Front:
    return backlog.heap[0][0], backlog.number, backlog.key
