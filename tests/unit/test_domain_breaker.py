from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf

import pytest

from timer_trio.domain.breaker import Breakers, BreakerState, Opened, harms, state_of
from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.outcome import (
    Broken,
    CallbackOutcome,
    Delivered,
    Interrupted,
    Rejected,
    Short,
    TimedOut,
    Unreachable,
    Withheld,
)
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import Destination, Lane

LANE = Lane(Destination("https://a.example:443"))
OTHER = Lane(Destination("https://b.example:443"))
THRICE = BreakerPolicy(failures=3, open_s=60)
NOW_S = 1_000.0


def failed(breakers: Breakers, times: int, lane: Lane = LANE, now_s: float = NOW_S) -> None:
    for _ in range(times):
        breakers.note(lane, THRICE, is_failure=True, now_s=now_s)


def opened() -> Breakers:
    breakers = Breakers()
    failed(breakers, 3)
    return breakers


def half_open() -> Breakers:
    """One whose probe is under way since a minute after it opened."""
    breakers = opened()
    assert breakers.begin(LANE)
    return breakers


def test_breaker_is_closed_until_enough_have_failed() -> None:
    breakers = Breakers()
    assert breakers.wait_s(LANE, NOW_S) is None
    failed(breakers, 2)
    assert breakers.wait_s(LANE, NOW_S) is None
    assert not breakers.begin(LANE)
    assert breakers.opened() == []
    failed(breakers, 1)
    assert breakers.wait_s(LANE, NOW_S) == NOW_S + 60
    assert breakers.wait_s(LANE, NOW_S + 59.9) == NOW_S + 60
    assert breakers.opened() == [Opened(LANE, NOW_S + 60)]


def test_one_success_ends_the_run_of_failures() -> None:
    breakers = Breakers()
    failed(breakers, 2)
    breakers.note(LANE, THRICE, is_failure=False, now_s=NOW_S)
    failed(breakers, 2)
    assert breakers.wait_s(LANE, NOW_S) is None


def test_lanes_have_breakers_of_their_own() -> None:
    breakers = opened()
    assert breakers.wait_s(OTHER, NOW_S) is None
    assert breakers.wait_s(LANE._replace(project=ProjectId(1)), NOW_S) is None
    assert not breakers.begin(OTHER)


def test_failures_of_those_sent_before_do_not_keep_it_open_for_longer() -> None:
    breakers = opened()
    failed(breakers, 5, now_s=NOW_S + 50)
    assert breakers.wait_s(LANE, NOW_S + 50) == NOW_S + 60
    failed(breakers, 1, now_s=NOW_S + 70)
    assert breakers.wait_s(LANE, NOW_S + 70) is None


def test_answer_of_one_sent_before_closes_it() -> None:
    breakers = opened()
    breakers.note(LANE, THRICE, is_failure=False, now_s=NOW_S + 1)
    assert breakers.wait_s(LANE, NOW_S + 1) is None
    assert not breakers.begin(LANE)


def test_one_probe_goes_at_a_time() -> None:
    breakers = opened()
    assert breakers.wait_s(LANE, NOW_S + 60) is None
    assert breakers.begin(LANE)
    assert breakers.wait_s(LANE, NOW_S + 60) == inf
    assert breakers.wait_s(LANE, NOW_S + 6_000) == inf


def test_probe_that_succeeds_closes() -> None:
    breakers = half_open()
    breakers.note(LANE, THRICE, is_failure=False, now_s=NOW_S + 61)
    assert breakers.wait_s(LANE, NOW_S + 61) is None
    assert len(breakers) == 0
    failed(breakers, 2, now_s=NOW_S + 62)
    assert breakers.wait_s(LANE, NOW_S + 62) is None


def test_probe_that_fails_opens_again_for_as_long() -> None:
    breakers = half_open()
    failed(breakers, 1, now_s=NOW_S + 65)
    assert breakers.wait_s(LANE, NOW_S + 65) == NOW_S + 125
    assert breakers.wait_s(LANE, NOW_S + 125) is None
    assert breakers.begin(LANE)


def test_probe_that_was_not_sent_leaves_its_place_to_another() -> None:
    breakers = half_open()
    breakers.give_up(LANE)
    assert breakers.wait_s(LANE, NOW_S + 61) is None
    assert breakers.begin(LANE)
    breakers.give_up(OTHER)
    assert breakers.wait_s(LANE, NOW_S + 61) == inf


def test_without_a_policy_nothing_is_kept() -> None:
    breakers = opened()
    breakers.note(LANE, None, is_failure=True, now_s=NOW_S)
    assert len(breakers) == 0
    assert breakers.wait_s(LANE, NOW_S) is None


def test_breakers_of_a_project_whose_policy_has_changed_are_closed() -> None:
    breakers = opened()
    foreign = LANE._replace(project=ProjectId(1))
    failed(breakers, 3, foreign)
    breakers.forget(LANE.project)
    assert breakers.wait_s(LANE, NOW_S) is None
    assert breakers.opened() == [Opened(foreign, NOW_S + 60)]


def test_new_policy_holds_from_the_next_failure_on() -> None:
    breakers = Breakers()
    failed(breakers, 1)
    breakers.note(LANE, BreakerPolicy(failures=2, open_s=5), is_failure=True, now_s=NOW_S)
    assert breakers.wait_s(LANE, NOW_S) == NOW_S + 5


def test_memory_is_bounded_and_those_that_failed_last_are_kept() -> None:
    breakers = Breakers(most=2)
    lanes = [Lane(Destination(f"https://{letter}.example:443")) for letter in "abc"]
    failed(breakers, 3, lanes[0])
    failed(breakers, 3, lanes[1])
    failed(breakers, 1, lanes[0])
    failed(breakers, 3, lanes[2])
    assert [each.lane for each in breakers.opened()] == [lanes[0], lanes[2]]
    assert breakers.wait_s(lanes[1], NOW_S) is None


@pytest.mark.parametrize(
    ("outcome", "is_failure"),
    [
        (Delivered(200), False),
        (Rejected(404), False),
        (Rejected(302), False),
        (Rejected(428), False),
        (Rejected(429), True),
        (Rejected(499), False),
        (Rejected(500), True),
        (Rejected(503), True),
        (Unreachable("connection refused", is_unsent=True), True),
        (Unreachable("connection closed before an answer came"), True),
        (TimedOut(), True),
        (TimedOut(is_unsent=True), True),
        (Interrupted(), None),
        (Withheld(), None),
        (Short("no file descriptor"), None),
        (Broken("TypeError"), None),
    ],
)
def test_what_harms(outcome: CallbackOutcome, is_failure: bool | None) -> None:  # noqa: FBT001
    assert harms(outcome) is is_failure


def test_state_follows_from_the_time_until_which_it_opened() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert state_of(None, now) is BreakerState.CLOSED
    assert state_of(now + timedelta(seconds=1), now) is BreakerState.OPEN
    assert state_of(now, now) is BreakerState.HALF_OPEN
