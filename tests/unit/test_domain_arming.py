from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from math import inf
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.timers import NOW, seconds
from tests.schedules import FIRST_ID
from timer_trio.domain.arming import Armed, Plan, batches, take_due
from timer_trio.domain.breaker import Breakers
from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.cache import Cache
from timer_trio.domain.flow import FlowId, FlowKey, flow_shard
from timer_trio.domain.flows import FlowReading, Flows
from timer_trio.domain.gates import Gates
from timer_trio.domain.occurrence import occurrence_id
from timer_trio.domain.pace import PROMPT_S
from timer_trio.domain.probes import Granted, ProbeEnd
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.rules import FlowRules, Pause, Rate
from timer_trio.domain.schedule import Overlap
from timer_trio.domain.slots import TOP_UP_PAUSE_S, Slots
from timer_trio.domain.timer import Destination, DueTimer, Lane, TimerId

NOW_S: Final = NOW.timestamp()
AHEAD_S: Final = 0.1
REACH_S: Final = 0.2
TICK: Final = timedelta(microseconds=1)

A: Final = Lane(Destination("https://a.example:443"))
B: Final = Lane(Destination("https://b.example:443"))

Due = tuple[float, Lane]
"""Seconds from NOW, and where to."""


def cache_of(timers: Iterable[Due], *, max_timers: int = 10_000) -> Cache:
    cache = Cache(max_timers)
    cache.open_until(NOW + seconds(3600))
    put(cache, timers)
    return cache


def put(cache: Cache, timers: Iterable[Due], first_id: int = 1) -> None:
    for number, (due_in_s, destination) in enumerate(timers, first_id):
        cache.put(DueTimer(NOW + seconds(due_in_s), TimerId(UUID(int=number)), destination))


def take(
    cache: Cache, slots: Slots, now: datetime, *, budget: int, ahead_s: float = AHEAD_S
) -> Plan:
    gates = Gates(Flows(), Breakers())
    return take_due(cache, slots, gates, now, budget=budget, ahead_s=ahead_s, reach_s=REACH_S)


def plan(cache: Cache, slots: Slots, at_s: float = 0.0, *, budget: int = 10_000) -> Plan:
    now = NOW + seconds(at_s)
    return take(cache, slots, now, budget=budget)


def taken(plan: Plan) -> list[Due]:
    return [((armed.timer.due_at - NOW).total_seconds(), armed.timer.lane) for armed in plan.armed]


def times(plan: Plan) -> list[float]:
    return [due_in_s for due_in_s, _ in taken(plan)]


def wakes_in_s(plan: Plan) -> float | None:
    """How long to sleep, but for the microsecond that rounding asks for."""
    return None if plan.wake_at is None else (plan.wake_at - TICK - NOW).total_seconds()


def answer(slots: Slots, destination: Lane, in_s: float = 0.01, at_s: float = 0.0) -> None:
    """Let a destination answer one callback."""
    now_s = NOW.timestamp() + at_s
    slots.hold(destination)
    slots.begin(destination, now_s - in_s)
    slots.end(destination, now_s, in_s)


def proven_slots(total: int, per_destination: int) -> Slots:
    """Make slots of which A and B have had one, and answered in good time."""
    slots = Slots(total, per_destination)
    for destination in (A, B):
        answer(slots, destination)
    slots.take_changed()
    return slots


# When.


def test_empty_cache_asks_for_nothing() -> None:
    assert plan(cache_of([]), proven_slots(10, 10)) == Plan(
        armed=[], wake_at=None, out_of_slots=False
    )


@pytest.mark.parametrize(
    ("dues", "armed", "wakes_in_s_"),
    [
        ([60.0], [], 59.9),
        ([0.1], [0.1], None),
        ([0.100001], [], 0.000001),
        ([0.15, 0.3], [], 0.05),
        ([0.05, 0.15, 0.2, 0.201], [0.05, 0.15, 0.2], 0.101),
        ([-7200.0, -1.0, 0.0, 5.0], [-7200.0, -1.0, 0.0], 4.9),
    ],
)
def test_first_timer_opens_the_batch_and_reach_fills_it(
    dues: list[float], armed: list[float], wakes_in_s_: float | None
) -> None:
    decided = plan(cache_of((due, A) for due in dues), proven_slots(1000, 1000))
    assert (times(decided), wakes_in_s(decided)) == (armed, wakes_in_s_)


