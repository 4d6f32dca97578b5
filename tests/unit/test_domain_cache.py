from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest

from tests.contract.timers import NOW, seconds
from timer_trio.domain.cache import BACKLOG_SHARE, MAX_CUT_OFFS, Cache
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.pace import Pace, Queue
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.timer import Destination, DueTimer, Lane, TimerId

A: Final = Lane(Destination("https://a.example:443"))
B: Final = Lane(Destination("https://b.example:443"))
C: Final = Lane(Destination("https://c.example:443"))
NOW_S: Final = NOW.timestamp()


def web(number: int) -> Lane:
    return Lane(Destination(f"http://{number}.example:80"))


def due(number: int, due_in_s: float, destination: Lane = A) -> DueTimer:
    return DueTimer(NOW + seconds(due_in_s), TimerId(UUID(int=number)), destination)


def open_cache(max_timers: int = 800, until_s: float = 300.0) -> Cache:
    cache = Cache(max_timers)
    cache.open_until(NOW + seconds(until_s))
    return cache


def drained(cache: Cache) -> Iterator[DueTimer]:
    while cache.peek():
        yield cache.take()


def hide(cache: Cache, queue: Queue | None = None) -> None:
    """Set the first backlog aside, for its destination or another queue."""
    front = cache.peek()
    assert front is not None
    assert isinstance(front[1], Lane)
    cache.set_aside(queue or front[1])


def show_all(cache: Cache) -> None:
    for queue in tuple(cache.queues):
        cache.recall(queue, 1_000)


def numbers(cache: Cache) -> list[int]:
    return [timer.id.int for timer in drained(cache)]


def stale_fronts(cache: Cache) -> int:
    return len(cache._fronts) - len(cache._backlogs)


# One heap of due times.


def test_timers_come_out_in_order_of_their_due_times() -> None:
    cache = open_cache()
    timers = [due(1, 30.0, A), due(2, 10.0, B), due(3, -20.0, A), due(4, 20.000001, C)]
    for timer in timers:
        cache.put(timer)
    assert list(drained(cache)) == sorted(timers)


def test_empty_cache_has_no_front() -> None:
    assert open_cache().peek() is None


def test_timer_that_is_read_again_is_there_once() -> None:
    cache = open_cache()
    for _ in range(3):
        cache.put(due(1, 10.0))
    assert len(cache) == 1
    assert numbers(cache) == [1]


@pytest.mark.parametrize("new_s", [5.0, 20.0])
@pytest.mark.parametrize("destination", [A, B])
def test_moved_timer_comes_at_its_new_time_alone(new_s: float, destination: Lane) -> None:
    cache = open_cache()
    cache.put(due(1, 10.0))
    moved = due(1, new_s, destination)
    cache.put(moved)
    assert list(drained(cache)) == [moved]


def test_timer_that_only_changes_its_destination_moves_there() -> None:
    cache = open_cache()
    cache.put(due(1, 10.0, A))
    cache.put(due(1, 10.0, B))
    assert list(drained(cache)) == [due(1, 10.0, B)]


def test_timer_moved_there_and_back_is_there_once() -> None:
    cache = open_cache()
    for due_in_s in (10.0, 20.0, 10.0, 20.0, 10.0):
        cache.put(due(1, due_in_s))
        cache.put(due(2, 5.0))
    assert numbers(cache) == [2, 1]


# What is taken.


def test_taken_timer_is_not_put_in_again_before_its_claim_is_answered() -> None:
    cache = open_cache()
    cache.put(due(1, 0.0))
    taken = cache.take() if cache.peek() else None
    assert taken == due(1, 0.0)
    cache.put(due(1, 0.0))
    cache.put(due(1, 60.0))
    assert cache.peek() is None


def test_taken_timer_may_come_back_once_its_claim_is_answered() -> None:
    cache = open_cache()
    cache.put(due(1, 0.0))
    (taken,) = drained(cache)
    cache.done(taken.id)
    cache.put(due(1, 60.0))
    assert list(drained(cache)) == [due(1, 60.0)]


