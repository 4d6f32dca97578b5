from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.contract.timers import EPOCH, NOW, seconds
from timer_trio.domain.cache import Cache
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.pace import BacklogKey, Pace
from timer_trio.domain.timer import Destination, DueTimer, Lane, TimerId

MAX_TIMERS: Final = 40
MAX_PER_LANE: Final = 5
MAX_HELD_BACK: Final = 20
STALE_ALLOWED: Final = 16
IDS: Final = st.integers(1, 200).map(lambda number: TimerId(UUID(int=number)))
INSTANTS: Final = st.integers(-5, 40).map(lambda due_in_s: NOW + seconds(due_in_s))
DESTINATIONS: Final = st.sampled_from(
    [Lane(Destination(f"http://{number}.example:80")) for number in range(10)]
)
FLOWS: Final = st.sampled_from([None, None, FlowKey("a"), FlowKey("b")])
TIMERS: Final = st.builds(DueTimer, INSTANTS, IDS, DESTINATIONS, FLOWS)


def key_of(timer: DueTimer) -> BacklogKey:
    return timer.flow or timer.lane


class CacheModel(RuleBasedStateMachine):
    """A cache beside a database of one plain dict, whose loader reads all of it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.unproven: set[Lane] = set()
        self.cache = Cache(MAX_TIMERS, self.unproven.__contains__)
        self.rows: dict[TimerId, DueTimer] = {}
        self.taken: dict[TimerId, DueTimer | None] = {}
        self.ended: set[TimerId] = set()
        self.ever: set[DueTimer] = set()
        self.page: dict[TimerId, DueTimer] = {}
        self.asked_until = EPOCH

    def cached(self) -> dict[TimerId, DueTimer]:
        found: dict[TimerId, DueTimer] = {}
        for key, (due_s, _, backlog) in self.cache._entries.items():
            timer_id = TimerId(UUID(int=key))
            due_at = datetime.fromtimestamp(due_s, NOW.tzinfo)
            flow_key = backlog.key.key if isinstance(backlog.key, FlowId) else None
            lane = backlog.lane_of(self.cache._entries[key])
            found[timer_id] = DueTimer(due_at, timer_id, lane, flow_key)
        return found

    def claimable(self) -> Iterator[DueTimer]:
        return (row for row in self.rows.values() if row.id not in self.taken)

    def pinned(self, timer: DueTimer) -> DueTimer:
        """Leave the URL alone while a claim or a statement is under way.

        Whichever of two backlogs is then believed may be cut off: the next pass mends that.
        """
        if timer.id in self.taken or timer.id in self.page:
            row = self.rows.get(timer.id, timer)
            return timer._replace(lane=row.lane, flow_key=row.flow_key)
        return timer

    def put(self, timer: DueTimer) -> None:
        if timer.id in self.taken:
            heard = self.taken[timer.id]
            self.taken[timer.id] = timer if heard is None or timer.due_at <= heard.due_at else heard
        self.cache.put(timer)

    def put_reading(self, timer: DueTimer) -> None:
        if timer.id in self.taken:
            self.put(timer)
        else:
            self.cache.put_reading(timer)

    @rule(timers=st.lists(TIMERS, max_size=30))
    def create_or_move(self, timers: list[DueTimer]) -> None:
        for timer in (self.pinned(timer) for timer in timers if timer.id not in self.ended):
            self.ever.add(timer)
            self.rows[timer.id] = timer
            self.put(timer)

    @rule(until=INSTANTS)
    def load(self, until: datetime) -> None:
        self.cache.open_until(until)
        self.asked_until = until
        self.cache.reopen_drained()
        for timer in sorted(self.rows.values()):
            cut_off = self.cache.cut_off.get(timer.flow or timer.lane)
            if cut_off is None or timer.due_at < cut_off:
                self.put_reading(timer)

    @rule()
    def send_statement(self) -> None:
        self.page = dict(self.rows)

    @rule()
    def hear_its_reply(self) -> None:
        """Put in what was read some time ago: much of it may have changed since."""
        for timer in self.page.values():
            self.put_reading(timer)

    @rule(data=st.data(), until=INSTANTS)
    def arm(self, data: st.DataObject, until: datetime) -> None:
        """Take or set aside what is due, in the order of a sorted list."""
        for queue in tuple(self.cache.queues):
            self.cache.recall(queue, MAX_TIMERS)
        for key in {key_of(timer) for timer in self.cached().values()}:
            self.cache.show(key)
        left = sorted(self.cached().values())
        while front := self.cache.peek():
            key = front[1]
            first = min(timer for timer in left if key_of(timer) == key)
            assert front[0] == min(left).due_at.timestamp() == first.due_at.timestamp()
            if first.due_at > until:
                return
            if data.draw(st.booleans()):
                assert self.cache.take() == first
                left.remove(first)
                self.taken[first.id] = None
            else:
                self.cache.set_aside(data.draw(st.sampled_from([first.lane, None, *Pace])))
                left = [timer for timer in left if key_of(timer) != key]
        assert not left

    @rule(destination=DESTINATIONS)
    def change_pace(self, destination: Lane) -> None:
        self.unproven ^= {destination}
        self.cache.judge_anew(destination)

    @rule(is_claimed=st.booleans())
    def answer_claim(self, *, is_claimed: bool) -> None:
        if not self.taken:
            return
        timer_id, heard = self.taken.popitem()
        assert self.cache.done(timer_id) == heard
        if is_claimed:
            self.rows.pop(timer_id, None)
            self.ended.add(timer_id)
            return
        if heard is not None:
            self.put(heard)
        if row := self.rows.get(timer_id):
            self.put_reading(row)

    @invariant()
    def holds_nothing_that_never_was(self) -> None:
        assert self.ever.issuperset(self.cached().values())

    @invariant()
    def misses_nothing_before_horizon_and_cutoff(self) -> None:
        """Each timer is there at its time or before it, but for what was left out."""
        cached = self.cached()
        for row in self.claimable():
            backlog = self.cache._cut.get(key_of(row))
            cutoff_s = backlog.cutoff_s if backlog else float("inf")
            if key_of(row) in self.unproven:
                cutoff_s = min(cutoff_s, self.cache._unproven_horizon_s)
            if self.cache._is_short:
                continue
            if row.due_at < self.cache.horizon and row.due_at.timestamp() < cutoff_s:
                assert cached[row.id].due_at <= row.due_at

    @invariant()
    def never_wants_in_silence(self) -> None:
        """An empty cache that was to hold something asks the loader for it."""
        is_missing = any(row.due_at < self.asked_until for row in self.claimable())
        assert self.cache.wants_refill or len(self.cache) or not is_missing

    @invariant()
    def keeps_to_its_limits(self) -> None:
        assert len(self.cache) <= MAX_TIMERS
        backlogs = self.cache._backlogs.values()
        held_back = [backlog.live for backlog in backlogs if self.cache._is_held_back(backlog)]
        assert self.cache._held_back_live == sum(held_back) <= MAX_HELD_BACK
        assert self.cache.queues == set(self.cache._aside.values()) - {None}
        assert self.cache._aside.keys() <= self.cache._backlogs.keys()
        for backlog in self.cache._backlogs.values():
            assert backlog.live <= backlog.limit <= MAX_PER_LANE
            assert len(backlog.heap) <= 2 * backlog.live + STALE_ALLOWED
            assert len(backlog.lanes) == (backlog.live if isinstance(backlog.key, FlowId) else 0)

    @invariant()
    def leaves_nothing_behind(self) -> None:
        used = {key_of(timer) for timer in self.cached().values()}
        assert self.cache._backlogs.keys() == used | self.cache._cut.keys()
        assert len(self.cache._fronts) <= 2 * MAX_TIMERS + STALE_ALLOWED
        assert {timer_id.int for timer_id in self.taken} == self.cache._taken.keys()


CacheModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCache = CacheModel.TestCase