def test_overdue_timers_go_first_and_oldest_first() -> None:
    decided = plan(cache_of([(0.0, A), (-60.0, B), (-3600.0, A)]), proven_slots(1000, 1000))
    assert taken(decided) == [(-3600.0, A), (-60.0, B), (0.0, A)]


@given(st.integers(0, 10**15), st.sampled_from([0.05, 0.1, 0.2]))
def test_wake_up_is_never_too_early_to_do_something(microseconds: int, ahead_s: float) -> None:
    cache = Cache(1000)
    due_at = NOW + timedelta(microseconds=microseconds)
    cache.open_until(due_at + seconds(1))
    cache.put(DueTimer(due_at, TimerId(UUID(int=1)), A))
    slots = proven_slots(1, 1)
    first = take(cache, slots, due_at - seconds(1), budget=1, ahead_s=ahead_s)
    assert first.wake_at is not None
    assert due_at - seconds(ahead_s) <= first.wake_at <= due_at - seconds(ahead_s) + 3 * TICK
    woken = take(cache, slots, first.wake_at, budget=1, ahead_s=ahead_s)
    assert len(woken.armed) == 1


# Slots.


def test_each_armed_timer_holds_a_slot() -> None:
    slots = proven_slots(1000, 1000)
    plan(cache_of([(0.0, A), (0.0, B), (9.0, A)]), slots)
    assert slots.in_use == 2


def test_full_destination_is_set_aside_and_hides_nobody() -> None:
    slots = proven_slots(1000, per_destination=2)
    decided = plan(cache_of([(-9.0, A)] * 5 + [(0.0, B)]), slots)
    assert Counter(destination for _, destination in taken(decided)) == {A: 2, B: 1}
    assert decided.wake_at is None
    assert not decided.out_of_slots


def test_what_has_no_slot_stays_in_the_cache() -> None:
    cache = cache_of([(0.0, A)] * 5)
    plan(cache, proven_slots(1000, 2))
    assert len(cache) == 3


def test_full_destination_does_not_open_the_batch_of_the_others() -> None:
    slots = proven_slots(1000, 1)
    slots.hold(A)
    decided = plan(cache_of([(-1.0, A), (0.15, B)]), slots)
    assert (taken(decided), wakes_in_s(decided)) == ([], 0.05)


def test_full_destination_is_topped_up_in_chunks() -> None:
    cache, slots = cache_of([(0.0, A)] * 20), proven_slots(1000, 8)
    assert len(plan(cache, slots).armed) == 8
    slots.release(A, NOW.timestamp() + 1.0)
    waiting = plan(cache, slots, 1.0)
    assert (waiting.armed, wakes_in_s(waiting)) == ([], 1.0 + TOP_UP_PAUSE_S)
    slots.release(A, NOW.timestamp() + 1.001)
    assert len(plan(cache, slots, 1.001).armed) == 2


def test_slow_destination_is_topped_up_after_a_pause() -> None:
    cache, slots = cache_of([(0.0, A)] * 20), proven_slots(1000, 8)
    plan(cache, slots)
    slots.release(A, NOW.timestamp() + 1.0)
    pause = plan(cache, slots, 1.0)
    assert pause.wake_at is not None
    late_s = (pause.wake_at - NOW).total_seconds()
    assert len(plan(cache, slots, late_s).armed) == 1


def test_earliest_of_all_reasons_wakes() -> None:
    cache, slots = cache_of([(0.0, A)] * 20 + [(60.0, B)]), proven_slots(1000, 8)
    plan(cache, slots)
    assert wakes_in_s(plan(cache, slots)) == 59.9
    slots.release(A, NOW.timestamp() + 1.0)
    assert wakes_in_s(plan(cache, slots, 1.0)) == 1.0 + TOP_UP_PAUSE_S