def test_change_of_a_taken_timer_is_told_when_its_claim_is_answered() -> None:
    cache = open_cache()
    cache.put(due(1, 0.0))
    (taken,) = drained(cache)
    for due_in_s in (60.0, 30.0, 90.0):
        cache.put(due(1, due_in_s))
    assert cache.done(taken.id) == due(1, 30.0)
    assert cache.done(taken.id) is None


# Readings, which may be older than what is known.


def test_reading_brings_a_timer_in() -> None:
    cache = open_cache()
    cache.put_reading(due(1, 10.0))
    assert numbers(cache) == [1]


def test_late_reading_does_not_undo_a_move_to_an_earlier_time() -> None:
    cache = open_cache()
    cache.put(due(1, 10.0))
    cache.put_reading(due(1, 250.0))
    assert list(drained(cache)) == [due(1, 10.0)]


def test_reading_of_an_earlier_time_counts() -> None:
    cache = open_cache()
    cache.put(due(1, 250.0))
    cache.put_reading(due(1, 10.0))
    assert list(drained(cache)) == [due(1, 10.0)]


# Backlogs.


def test_lane_set_aside_hides_no_other() -> None:
    cache = open_cache()
    for timer in (due(1, 0.0, A), due(2, 1.0, A), due(3, 2.0, B)):
        cache.put(timer)
    assert cache.peek() == (NOW_S, A)
    hide(cache)
    assert cache.peek() == (NOW_S + 2.0, B)
    hide(cache)
    assert cache.peek() is None


def test_recall_shows_all_lanes_again() -> None:
    cache = open_cache()
    for timer in (due(1, 0.0, A), due(2, 1.0, B)):
        cache.put(timer)
        hide(cache)
    show_all(cache)
    assert numbers(cache) == [1, 2]


def test_lane_stays_aside_after_nearer_timers_have_come_and_gone() -> None:
    cache = open_cache()
    cache.put(due(1, 10.0))
    for number in range(2, 9):
        cache.put(due(number, 1.0))
        cache.take()
    assert cache.peek() == (NOW_S + 10.0, A)
    hide(cache)
    assert cache.peek() is None


def test_lane_stays_aside_while_others_churn() -> None:
    cache = open_cache()
    cache.put(due(1, 0.0, A))
    hide(cache)
    cache.put(due(2, 50.0, B))
    for number in range(3, 103):
        cache.put(due(number, 20.0, B))
        assert cache.peek() == (NOW_S + 20.0, B)
        cache.take()
    assert cache.peek() == (NOW_S + 50.0, B)


def test_newcomer_that_comes_first_shows_its_backlog() -> None:
    cache = open_cache()
    cache.put(due(1, 10.0))
    hide(cache)
    cache.put(due(2, 5.0))
    assert cache.peek() == (NOW_S + 5.0, A)


def test_newcomer_is_not_lost_while_others_churn() -> None:
    cache = open_cache()
    cache.put(due(1, 10.0, A))
    hide(cache)
    cache.put(due(2, 9.0, A))
    cache.put(due(3, 50.0, B))
    for number in range(4, 104):
        cache.put(due(number, 5.0, B))
        cache.peek()
        cache.take()
    assert cache.peek() == (NOW_S + 9.0, A)
    show_all(cache)
    assert numbers(cache) == [2, 1, 3]


def test_lane_set_aside_whose_timers_moved_away_does_not_come_back() -> None:
    cache = open_cache()
    cache.put(due(1, 10.0, A))
    hide(cache)
    cache.put(due(1, 10.0, B))
    show_all(cache)
    assert not cache.queues
    assert list(drained(cache)) == [due(1, 10.0, B)]


