"""How many callbacks may be in flight: of all, of a project, of a destination, and of a pace.

Theory of operation. A slow destination holds each of its slots for long, and there may be more slow
destinations than slots. So destinations that answer in good time have slots that nobody else gets:
the slow ones share a half of all, and with the new ones, of which nothing is known yet, seven
eighths. At any moment new ones may hold a quarter of what slow ones leave of these; one that has
not answered within a second counts as slow, which makes room for the next. Half of what new ones
may hold goes to whoever comes first, a quarter of the rest to each, so that one of a few is on time
although all are new, as they are to a replica that has just started; the other half is for those
that come later, a few slots for each.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Final

from timer_trio.domain.pace import PROMPT_S, WORST_S, Pace, Queue, mean_after, pace_of
from timer_trio.domain.project import ProjectId
from timer_trio.domain.project_shares import FREE_SHARE, ProjectShares
from timer_trio.domain.timer import Lane

SLOW_SHARE: Final = 2
"""Slow destinations hold a half of all slots at most."""
NEW_SHARE: Final = 4
"""New destinations hold a quarter of what slow ones leave."""
NEW_SLOTS: Final = 4
"""One new destination may hold so many at any rate: a dozen that never answer take nothing from
others."""
FIRST_NEW_SHARE: Final = 2
"""The first new destinations share a half of what all new ones may hold."""
UNPROVEN_SHARE: Final = 7 / 8
"""Slow and new ones together: the rest is for those that answer in good time."""
TOP_UP_SHARE: Final = 4
"""Whoever had no slot is let in again when a quarter is free: one claim serves all."""
TOP_UP_PAUSE_S: Final = 0.010
"""Or so long after the first slot came free, so that nobody is kept waiting."""
MAX_KNOWN: Final = 10_000
"""Destinations whose pace is remembered: 2 MB; consumers choose them, so they need an end."""


@dataclass(slots=True, eq=False)
class _Load:
    """What one destination holds, how many callbacks it has not answered, and how fast it was."""

    held: int = 0
    unanswered: int = 0
    mean_s: float | None = None
    pace: Pace = Pace.NEW


_NOTHING: Final = _Load()
"""What a destination holds that is not known."""


@dataclass(slots=True, eq=False)
class _Count:
    """How many slots are held."""

    held: int = 0


class Slots:
    """The slots of one process. A timer holds one from before its claim until its callback ends.

    `waiting` names what was found full, with the time at which the first slot came free since
    (None: not yet), and `changed` whose pace has changed. Times are Unix seconds. `on_freed` is
    called, by `tell_freed`, with where the callback went whose slot came free.
    """

    def __init__(
        self, total: int, per_destination: int, shares: ProjectShares | None = None
    ) -> None:
        self._total = total
        self._shares = shares or ProjectShares()
        self._of_project: Counter[ProjectId] = Counter()
        self._per_destination = per_destination
        self._max_unproven = max(1, int(total * UNPROVEN_SHARE))
        self._loads: OrderedDict[Lane, _Load] = OrderedDict()
        self._held = dict.fromkeys(Pace, 0)
        # Since when who is not slow has been silent, the longest first.
        self._silent_since: OrderedDict[Lane, float] = OrderedDict()
        self.changed: set[Lane] = set()
        self._count = _Count()
        self.waiting: dict[Queue, float | None] = {}
        self.on_freed: Callable[[Lane], None] = lambda _: None
        self._all = [self]

    def beside(self) -> Slots:
        """Return the same slots for another claimer, with other timers that wait for them."""
        other = copy(self)  # what counts is shared
        other.changed = set()
        other.waiting = {}
        other.on_freed = lambda _: None
        self._all.append(other)
        return other

    @property
    def are_shared(self) -> bool:
        """Whether there are other claimers."""
        return len(self._all) > 1

    @property
    def in_use(self) -> int:
        return self._count.held

    @property
    def free(self) -> int:
        return self._total - self._count.held

    def is_unproven(self, lane: Lane) -> bool:
        """Whether a destination has not answered in good time so far."""
        load = self._loads.get(lane)
        return load is None or load.pace is not Pace.PROMPT

    def wait_if_full(self, lane: Lane, now_s: float) -> Queue | None:
        """Have a destination wait if it may hold no more, and name what is full; None: it may."""
        load = self._loads.get(lane, _NOTHING)
        if not self.let_in(load.pace, now_s):
            return load.pace
        if self._shares.are_set and not self._lets_in_project(lane.project, now_s):
            return lane.project
        return None if self._lets_in_lane(lane, load, now_s) else lane

    def _lets_in_project(self, project: ProjectId, now_s: float) -> bool:
        most = self._shares.most_of(project, self.free)
        return most is None or self._is_open(project, most - self._of_project[project], most, now_s)

    def let_in(self, pace: Pace, now_s: float) -> int:
        """Count the slots that a pace may take now, all together; none: it waits."""
        if pace is Pace.PROMPT:
            return self.free
        self._judge_silent(now_s)
        limit = self._limit_of_pace(pace)
        unproven = self._held[Pace.NEW] + self._held[Pace.SLOW]
        room = min(self.free, limit - self._held[pace], self._max_unproven - unproven)
        return room if self._is_open(pace, room, limit, now_s) else 0

    def opens_s(self, queue: Queue, now_s: float) -> float | None:
        """When a waiting queue may open by itself; None: only as slots come free."""
        freed_s = self.waiting.get(queue)
        if freed_s is not None:
            return freed_s + TOP_UP_PAUSE_S
        if queue is Pace.NEW:
            # Those that are claimed and not sent yet will not be silent for long enough before.
            return next(iter(self._silent_since.values()), now_s) + PROMPT_S
        return None

    def opens_for(self, lane: Lane, now_s: float) -> bool:
        """Whether a destination that waits for its own slots may hold one now."""
        return self._lets_in_lane(lane, self._loads.get(lane, _NOTHING), now_s)

    def _lets_in_lane(self, lane: Lane, load: _Load, now_s: float) -> bool:
        limit = self._limit(load.pace)
        return self._is_open(lane, limit - load.held, limit, now_s)

    def room(self, queue: Queue, now_s: float) -> int:
        """How many backlogs that wait for a queue are worth a look now."""
        if isinstance(queue, Pace):
            return self.let_in(queue, now_s)
        if isinstance(queue, Lane):
            load = self._loads.get(queue, _NOTHING)
            return max(1, self._limit(load.pace) - load.held)
        most = self._shares.most_of(queue, self.free)
        return self._total if most is None else max(1, most - self._of_project[queue])

    @property
    def unproven_wait(self) -> bool:
        """Whether any slot that comes free may be one for those that wait for their pace's."""
        waiting = self.waiting
        return bool(self.changed) or Pace.NEW in waiting or Pace.SLOW in waiting

    def keep_waiting(self, queues: Iterable[Queue]) -> None:
        """Keep these queues waiting, and no others: nothing else has timers due."""
        self.waiting = {queue: self.waiting.get(queue) for queue in queues}

    def take_changed(self) -> set[Lane]:
        """Name the destinations whose pace has changed since this was asked."""
        changed, self.changed = self.changed, set()
        return changed

    def hold(self, lane: Lane) -> None:
        load = self._loads.get(lane)
        if load is None:
            load = self._loads[lane] = _Load()
        load.held += 1
        self._held[load.pace] += 1
        self._of_project[lane.project] += 1
        self._count.held += 1

    def release(self, lane: Lane, now_s: float) -> None:
        """Free the slot of a callback that was not sent."""
        self._free(lane, self._loads[lane], now_s)

    def begin(self, lane: Lane, now_s: float) -> None:
        """Count a callback that is being sent: it keeps its slot until `end`."""
        load = self._loads[lane]
        load.unanswered += 1
        if load.unanswered == 1 and load.pace is not Pace.SLOW:
            self._silent_since[lane] = now_s

    def tell_freed(self, lane: Lane) -> None:
        """Have all who claim hear that a slot came free."""
        for each in self._all:
            each.on_freed(lane)

    def held(self) -> Iterator[tuple[Lane, int]]:
        """Count the slots that each destination holds, of those that hold any."""
        return ((lane, load.held) for lane, load in self._loads.items() if load.held)

    def awaits_answer(self, lane: Lane) -> bool:
        """Whether a callback to it is under way."""
        load = self._loads.get(lane)
        return load is not None and load.unanswered > 0

    def end(self, lane: Lane, now_s: float, duration_s: float | None) -> None:
        """Free the slot of a callback; without a duration it tells nothing of its destination."""
        load = self._loads[lane]
        load.unanswered -= 1
        self._silent_since.pop(lane, None)
        if duration_s is not None:
            load.mean_s = mean_after(load.mean_s, duration_s)
            self._set_pace(lane, load)
        if load.unanswered and load.pace is not Pace.SLOW:
            self._silent_since[lane] = now_s
        self._loads.move_to_end(lane)
        self._free(lane, load, now_s)
        if len(self._loads) > MAX_KNOWN:
            self._forget_oldest()

    def _free(self, lane: Lane, load: _Load, now_s: float) -> None:
        load.held -= 1
        self._held[load.pace] -= 1
        self._of_project[lane.project] -= 1
        self._count.held -= 1
        for each in self._all:
            waiting = each.waiting
            if waiting:
                for queue in (lane, lane.project, Pace.NEW, Pace.SLOW):
                    if queue in waiting and waiting[queue] is None:
                        waiting[queue] = now_s
        if load.mean_s is None and not load.held:
            del self._loads[lane]  # nothing is known

    def _limit(self, pace: Pace) -> int:
        """How many one destination may hold of what its pace leaves free; at least one."""
        share = self.free // FREE_SHARE
        if pace is Pace.SLOW:
            share = min(share, (self._limit_of_pace(pace) - self._held[pace]) // FREE_SHARE)
        elif pace is Pace.NEW:
            for_first = self._limit_of_pace(pace) // FIRST_NEW_SHARE - self._held[pace]
            share = min(share, max(NEW_SLOTS, for_first // FREE_SHARE))
        return max(1, min(self._per_destination, share))

    def _limit_of_pace(self, pace: Pace) -> int:
        if pace is Pace.SLOW:
            return max(1, self._total // SLOW_SHARE)
        return max(1, (self._max_unproven - self._held[Pace.SLOW]) // NEW_SHARE)

    def _is_open(self, queue: Queue, room: int, limit: int, now_s: float) -> bool:
        if room <= 0:
            self.waiting[queue] = None
            return False
        freed_s = self.waiting.get(queue)
        if freed_s is None or room * TOP_UP_SHARE >= limit or now_s >= freed_s + TOP_UP_PAUSE_S:
            if queue in self.waiting:
                del self.waiting[queue]
            return True
        return False

    def _judge_silent(self, now_s: float) -> None:
        """Count as slow whoever has something to answer, and has answered nothing for so long."""
        while self._silent_since:
            lane, since_s = next(iter(self._silent_since.items()))
            if now_s < since_s + PROMPT_S:
                return
            del self._silent_since[lane]
            load = self._loads[lane]
            load.mean_s = mean_after(load.mean_s, WORST_S)
            self._set_pace(lane, load)

    def _set_pace(self, lane: Lane, load: _Load) -> None:
        pace = pace_of(load.mean_s)
        if pace is load.pace:
            return
        self._held[load.pace] -= load.held
        self._held[pace] += load.held
        load.pace = pace
        for each in self._all:
            each.changed.add(lane)

    def _forget_oldest(self) -> None:
        lane, load = next(iter(self._loads.items()))
        if load.held:
            self._loads.move_to_end(lane)
        else:
            del self._loads[lane]
