from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf
from uuid import UUID

import pytest

from timer_trio.domain.breaker import ASK_AGAIN_S, Breakers, BreakerState, Opened, harms, state_of
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
from timer_trio.domain.probes import Answered, Granted, ProbeEnd, ProbeVerdict, ProbeWish, Refused
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import Destination, Lane, TimerId

LANE = Lane(Destination("https://a.example:443"))
OTHER = Lane(Destination("https://b.example:443"))
THRICE = BreakerPolicy(failures=3, open_s=60)
NOW_S = 1_000.0
OLD = TimerId(UUID(int=1))
"""A callback that was sent before the breaker opened."""
PROBE = TimerId(UUID(int=2))
NEXT = TimerId(UUID(int=3))


def instant(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


RIGHT = Granted(instant(NOW_S + 660))


def failed(
    breakers: Breakers,
    times: int,
    lane: Lane = LANE,
    now_s: float = NOW_S,
    timer_id: TimerId = OLD,
) -> None:
    for _ in range(times):
        breakers.note(lane, timer_id, THRICE, is_failure=True, now_s=now_s)


def answered(breakers: Breakers, timer_id: TimerId, now_s: float) -> None:
    breakers.note(LANE, timer_id, THRICE, is_failure=False, now_s=now_s)


def opened() -> Breakers:
    breakers = Breakers()
    failed(breakers, 3)
    return breakers


def granted(verdict: ProbeVerdict = RIGHT) -> Breakers:
    """One that has asked for the right to probe as it was half open."""
    breakers = opened()
    assert breakers.wait_s(LANE, NOW_S + 60) == inf
    breakers.take(LANE, verdict, NOW_S + 60)
    return breakers


def probing() -> Breakers:
    """One whose probe is under way since a minute after it opened."""
    breakers = granted()
    assert breakers.wait_s(LANE, NOW_S + 60) is None
    breakers.begin(LANE, PROBE)
    return breakers


def told(breakers: Breakers) -> list[ProbeEnd]:
    ends = breakers.ends(10)
    breakers.note_told(len(ends))
    return ends


def test_breaker_is_closed_until_enough_have_failed() -> None:
    breakers = Breakers()
    assert breakers.wait_s(LANE, NOW_S) is None
    failed(breakers, 2)
    assert breakers.wait_s(LANE, NOW_S) is None
    assert breakers.opened() == []
    failed(breakers, 1)
    assert breakers.wait_s(LANE, NOW_S) == NOW_S + 60
    assert breakers.wait_s(LANE, NOW_S + 59.9) == NOW_S + 60
    assert breakers.opened() == [Opened(LANE, NOW_S + 60)]
    assert not breakers.have_news


def test_one_success_ends_the_run_of_failures() -> None:
    breakers = Breakers()
    answered(breakers, OLD, NOW_S)
    failed(breakers, 2)
    answered(breakers, OLD, NOW_S)
    failed(breakers, 2)
    assert breakers.wait_s(LANE, NOW_S) is None


def test_lanes_have_breakers_of_their_own() -> None:
    breakers = opened()
    assert breakers.wait_s(OTHER, NOW_S) is None
    assert breakers.wait_s(LANE._replace(project=ProjectId(1)), NOW_S) is None


def test_failures_of_those_sent_before_tell_nothing_new() -> None:
    breakers = opened()
    failed(breakers, 5, now_s=NOW_S + 50)
    assert breakers.wait_s(LANE, NOW_S + 50) == NOW_S + 60
    breakers = probing()
    failed(breakers, 5, now_s=NOW_S + 70)
    assert breakers.opened() == [Opened(LANE, NOW_S + 60)]
    assert breakers.wait_s(LANE, NOW_S + 70) == inf
    assert not breakers.have_news


def test_answer_of_one_sent_before_closes_it() -> None:
    breakers = opened()
    answered(breakers, OLD, NOW_S + 1)
    assert breakers.wait_s(LANE, NOW_S + 1) is None
    breakers.begin(LANE, NEXT)
    assert not breakers.have_news


def test_half_open_one_waits_until_the_right_to_probe_is_granted() -> None:
    breakers = opened()
    assert breakers.wait_s(LANE, NOW_S + 60) == inf
    assert breakers.have_news
    assert breakers.wishes(10) == [ProbeWish(LANE, instant(NOW_S))]
    assert breakers.wishes(0) == []
    assert breakers.wait_s(LANE, NOW_S + 6_000) == inf
    breakers.take(LANE, RIGHT, NOW_S + 60)
    assert breakers.wait_s(LANE, NOW_S + 60) is None
    assert not breakers.have_news


def test_one_probe_goes_at_a_time() -> None:
    breakers = probing()
    assert breakers.wait_s(LANE, NOW_S + 60) == inf
    assert breakers.wait_s(LANE, NOW_S + 6_000) == inf
    assert not breakers.have_news


def test_probe_that_succeeds_closes_and_tells_so() -> None:
    breakers = probing()
    answered(breakers, PROBE, NOW_S + 61)
    assert breakers.wait_s(LANE, NOW_S + 61) is None
    assert len(breakers) == 0
    assert breakers.have_news
    assert told(breakers) == [ProbeEnd(LANE, RIGHT.until, instant(NOW_S + 61), is_answered=True)]
    assert not breakers.have_news
    failed(breakers, 2, now_s=NOW_S + 62)
    assert breakers.wait_s(LANE, NOW_S + 62) is None


def test_probe_that_fails_opens_again_for_as_long_and_tells_so() -> None:
    breakers = probing()
    failed(breakers, 1, now_s=NOW_S + 65, timer_id=PROBE)
    assert breakers.wait_s(LANE, NOW_S + 65) == NOW_S + 125
    assert told(breakers) == [ProbeEnd(LANE, RIGHT.until, instant(NOW_S + 125))]
    assert breakers.wait_s(LANE, NOW_S + 125) == inf
    assert breakers.wishes(10) == [ProbeWish(LANE, instant(NOW_S + 65))]


def test_probe_that_was_not_sent_leaves_its_place_to_another_that_waits() -> None:
    breakers = probing()
    assert not breakers.give_up(LANE, NEXT, others_wait=True)
    assert not breakers.give_up(OTHER, PROBE, others_wait=True)
    assert breakers.wait_s(LANE, NOW_S + 61) == inf
    assert breakers.give_up(LANE, PROBE, others_wait=True)
    assert not breakers.have_news
    assert breakers.wait_s(LANE, NOW_S + 61) is None
    breakers.begin(LANE, NEXT)
    breakers.give_back_unused(NOW_S + 61)
    assert breakers.wait_s(LANE, NOW_S + 61) == inf


def test_probe_that_was_not_sent_gives_the_right_back_if_nothing_waits() -> None:
    breakers = probing()
    assert breakers.give_up(LANE, PROBE, others_wait=False)
    assert told(breakers) == [ProbeEnd(LANE, RIGHT.until)]
    assert breakers.wait_s(LANE, NOW_S + 61) == inf
    assert breakers.wishes(10)


def test_right_that_is_not_used_is_given_back_and_asked_for_again_later() -> None:
    breakers = granted()
    breakers.give_back_unused(NOW_S + 61)
    assert told(breakers) == [ProbeEnd(LANE, RIGHT.until)]
    asks_s = NOW_S + 61 + ASK_AGAIN_S
    assert breakers.wait_s(LANE, NOW_S + 61) == asks_s
    assert not breakers.have_news
    assert breakers.wait_s(LANE, asks_s) == inf
    assert breakers.wishes(10)


def test_who_is_refused_asks_again_later() -> None:
    breakers = granted(Refused(None))
    assert breakers.wait_s(LANE, NOW_S + 60) == NOW_S + 60 + ASK_AGAIN_S
    assert breakers.opened() == [Opened(LANE, NOW_S + 60)]
    assert not breakers.have_news
    assert breakers.wait_s(LANE, NOW_S + 60 + ASK_AGAIN_S) == inf
    assert breakers.wishes(10) == [ProbeWish(LANE, instant(NOW_S))]


def test_failed_probe_of_another_replica_keeps_it_open_for_as_long() -> None:
    breakers = granted(Refused(instant(NOW_S + 100)))
    assert breakers.wait_s(LANE, NOW_S + 62) == NOW_S + 100
    assert breakers.opened() == [Opened(LANE, NOW_S + 100)]


def test_answered_probe_of_another_replica_closes_it() -> None:
    breakers = granted(Answered())
    assert breakers.wait_s(LANE, NOW_S + 60) is None
    assert len(breakers) == 0
    assert not breakers.have_news


@pytest.mark.parametrize("verdict", [Granted(instant(9)), Refused(None), Answered()])
def test_what_is_told_of_a_breaker_that_closed_meanwhile_counts_no_more(
    verdict: ProbeVerdict,
) -> None:
    breakers = opened()
    assert breakers.wait_s(LANE, NOW_S + 60) == inf
    answered(breakers, OLD, NOW_S + 61)
    failed(breakers, 1, now_s=NOW_S + 61)
    breakers.take(LANE, verdict, NOW_S + 61)
    assert len(breakers) == 1
    assert breakers.wait_s(LANE, NOW_S + 61) is None
    is_granted = isinstance(verdict, Granted)
    assert told(breakers) == ([ProbeEnd(LANE, instant(9))] if is_granted else [])


def test_ends_are_told_until_they_are_known_to_be() -> None:
    breakers = probing()
    answered(breakers, PROBE, NOW_S + 61)
    assert breakers.ends(0) == []
    assert breakers.ends(10) == breakers.ends(10) != []


def test_at_a_stop_no_right_is_kept_that_no_probe_uses() -> None:
    breakers = granted()
    breakers.stop()
    assert told(breakers) == [ProbeEnd(LANE, RIGHT.until)]
    breakers = opened()
    breakers.wait_s(LANE, NOW_S + 60)
    breakers.stop()
    assert not breakers.have_news
    breakers.take(LANE, RIGHT, NOW_S + 60)
    assert told(breakers) == [ProbeEnd(LANE, RIGHT.until)]
    breakers = probing()
    breakers.stop()
    assert not breakers.have_news
    breakers.give_up(LANE, PROBE, others_wait=True)
    assert told(breakers) == [ProbeEnd(LANE, RIGHT.until)]


def test_breakers_of_a_project_whose_policy_has_changed_are_closed() -> None:
    breakers = probing()
    foreign = LANE._replace(project=ProjectId(1))
    failed(breakers, 3, foreign)
    breakers.forget(LANE.project)
    assert breakers.wait_s(LANE, NOW_S + 60) is None
    assert breakers.opened() == [Opened(foreign, NOW_S + 60)]
    assert told(breakers) == [ProbeEnd(LANE, RIGHT.until)]


def test_new_policy_holds_from_the_next_failure_on() -> None:
    breakers = Breakers()
    failed(breakers, 1)
    breakers.note(LANE, OLD, BreakerPolicy(failures=2, open_s=5), is_failure=True, now_s=NOW_S)
    assert breakers.wait_s(LANE, NOW_S) == NOW_S + 5


def test_memory_is_bounded_and_those_that_failed_last_are_kept() -> None:
    breakers = Breakers(most=2)
    lanes = [Lane(Destination(f"https://{letter}.example:443")) for letter in "abc"]
    failed(breakers, 3, lanes[0])
    failed(breakers, 3, lanes[1])
    failed(breakers, 1, lanes[0])
    assert breakers.wait_s(lanes[1], NOW_S + 60) == inf
    failed(breakers, 3, lanes[2])
    assert [each.lane for each in breakers.opened()] == [lanes[0], lanes[2]]
    assert breakers.wait_s(lanes[1], NOW_S) is None
    assert not breakers.have_news


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