def test_lane_that_was_emptied_and_filled_again_is_set_aside_once() -> None:
    cache = open_cache(until_s=1.0)
    cache.put(due(1, 0.0))
    cache.put(due(1, 2.0))
    cache.put(due(1, 0.0))

    hide(cache)

    assert cache.peek() is None
    assert cache.recall(A) == [A]
    assert cache.queues == set()


def test_lanes_that_wait_for_a_pace_come_back_nearest_first_and_as_many_as_have_room() -> None:
    cache = open_cache()
    for number in range(1, 6):
        cache.put(due(number, float(number), web(number)))
        hide(cache, Pace.NEW)
    assert cache.recall(Pace.NEW, 2) == [web(1), web(2)]
    assert numbers(cache) == [1, 2]
    assert cache.queues == {Pace.NEW}
    assert cache.recall(Pace.SLOW, 9) == []
    assert cache.recall(Pace.NEW, 9) == [*map(web, (3, 4, 5))]
    assert not cache.queues


def test_one_lane_of_those_that_wait_for_a_pace_can_be_recalled_alone() -> None:
    cache = open_cache()
    for number, destination in enumerate((A, B, C), 1):
        cache.put(due(number, float(number), destination))
        hide(cache, Pace.SLOW)
    assert cache.recall(B) == [B]
    assert cache.recall(B) == []
    assert cache.recall(Pace.SLOW, 9) == [A, C]


def test_lane_set_aside_again_and_again_leaves_nothing_behind() -> None:
    cache = open_cache(max_timers=10_000)
    cache.put(due(1, 250.0, B))
    for number in range(2, 1_000):
        cache.put(due(number, 249.0 - number / 10))
        hide(cache, Pace.NEW)
    assert len(cache._behind[Pace.NEW]) <= 20
    assert cache.recall(Pace.NEW, 9) == [A]


# What waits for full destinations.


def with_backlogs(cache: Cache, backlogs: int, each: int) -> list[Lane]:
    """Put overdue timers of some destinations in, and set their backlogs aside."""
    destinations = [web(backlog) for backlog in range(backlogs)]
    for number in range(each * backlogs):
        cache.put(due(1 + number, number - 1e6, destinations[number % backlogs]))
    while cache.peek():
        hide(cache)
    return destinations


def test_lanes_set_aside_leave_half_of_the_cache_to_the_others() -> None:
    cache = open_cache(max_timers=800)
    with_backlogs(cache, backlogs=8, each=90)
    assert 300 <= len(cache) <= 400
    for number in range(400):
        lane = Lane(Destination(f"http://o{number % 9}"))
        cache.put(due(10_000 + number, 1.0 + number / 400, lane))
    assert cache.horizon == NOW + seconds(300)
    assert len(list(drained(cache))) == 400


def test_only_the_fullest_of_the_lanes_set_aside_are_cut() -> None:
    cache = open_cache(max_timers=800)
    for number in range(20):
        cache.put(due(90_000 + number, -2e6, A))
    hide(cache)
    first = with_backlogs(cache, backlogs=5, each=90)[0]
    assert cache.cut_off.keys() == {*map(web, range(5))}
    assert len(cache) == 20 + 5 * 56
    assert cache.cut_off[first] == NOW + seconds(56 * 5 - 1e6)


def test_backlog_cut_while_aside_wants_a_refill_once_half_of_what_it_kept_is_gone() -> None:
    cache = open_cache(max_timers=800)
    with_backlogs(cache, backlogs=5, each=90)
    assert not cache.wants_refill
    cache.recall(Lane(Destination("http://0.example:80")))
    taken = 0
    while not cache.wants_refill:
        cache.peek()
        cache.take()
        taken += 1
    assert taken == 20  # 40 of the 60 are left: half of the 80 that it may hold