def test_destination_whose_timers_were_moved_away_waits_no_longer() -> None:
    cache, slots = cache_of([(0.0, A)] * 2), proven_slots(1000, 1)
    plan(cache, slots)
    assert A in slots.waiting
    put(cache, [(1800.0, B), (1800.0, B)])
    plan(cache, slots)
    assert not slots.waiting


# Nothing left at all.


def test_batch_ends_with_the_last_slot() -> None:
    slots = proven_slots(4, 4)
    destinations = [Lane(Destination(f"http://{n}.example:80")) for n in range(9)]
    for destination in destinations:
        answer(slots, destination)
    decided = plan(cache_of((0.0, destination) for destination in destinations), slots)
    assert (len(decided.armed), slots.free) == (4, 0)
    assert decided.out_of_slots


@pytest.mark.parametrize(("budget", "count"), [(3, 3), (0, 0), (-5, 0)])
def test_batch_ends_with_the_budget(budget: int, count: int) -> None:
    decided = plan(cache_of([(0.0, A)] * 9), proven_slots(1000, 1000), budget=budget)
    assert len(decided.armed) == count
    assert decided.out_of_slots


def test_nothing_due_is_no_want_of_slots() -> None:
    decided = plan(cache_of([(60.0, A)]), proven_slots(1000, 1000), budget=0)
    assert not decided.out_of_slots
    assert wakes_in_s(decided) == 59.9


def test_who_waits_is_remembered_while_nobody_gets_a_slot() -> None:
    cache, slots = cache_of([(0.0, A)] * 2), proven_slots(1000, 1)
    plan(cache, slots)
    put(cache, [(0.0, B)], first_id=3)
    assert plan(cache, slots, budget=0).out_of_slots
    assert A in slots.waiting


# New and slow destinations.


def storm(count: int, each: int) -> list[Due]:
    """Let many destinations of which nothing is known have overdue timers."""
    return [(-1.0, Lane(Destination(f"http://{n}.example:80"))) for n in range(count)] * each


def send(slots: Slots, decided: Plan, at_s: float) -> None:
    for armed in decided.armed:
        slots.begin(armed.timer.lane, NOW.timestamp() + at_s)


def test_new_destinations_leave_most_slots_to_those_that_have_answered() -> None:
    cache, slots = cache_of(storm(1_100, 2) + [(0.0, A)] * 50), Slots(1000, 100)
    answer(slots, A)
    decided = plan(cache, slots)
    assert Counter(d == A for _, d in taken(decided)) == {True: 50, False: 218}
    assert not decided.out_of_slots


def test_new_destination_has_its_turn_as_soon_as_others_count_as_slow() -> None:
    cache, slots = cache_of(storm(1_100, 2)), Slots(1000, 100)
    first = plan(cache, slots)
    send(slots, first, 0.0)
    assert wakes_in_s(first) == PROMPT_S
    second = plan(cache, slots, PROMPT_S + 0.000_001)
    assert len(second.armed) == (875 - 218) // 4
    assert not {d for _, d in taken(second)} & {d for _, d in taken(first)}


def test_new_and_slow_destinations_never_have_all_slots() -> None:
    cache, slots = cache_of(storm(3_000, 2)), Slots(1000, 100)
    for second in range(60):
        send(slots, plan(cache, slots, 1.001 * second), 1.001 * second)
    assert 850 <= slots.in_use <= 875
    answer(slots, A, at_s=60.0)
    put(cache, [(60.0, A)] * 20, first_id=10_000)
    decided = plan(cache, slots, 60.1)
    assert taken(decided) == [(60.0, A)] * 20


