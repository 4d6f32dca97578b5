from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import ALICE, BOB
from timer_trio.domain.membership import LeaseTimes, Watch
from timer_trio.domain.timer import ReplicaId

DEAD_AFTER_S: Final = 4.0


def died_at(counters: Iterable[int], times: Iterable[float]) -> list[float]:
    """When a watch that has read these counters of one replica called it dead."""
    watch = Watch(DEAD_AFTER_S)
    read = zip(counters, times, strict=True)
    return [now_s for counter, now_s in read if watch.observe({ALICE: counter}, now_s)]


def test_replica_is_dead_when_its_counter_stood_still_for_the_full_time() -> None:
    assert died_at([7] * 6, [10.0, 11.0, 12.0, 13.0, 13.99, 14.0]) == [14.0]


def test_dead_replica_is_named_with_its_last_count() -> None:
    watch = Watch(DEAD_AFTER_S)
    for now_s in range(4):
        assert watch.observe({ALICE: 7, BOB: now_s}, float(now_s)) == {}
    assert watch.observe({ALICE: 7, BOB: 4}, 4.0) == {ALICE: 7}


def test_one_beat_is_a_new_life() -> None:
    assert died_at([7, 7, 7, 7, 8, 8, 8, 8, 8], [float(now_s) for now_s in range(9)]) == [8.0]


def test_counter_that_went_back_is_a_new_life_too() -> None:
    assert died_at([7, 7, 7, 7, 6], [0.0, 1.0, 2.0, 3.0, 4.0]) == []


def test_first_look_finds_nobody_dead() -> None:
    assert died_at([7], [1e9]) == []


def test_replica_that_was_gone_is_watched_anew() -> None:
    watch = Watch(DEAD_AFTER_S)
    for now_s in range(3):
        watch.observe({ALICE: 7}, float(now_s))
    watch.observe({}, 3.0)
    assert watch.observe({ALICE: 7}, 4.0) == {}


def test_time_without_an_answer_does_not_count() -> None:
    watch = Watch(DEAD_AFTER_S)
    for now_s in range(4):
        watch.observe({ALICE: 7}, float(now_s))
    watch.forget()
    assert watch.observe({ALICE: 7}, 4.0) == {}
    assert watch.observe({ALICE: 7}, 6.0) == {}
    assert watch.observe({ALICE: 7}, 8.0) == {ALICE: 7}


def test_hang_of_the_watcher_kills_nobody() -> None:
    assert died_at([7, 7, 7, 7, 7], [0.0, 1.0, 11.0, 12.0, 13.0]) == []


def test_replica_that_is_dead_after_a_hang_is_found_all_the_same() -> None:
    assert died_at([7] * 6, [0.0, 10.0, 11.0, 12.0, 13.0, 14.0]) == [14.0]


@given(st.lists(st.floats(0.01, 30.0), min_size=1, max_size=30))
def test_replica_that_beats_between_all_looks_never_dies(gaps: list[float]) -> None:
    times = [sum(gaps[:count]) for count in range(len(gaps))]
    assert died_at(range(len(times)), times) == []


@given(st.lists(st.floats(0.01, 3.0), min_size=1, max_size=30))
def test_dead_only_by_near_looks_over_the_full_time(gaps: list[float]) -> None:
    times = [sum(gaps[:count]) for count in range(len(gaps))]
    for death_s in died_at([7] * len(times), times):
        looks = [now_s for now_s in times if death_s - DEAD_AFTER_S <= now_s <= death_s]
        assert max(later - now_s for now_s, later in pairwise(looks)) <= DEAD_AFTER_S / 2


def test_replicas_are_judged_each_for_itself() -> None:
    watch = Watch(DEAD_AFTER_S)
    others = [ReplicaId(ALICE), ReplicaId(BOB)]
    dead: set[ReplicaId] = set()
    for now_s in range(10):
        counters = {others[0]: now_s, others[1]: min(now_s, 5)}
        dead |= watch.observe(counters, float(now_s)).keys()
    assert dead == {BOB}


def test_fence_falls_before_the_others_may_sweep() -> None:
    times = LeaseTimes()
    assert times.beat_interval_s < times.fence_s < times.dead_after_s