def test_lane_that_drains_may_hold_more_each_time_that_it_is_read_again() -> None:
    cache = open_cache(max_timers=800)
    destination = with_backlogs(cache, backlogs=5, each=90)[0]
    limits = [cache._backlogs[destination].limit]
    for first_id in (20_000, 30_000):
        cache.recall(destination)
        while not cache.wants_refill:
            cache.peek()
            cache.take()
        cache.reopen_drained()
        limits.append(cache._backlogs[destination].limit)
        for number in range(120):
            cache.put(due(first_id + number, number - 1e5, destination))
    assert limits == [80, 100, 100]


def test_a_thousand_destinations_that_wait_are_cut_evenly() -> None:
    cache = open_cache(max_timers=8_000)
    with_backlogs(cache, backlogs=1_000, each=6)
    assert 3_000 <= len(cache) <= 4_000
    assert len(cache.cut_off) == MAX_CUT_OFFS


def test_more_waiting_destinations_than_room_keep_one_timer_each() -> None:
    cache = open_cache(max_timers=80)
    with_backlogs(cache, backlogs=60, each=1)
    assert len(cache) == 60


# Unproven destinations.


def storm(cache: Cache, destinations: int, each: int = 1) -> None:
    for number in range(destinations * each):
        place = Lane(Destination(f"http://{number % destinations}.new.example:80"))
        cache.put(due(50_000 + number, number / 1e4, place))


def test_unproven_destinations_leave_half_of_the_cache_to_the_proven() -> None:
    cache = Cache(800, lambda lane: ".new." in lane.destination)
    cache.open_until(NOW + seconds(300))
    storm(cache, 2_000)
    assert 300 <= len(cache) <= 400
    for number in range(400):
        cache.put(due(number + 1, 200.0, Lane(Destination(f"http://o{number % 9}"))))
    assert cache.horizon == NOW + seconds(300)
    proven = [timer for timer in drained(cache) if timer.id.int <= 400]
    assert len(proven) == 400


def test_timers_of_unproven_destinations_are_read_on_when_half_of_it_is_gone() -> None:
    cache = Cache(800, lambda lane: ".new." in lane.destination)
    cache.open_until(NOW + seconds(300))
    storm(cache, 401)
    taken = 0
    while not cache.wants_refill:
        cache.peek()
        cache.take()
        taken += 1
    assert taken == 100  # 200 of the 300 are left
    cache.open_until(NOW + seconds(300))
    assert not cache.wants_refill


def test_destination_that_proves_itself_is_read_whole() -> None:
    unproven = {Lane(Destination(f"http://{number}.new.example:80")) for number in range(401)}
    cache = Cache(800, unproven.__contains__)
    cache.open_until(NOW + seconds(300))
    storm(cache, 401)
    assert not cache.wants_refill
    proven = Lane(Destination("http://400.new.example:80"))
    unproven.remove(proven)
    cache.judge_anew(proven)
    assert cache.wants_refill
    cache.open_until(NOW + seconds(300))
    cache.put(due(1, 290.0, proven))
    storm(cache, 400)
    assert due(1, 290.0, proven) in list(drained(cache))


def test_proven_destination_that_turns_slow_is_held_back() -> None:
    unproven: set[Lane] = set()
    cache = Cache(800, unproven.__contains__)
    cache.open_until(NOW + seconds(300))
    destinations = [web(number) for number in range(9)]
    for number in range(540):
        cache.put(due(number + 1, number / 10, destinations[number % 9]))
    assert len(cache) == 540
    for destination in destinations:
        unproven.add(destination)
        cache.judge_anew(destination)
    assert len(cache) <= 400


# The horizon.


def test_closed_cache_takes_nothing_in() -> None:
    cache = Cache(800)
    cache.put(due(1, 0.0))
    assert len(cache) == 0


def test_what_lies_beyond_the_horizon_is_left_out() -> None:
    cache = open_cache(until_s=300.0)
    cache.put(due(1, 299.999999))
    cache.put(due(2, 300.0))
    assert cache.horizon == NOW + seconds(300.0)
    assert numbers(cache) == [1]