def test_slow_destinations_leave_half_of_the_slots_to_the_others() -> None:
    slots = Slots(1000, 100)
    slow = [Lane(Destination(f"http://{n}.slow.example:80")) for n in range(10)]
    for destination in slow:
        answer(slots, destination, in_s=5.0)
    answer(slots, A)
    decided = plan(cache_of([(-9.0, d) for d in slow] * 200 + [(0.0, A)] * 20), slots)
    counts = Counter(destination for _, destination in taken(decided))
    assert counts.pop(A) == 20
    assert sum(counts.values()) <= 500
    assert counts.keys() == set(slow)


def test_slots_that_slow_destinations_free_go_to_those_that_wait_longest() -> None:
    slots = Slots(8, 8)
    slow = [Lane(Destination(f"http://{n}.slow.example:80")) for n in range(9)]
    for destination in slow:
        answer(slots, destination, in_s=5.0)
    cache = cache_of((n - 100.0, destination) for n, destination in enumerate(slow))
    assert taken(plan(cache, slots)) == [(n - 100.0, slow[n]) for n in range(4)]
    slots.release(slow[2], NOW.timestamp() + 1.0)
    assert slots.unproven_wait
    assert taken(plan(cache, slots, 1.0)) == [(-96.0, slow[4])]


def test_destination_that_has_answered_waits_with_new_ones_no_longer() -> None:
    cache, slots = cache_of(storm(300, 2)), Slots(1000, 100)
    first = plan(cache, slots)
    send(slots, first, 0.0)
    late = [d for _, d in storm(300, 1) if d not in {each for _, each in taken(first)}][-1]
    answer(slots, late, at_s=0.1)
    assert slots.unproven_wait
    assert (-1.0, late) in taken(plan(cache, slots, 0.1))


def test_timer_that_waited_with_others_of_its_pace_says_so() -> None:
    cache, slots = cache_of(storm(300, 1)), Slots(1000, 100)
    send(slots, plan(cache, slots), 0.0)
    waited = [armed.waited for armed in plan(cache, slots, PROMPT_S + 0.001).armed]
    assert waited == [True] * 82


# Why a timer is late.


def test_timer_that_waited_for_its_destination_says_so() -> None:
    cache, slots = cache_of([(0.0, A)] * 2 + [(5.0, A)]), proven_slots(1000, 1)
    assert [armed.waited for armed in plan(cache, slots).armed] == [False]
    slots.release(A, NOW.timestamp() + 5.0)
    assert [armed.waited for armed in plan(cache, slots, 5.0).armed] == [True]


def test_waiting_is_remembered_when_all_slots_came_free_at_once() -> None:
    cache, slots = cache_of([(0.0, A)] * 200), proven_slots(1000, 100)
    plan(cache, slots)
    for _ in range(100):
        slots.release(A, NOW.timestamp() + 30.0)
    decided = plan(cache, slots, 30.0)
    assert [armed.waited for armed in decided.armed] == [True] * 100


def test_timer_that_is_not_yet_due_waited_for_nobody() -> None:
    cache, slots = cache_of([(0.0, A), (5.0, A)]), proven_slots(1000, 1)
    plan(cache, slots)
    plan(cache, slots, 4.95)
    slots.release(A, NOW.timestamp() + 4.99)
    assert [armed.waited for armed in plan(cache, slots, 4.99).armed] == [False]


def test_timer_that_came_late_for_other_reasons_waited_for_nobody() -> None:
    decided = plan(cache_of([(-60.0, A)]), proven_slots(1000, 1000))
    assert [armed.waited for armed in decided.armed] == [False]


# A whole run: whoever obeys the plans fires everything.