def test_timer_moved_beyond_the_horizon_leaves() -> None:
    cache = open_cache()
    cache.put(due(1, 10.0))
    cache.put(due(1, 86_400.0))
    assert len(cache) == 0
    assert cache.peek() is None


def test_full_cache_keeps_the_nearest_and_draws_its_horizon_in() -> None:
    cache = open_cache(max_timers=8)
    for number in range(1, 10):
        cache.put(due(number, 10.0 - number, web(number)))
    assert cache.horizon == NOW + seconds(7.0)
    assert numbers(cache) == [9, 8, 7, 6, 5, 4]


def test_full_cache_of_one_instant_keeps_as_much_as_it_may() -> None:
    cache = open_cache(max_timers=8)
    for number in range(1, 10):
        cache.put(due(number, 60.0, web(number)))
    assert (len(cache), cache.horizon) == (6, NOW + seconds(60.0))


def test_trimmed_cache_wants_a_refill_when_half_is_gone() -> None:
    cache = open_cache(max_timers=8)
    for number in range(1, 10):
        cache.put(due(number, 10.0 - number, web(number)))
    wants = [cache.wants_refill for _ in zip(range(2), drained(cache), strict=False)]
    assert wants == [False, True]
    cache.open_until(NOW + seconds(300.0))
    assert not cache.wants_refill


def test_cache_that_left_nothing_out_never_wants_a_refill() -> None:
    cache = open_cache()
    cache.put(due(1, 10.0))
    assert not cache.wants_refill
    assert numbers(cache) == [1]
    assert not cache.wants_refill


def test_trim_never_moves_the_horizon_on() -> None:
    cache = open_cache(max_timers=8)
    for number in range(1, 9):
        cache.put(due(number, 100.0 + number, web(number)))
    cache.open_until(NOW + seconds(50.0))  # as after the database's clock was set back
    cache.put(due(9, 10.0))
    assert cache.horizon == NOW + seconds(50.0)


# Cut backlogs.


def test_one_destination_may_take_an_eighth() -> None:
    cache = open_cache(max_timers=64)
    for number in range(1, 21):
        cache.put(due(number, float(number), A))
        cache.put(due(100 + number, float(number), B))
    kept = [timer.lane for timer in drained(cache)]
    assert (kept.count(A), kept.count(B)) == (6, 6)


def test_cut_backlog_keeps_its_nearest_and_still_takes_what_is_nearer() -> None:
    cache = open_cache(max_timers=64)
    for number in range(1, 10):
        cache.put(due(number, float(number)))
    cache.put(due(20, 6.5))
    cache.put(due(21, 7.0))
    cache.reopen_drained()
    assert [*cache.cut_off] == [A]
    assert numbers(cache) == [1, 2, 3, 4, 5, 6, 20]


def test_lane_is_never_said_to_be_complete_beyond_its_first_cut() -> None:
    cache = open_cache(max_timers=64)
    for number in range(1, 8):
        cache.put(due(number, 100.0 + number))
    cache.open_until(NOW + seconds(50.0))  # as after the database's clock was set back
    cache.put(due(8, 10.0))
    cache.put(due(9, 20.0))
    cache.open_until(NOW + seconds(40.0))
    for number in range(10, 13):
        cache.put(due(number, 30.0))
    cache.open_until(NOW + seconds(300.0))
    cache.put(due(13, 45.0))
    cache.reopen_drained()
    assert [*cache.cut_off] == [A]
    assert 13 not in numbers(cache)


def test_lane_cut_beyond_the_horizon_is_not_said_to_be_complete_up_to_there() -> None:
    cache = open_cache(max_timers=64)
    for number in range(1, 9):
        cache.put(due(number, 100.0 + number))
    cache.open_until(NOW + seconds(50.0))  # as after the database's clock was set back
    cache.put(due(9, 10.0))
    cache.open_until(NOW + seconds(300.0))
    cache.put(due(10, 60.0))
    cache.reopen_drained()
    assert [*cache.cut_off] == [A]
    assert 10 not in numbers(cache)


def test_cut_backlog_that_was_emptied_while_aside_is_recalled_as_empty() -> None:
    cache = open_cache(max_timers=64)
    for number in range(1, 10):
        cache.put(due(number, float(number), A))
    while len(cache) > 1 and cache.peek():
        cache.take()
    hide(cache)
    cache.put(due(6, 6.0, B))
    show_all(cache)
    assert cache.peek() == (NOW_S + 6.0, B)
    assert not cache.queues


def test_empty_lane_that_opens_again_leaves_nothing_behind() -> None:
    cache = open_cache(max_timers=64)
    for number in range(1, 10):
        cache.put(due(number, float(number)))
    assert len(numbers(cache)) == 6
    cache.reopen_drained()
    assert not cache._backlogs


def test_cut_backlog_leaves_the_horizon_to_the_others() -> None:
    cache = open_cache(max_timers=64)
    for number in range(1, 10):
        cache.put(due(number, float(number)))
    cache.put(due(20, 200.0, B))
    assert cache.horizon == NOW + seconds(300.0)
    assert numbers(cache)[-1] == 20


def test_drained_backlog_wants_a_refill_and_opens_again() -> None:
    cache = open_cache(max_timers=64)
    for number in range(1, 10):
        cache.put(due(number, float(number)))
    wants = [cache.wants_refill for _ in zip(range(2), drained(cache), strict=False)]
    assert wants == [False, True]
    cache.reopen_drained()
    assert not cache.cut_off
    assert not cache.wants_refill
    cache.put(due(9, 9.0))
    assert numbers(cache)[-1] == 9


def test_lane_that_a_full_cache_emptied_does_not_ask_for_more() -> None:
    cache = open_cache(max_timers=64)
    for number in range(1, 10):
        cache.put(due(number, 200.0 + number, A))
    for number in range(10, 69):
        cache.put(due(number, 1.0, web(number)))
    assert len(cache) == 48
    assert not cache.wants_refill


def test_lane_cut_by_a_full_cache_misses_nothing_before_its_cutoff() -> None:
    cache = open_cache(max_timers=64)
    for number in range(1, 10):
        cache.put(due(number, float(number), A))
    for number in range(10, 69):
        cache.put(due(number, 5.5 + number / 1000, web(number)))
    cache.open_until(NOW + seconds(300.0))
    for left_out in (due(6, 6.0, A), due(7, 7.0, A)):
        cache.put(left_out)
    cache.reopen_drained()
    assert [*cache.cut_off] == [A]
    assert {timer.id.int for timer in drained(cache) if timer.lane == A} == {1, 2, 3, 4, 5}


# What it costs.


def test_entry_takes_at_most_200_bytes() -> None:
    count = 40_000
    cache = open_cache(max_timers=BACKLOG_SHARE * count)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(count):
            cache.put(due((0x7 << 120) + number, number / count))
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(cache) == count
    assert taken / count <= 200


@pytest.mark.parametrize("other_s", [5.0, 250.0])
def test_timer_moved_without_end_leaves_nothing_behind(other_s: float) -> None:
    cache = open_cache()
    cache.put(due(2, other_s))
    for step in range(50_000):
        cache.put(due(1, float(10 + step % 7)))
    (backlog,) = cache._backlogs.values()
    assert len(backlog.heap) <= 20
    assert stale_fronts(cache) <= 20


def test_near_timers_before_a_far_one_leave_nothing_behind() -> None:
    cache = open_cache()
    cache.put(due(1, 250.0))
    for number in range(2, 10_000):
        cache.put(due(number, 1.0))
        cache.peek()
        cache.done(cache.take().id)
    assert stale_fronts(cache) <= 20
    assert not cache._taken