@dataclass(slots=True)
class Run:
    """A replica of nothing but arm and slots, which sleeps exactly as its plans say."""

    cache: Cache
    slots: Slots
    hold_s: float
    per_destination: int
    now_s: float = 0.0

    def fire_all(self, count: int) -> list[Due]:
        fired: list[Due] = []
        ends: list[tuple[float, Lane]] = []
        decided: Plan | None = None
        while len(fired) < count:
            wake_s = None
            if decided is not None:
                wake_s = self._wake_s(decided, ends)
                assert wake_s is not None, "asleep for ever"
            self.now_s = max(self.now_s, wake_s or 0.0)
            decided = plan(self.cache, self.slots, self.now_s)
            for due_in_s, destination in taken(decided):
                assert due_in_s <= self.now_s + REACH_S + 1e-6
                self.slots.begin(destination, NOW.timestamp() + self.now_s)
                fired.append((due_in_s, destination))
                heappush(ends, (max(due_in_s, self.now_s) + self.hold_s, destination))
            held = Counter(destination for _, destination in ends)
            assert max(held.values(), default=0) <= self.per_destination
        return fired

    def _wake_s(self, decided: Plan, ends: list[tuple[float, Lane]]) -> float | None:
        """Let callbacks end until one of them, or the plan, wakes the replica."""
        planned_s = None
        if decided.wake_at is not None:
            planned_s = (decided.wake_at - NOW).total_seconds()
        while ends and (planned_s is None or ends[0][0] <= planned_s):
            end_s, destination = heappop(ends)
            self.slots.end(destination, NOW.timestamp() + end_s, self.hold_s)
            if (
                decided.out_of_slots
                or destination in self.slots.waiting
                or self.slots.unproven_wait
            ):
                return end_s
        return planned_s


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 4)), max_size=60),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([0.001, 0.5, 30.0]),
)
def test_replica_that_obeys_the_plans_fires_everything_once(
    dues: Sequence[tuple[int, int]], total: int, per_destination: int, hold_s: float
) -> None:
    timers = [(due / 10, Lane(Destination(f"http://{n}.example:80"))) for due, n in dues]
    slots = Slots(total, per_destination)
    run = Run(cache_of(timers), slots, hold_s, per_destination)
    assert sorted(run.fire_all(len(timers))) == sorted(timers)


def armed_with(timer_id: TimerId) -> Armed:
    return Armed(DueTimer(NOW, timer_id, Lane(Destination("http://a.example:80"))), waited=False)


PLAIN: Final = [armed_with(TimerId(UUID(int=place))) for place in range(5)]


def test_plain_timers_are_claimed_together_as_far_as_a_claim_reaches() -> None:
    assert [*batches(PLAIN, 2)] == [PLAIN[:2], PLAIN[2:4], PLAIN[4:]]
    assert [*batches([], 2)] == []


def test_occurrences_are_claimed_apart_from_plain_timers() -> None:
    plain, other = PLAIN[:2]
    allowed, skipping = (
        armed_with(occurrence_id(FIRST_ID, 1, NOW, overlap)) for overlap in Overlap
    )
    divided = [*batches([skipping, plain, allowed, other], 500)]
    assert divided == [[plain, other], [allowed], [skipping]]


# Gates and flows.

FLOW: Final = FlowId(DEFAULT_PROJECT, FlowKey("a"))


def gates_of(rules: FlowRules) -> Gates:
    flows = Flows()
    flows.take_terms({flow_shard(*FLOW): 1})
    flows.know(FLOW, FlowReading(rules=rules, last_end_s=NOW_S - 5.0))
    return Gates(flows, Breakers())


def flow_timer(number: int, due_in_s: float, lane: Lane = A) -> DueTimer:
    return DueTimer(NOW + seconds(due_in_s), TimerId(UUID(int=number)), lane, FLOW.key)


def take_of_flow(cache: Cache, slots: Slots, gates: Gates, at_s: float = 0.0) -> list[int]:
    plan = take_due(
        cache,
        slots,
        gates,
        NOW + seconds(at_s),
        budget=1_000,
        ahead_s=AHEAD_S,
        reach_s=REACH_S,
    )
    return [armed.timer.id.int for armed in plan.armed]