def test_destinations_that_come_and_go_leave_nothing_behind() -> None:
    cache = open_cache()
    for number in range(10_000):
        cache.put(due(number, 1.0, web(number)))
        cache.peek()
        cache.done(cache.take().id)
    for number in range(10_000):
        cache.put(due(1, 1.0, web(number)))
    assert len(cache._backlogs) == 1
    assert stale_fronts(cache) <= 20


def test_microseconds_survive() -> None:
    cache = open_cache()
    timer = DueTimer(NOW + timedelta(seconds=1, microseconds=1), TimerId(UUID(int=2**128 - 1)), A)
    cache.put(timer)
    assert list(drained(cache)) == [timer]


def test_first_due_time_counts_lanes_set_aside() -> None:
    cache = open_cache()
    assert cache.first_due_s is None
    cache.put(due(1, 10.0, A))
    cache.put(due(2, 20.0, B))
    hide(cache)
    assert cache.first_due_s == NOW_S + 10.0


# Shards that are lost.


def test_lost_shard_is_let_go_but_for_what_is_due_at_once() -> None:
    cache = open_cache()
    ours, soon, later = due(0x107, 50.0), due(0x208, 3.0), due(0x308, 3.1)
    for timer in (ours, soon, later):
        cache.put(timer)
    cache.let_go(cache.keys(), {7}, NOW + seconds(3))
    assert list(drained(cache)) == [soon, ours]


def test_shard_that_is_let_go_makes_room_and_can_come_back() -> None:
    cache = open_cache()
    timers = [due(number, 10.0 + number) for number in range(256, 512)]
    for timer in timers:
        cache.put(timer)
    cache.let_go(cache.keys(), (), NOW)
    assert len(cache) == 0
    cache.put(timers[3])
    assert list(drained(cache)) == [timers[3]]


def test_entry_that_has_gone_meanwhile_is_let_go_of_in_peace() -> None:
    cache = open_cache()
    cache.put(due(1, 10.0))
    keys = cache.keys()
    cache.take()
    cache.let_go(keys, (), NOW)
    assert len(cache) == 0


def test_destinations_that_are_cut_off_are_named() -> None:
    cache = open_cache(max_timers=80)
    assert not cache.cut_off
    for number in range(80 // BACKLOG_SHARE + 1):
        cache.put(due(number, number))
    assert cache.cut_off == {A: NOW + seconds(7)}


# Flows.

FLOW: Final = FlowId(DEFAULT_PROJECT, FlowKey("a"))


def in_flow(number: int, due_in_s: float, lane: Lane = A) -> DueTimer:
    return due(number, due_in_s, lane)._replace(flow_key=FLOW.key)


def test_flow_has_one_backlog_whatever_its_destinations() -> None:
    cache = open_cache()
    for timer in (in_flow(1, 2.0, B), in_flow(2, 1.0, A), due(3, 3.0, A)):
        cache.put(timer)
    assert cache.peek() == (NOW_S + 1.0, FLOW)
    assert cache.front_lane() == A
    assert list(drained(cache)) == [in_flow(2, 1.0, A), in_flow(1, 2.0, B), due(3, 3.0, A)]


def test_what_is_hidden_is_shown_by_its_name_alone() -> None:
    cache = open_cache()
    cache.put(in_flow(1, 1.0))
    assert not cache.holds_back
    cache.set_aside(None)
    assert (cache.peek(), cache.holds_back, cache.queues) == (None, True, set())
    assert cache.recall(A) == []
    assert cache.show(FLOW)
    assert not cache.show(FLOW)
    assert cache.peek() == (NOW_S + 1.0, FLOW)


def test_nearer_timer_of_what_is_hidden_shows_it() -> None:
    cache = open_cache()
    cache.put(in_flow(1, 5.0))
    cache.set_aside(None)
    cache.put(in_flow(2, 1.0))
    assert cache.peek() == (NOW_S + 1.0, FLOW)


def test_many_wait_for_one_destination_and_its_own_is_shown_with_them() -> None:
    cache = open_cache()
    cache.put(due(1, 1.0, A))
    cache.put(in_flow(2, 2.0))
    cache.put(in_flow(3, 3.0)._replace(flow_key=FlowKey("b")))
    for _ in range(3):
        cache.set_aside(A)
    assert cache.recall(A, 1) == [FLOW, A]
    assert cache.recall(A, 1) == [FlowId(DEFAULT_PROJECT, FlowKey("b"))]
    assert not cache.queues


def test_timer_that_turns_out_to_be_in_a_flow_moves_there() -> None:
    cache = open_cache()
    cache.put(due(1, 1.0))
    cache.put(in_flow(1, 1.0))
    assert list(drained(cache)) == [in_flow(1, 1.0)]


def test_what_is_heard_last_of_a_taken_timer_is_believed() -> None:
    cache = open_cache()
    cache.put(due(1, 1.0))
    taken = next(drained(cache))
    cache.put(taken)
    cache.put(in_flow(1, 1.0))
    assert cache.done(taken.id) == in_flow(1, 1.0)


def test_flow_in_a_lost_shard_is_forgotten_whenever_it_is_due() -> None:
    cache = open_cache()
    for timer in (in_flow(1, 1.0), due(1 + 256, 1.0, B), in_flow(2, 1.0)):
        cache.put(timer)
    cache.let_go(cache.keys(), {2}, NOW + seconds(3))
    assert sorted(drained(cache)) == [in_flow(2, 1.0), due(1 + 256, 1.0, B)]


def test_forgotten_flow_leaves_the_others() -> None:
    cache = open_cache()
    for timer in (in_flow(1, 1.0), in_flow(2, 2.0, B), due(3, 3.0)):
        cache.put(timer)
    cache.set_aside(None)
    cache.forget(FLOW)
    assert (len(cache), cache.holds_back) == (1, False)
    cache.forget(FLOW)
    cache.put(in_flow(2, 4.0))
    assert list(drained(cache)) == [due(3, 3.0), in_flow(2, 4.0)]


def test_forgotten_flow_that_was_cut_off_is_read_anew_whole() -> None:
    cache = open_cache(max_timers=80)
    timers = [in_flow(number + 1, float(number)) for number in range(20)]
    for timer in timers:
        cache.put(timer)
    cache.forget(FLOW)
    assert cache.wants_refill
    cache.reopen_drained()
    for timer in timers[15:]:
        cache.put(timer)
    assert list(drained(cache)) == timers[15:]


def test_what_is_cut_off_of_a_flow_is_named() -> None:
    cache = open_cache(max_timers=80)
    for number in range(20):
        cache.put(in_flow(number + 1, float(number)))
    assert cache.cut_off.keys() == {FLOW}


def test_what_waits_is_counted_but_for_flows() -> None:
    cache = open_cache()
    for number in range(9):
        cache.put(due(number + 1, number - 4.0, A))
    cache.put(due(20, 1.0, B))
    cache.put(in_flow(21, -1.0, B))
    assert dict(cache.waiting(NOW_S)) == {A: 5}


def test_what_waits_of_thousands_is_estimated() -> None:
    cache = open_cache(max_timers=80_000)
    for number in range(6_000):
        cache.put(due(number + 1, number / 100 - 15.0, A))
    ((lane, count),) = cache.waiting(NOW_S)
    assert lane == A
    assert abs(count - 1_500) < 150


def test_lane_that_comes_and_goes_waits_in_one_place() -> None:
    cache = open_cache()
    cache.put(due(1, 200.0, B))
    hide(cache, Pace.NEW)
    for number in range(60):
        cache.put(due(2 + number, 100.0 - number, A))
        hide(cache, Pace.NEW)
    assert cache.recall(Pace.NEW, 9) == [A, B]