def test_flow_goes_one_by_one_in_the_order_of_due_time_whatever_its_destinations() -> None:
    gates = gates_of(FlowRules(max_in_flight=1))
    cache, slots = cache_of([(0.0, B)]), proven_slots(100, 100)
    for timer in (flow_timer(13, -1.0, B), flow_timer(11, -3.0, A), flow_timer(12, -2.0, B)):
        cache.put(timer)
    assert take_of_flow(cache, slots, gates) == [11, 1]
    for number, lane in ((11, A), (12, B), (13, B)):
        assert take_of_flow(cache, slots, gates) == []
        gates.end(flow_timer(number, 0.0, lane), NOW_S, has_failed=None)
        assert take_of_flow(cache, slots, gates) == ([number + 1] if number < 13 else [])


def test_flow_waits_for_the_slot_of_its_first_timer() -> None:
    gates = gates_of(FlowRules())
    cache, slots = cache_of([]), proven_slots(100, 1)
    slots.hold(A)
    cache.put(flow_timer(11, -3.0, A))
    cache.put(flow_timer(12, -2.0, B))
    assert take_of_flow(cache, slots, gates) == []
    slots.release(A, NOW_S)
    assert take_of_flow(cache, slots, gates, TOP_UP_PAUSE_S) == [11, 12]


def test_who_waited_for_a_flow_or_a_pause_is_told_until_when() -> None:
    gates = gates_of(FlowRules())
    gates.set_pause(A, Pause(None, NOW - seconds(2)))
    cache, slots = cache_of([(-9.0, A), (-9.0, B)]), proven_slots(100, 100)
    cache.put(flow_timer(11, -9.0, B))
    plan = take_due(cache, slots, gates, NOW, budget=9, ahead_s=AHEAD_S, reach_s=REACH_S)
    held = {armed.timer.id.int: armed.held_until_s for armed in plan.armed}
    assert held == {1: NOW_S - 2.0, 2: -inf, 11: NOW_S - 5.0}


def test_right_to_probe_is_given_back_if_a_look_makes_nothing_of_it() -> None:
    gates = gates_of(FlowRules())
    gates.set_policy(DEFAULT_PROJECT, BreakerPolicy(failures=1, open_s=5))
    gates.end(DueTimer(NOW, TimerId(UUID(int=9)), A), NOW_S, has_failed=True)
    cache, slots = cache_of([(-1.0, A)]), proven_slots(100, 1)
    slots.hold(A)
    assert take_of_flow(cache, slots, gates) == []
    assert take_of_flow(cache, slots, gates, 5.0) == []
    gates.breakers.take(A, Granted(NOW), NOW_S + 5.0)
    gates.open(A)
    assert take_of_flow(cache, slots, gates, 5.0) == []  # there is no slot
    assert gates.breakers.ends(9) == [ProbeEnd(A, NOW)]
    slots.release(A, NOW_S + 6.0)
    assert take_of_flow(cache, slots, gates, 7.0) == []
    gates.breakers.take(A, Granted(NOW), NOW_S + 7.0)
    gates.open(A)
    assert take_of_flow(cache, slots, gates, 7.0) == [1]
    assert gates.breakers.ends(9) == [ProbeEnd(A, NOW)]


def test_wakes_when_the_rate_lets_the_next_one_go() -> None:
    gates = gates_of(FlowRules(rate=Rate(1, 60)))
    cache, slots = cache_of([]), proven_slots(100, 100)
    for number in (11, 12):
        cache.put(flow_timer(number, -1.0))
    assert take_of_flow(cache, slots, gates) == [11]
    gates.end(flow_timer(11, 0.0), NOW_S, has_failed=None)
    plan = take_due(cache, slots, gates, NOW, budget=9, ahead_s=AHEAD_S, reach_s=REACH_S)
    assert (plan.armed, wakes_in_s(plan)) == ([], 60.0)
    assert take_of_flow(cache, slots, gates, 60.0) == [12]


def test_each_kind_is_claimed_by_itself_and_flows_apart() -> None:
    armed = [
        Armed(flow_timer(11, 0.0), waited=False),
        Armed(flow_timer(12, 0.0)._replace(flow_key=None), waited=False),
    ]
    assert [[each.timer.id.int for each in some] for some in batches(armed, 9)] == [[12], [11]]
