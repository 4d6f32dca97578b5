from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest

from tests.contract.timers import FIRST, LATER, NOW, SECOND, SOON, spec
from timer_trio.callback_url import read_url
from timer_trio.domain.outcome import (
    Broken,
    CallbackOutcome,
    Delivered,
    Interrupted,
    Phase,
    Rejected,
    Short,
    Step,
    TimedOut,
    Unreachable,
    Withheld,
)
from timer_trio.domain.settlement import (
    MAX_UNKNOWN_ATTEMPTS,
    Completed,
    Failed,
    Release,
    Settlement,
    given_back,
    judge,
    origin_of,
    settlement_of,
    stands,
    unreadable,
    unstorable,
)
from timer_trio.domain.timer import ClaimedTimer, Delivery, Status, TimerId

BOTH: Final = pytest.mark.parametrize("delivery", list(Delivery))


def claimed_timer(
    *,
    url: str = "https://example.com/hook",
    delivery: Delivery = Delivery.AT_LEAST_ONCE,
    timeout_s: float = 30.0,
    grace_s: float | None = 300.0,
    unknown_attempts: int = 0,
    requested_late_s: float = -60.0,
) -> ClaimedTimer:
    return ClaimedTimer(
        id=TimerId(UUID(int=7)),
        claim=FIRST,
        attempt=unknown_attempts + 1,
        unknown_attempts=unknown_attempts,
        requested_at=NOW + timedelta(seconds=requested_late_s),
        spec=spec(
            callback_url=read_url(url),
            delivery=delivery,
            timeout_s=timeout_s,
            misfire_grace_s=grace_s,
        ),
    )


def failed(words: str, *, is_begun: bool = True, timer: ClaimedTimer | None = None) -> Failed:
    timer = timer or claimed_timer()
    return Failed(
        timer_id=timer.id,
        claim=timer.claim,
        is_begun=is_begun,
        executed_at=SOON if is_begun else None,
        last_error=words,
    )


def refusal_words(timer: ClaimedTimer, late_s: float, *, waited: bool = False) -> str | None:
    """Why a timer is not fired so late, if it is not; a refusal is always written as unsent."""
    settlement = judge(timer, NOW + timedelta(seconds=late_s), waited_for_slot=waited)
    if settlement is None:
        return None
    assert settlement == failed(settlement.last_error, is_begun=False, timer=timer)
    return settlement.last_error


# What an outcome means.


@BOTH
@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Rejected(503), "HTTP 503 from https://example.com"),
        (Rejected(302), "HTTP 302 from https://example.com"),
        (Unreachable("connection refused"), "connection refused"),
        (Unreachable("bad\0 \ud800\r\nheader"), "bad header"),
        (TimedOut(), "timed out after 30s"),
        (Broken("KeyError"), "internal error: KeyError"),
    ],
)
def test_what_did_not_succeed_has_failed_and_says_why(
    delivery: Delivery, outcome: CallbackOutcome, words: str
) -> None:
    timer = claimed_timer(delivery=delivery)
    assert settlement_of(timer, outcome, SOON, LATER) == failed(words)


@BOTH
def test_what_was_delivered_is_completed(delivery: Delivery) -> None:
    timer = claimed_timer(delivery=delivery)
    completed = Completed(timer_id=timer.id, claim=timer.claim, executed_at=SOON)
    assert settlement_of(timer, Delivered(204), SOON, LATER) == completed


@pytest.mark.parametrize(
    ("timeout_s", "words"), [(0.1, "0.1s"), (2.0, "2s"), (2.5, "2.5s"), (300.0, "300s")]
)
def test_timeout_is_told_as_it_was_asked_for(timeout_s: float, words: str) -> None:
    settlement = settlement_of(claimed_timer(timeout_s=timeout_s), TimedOut(), SOON, LATER)
    assert settlement == failed(f"timed out after {words}")


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase(Step.LOOK_UP), "name look-up timed out after 30s"),
        (Phase(Step.CONNECT, "192.0.2.7:443"), "connecting to 192.0.2.7:443 timed out after 30s"),
        (Phase(Step.HANDSHAKE, "[::1]:443"), "TLS handshake with [::1]:443 timed out after 30s"),
    ],
)
def test_timeout_tells_what_was_waited_for(phase: Phase, words: str) -> None:
    settlement = settlement_of(claimed_timer(), TimedOut(phase), SOON, LATER)
    assert settlement == failed(words)


@BOTH
@pytest.mark.parametrize("outcome", [Withheld(), Short("no file descriptor left")])
def test_timer_that_was_not_sent_is_given_back_as_it_was(
    delivery: Delivery, outcome: CallbackOutcome
) -> None:
    timer = claimed_timer(delivery=delivery)
    settlement = settlement_of(timer, outcome, SOON, LATER)
    assert settlement == Release(
        timer_id=timer.id, claim=timer.claim, status=Status.PENDING, due_at=NOW
    )
    assert not settlement.is_begun


def test_timer_of_which_something_may_have_been_sent_is_not_pending_again() -> None:
    timer = claimed_timer(unknown_attempts=1)
    assert given_back(timer, LATER) == Release(
        timer_id=timer.id, claim=timer.claim, status=Status.EXECUTING, due_at=LATER
    )


def test_interrupted_callback_keeps_its_claim_so_that_it_is_sent_again() -> None:
    timer = claimed_timer(delivery=Delivery.AT_LEAST_ONCE)
    assert settlement_of(timer, Interrupted(), SOON, LATER) is None


def test_interrupted_callback_that_must_not_be_sent_again_has_failed() -> None:
    timer = claimed_timer(delivery=Delivery.AT_MOST_ONCE)
    words = "outcome unknown: the service stopped before the answer came"
    assert settlement_of(timer, Interrupted(), SOON, LATER) == failed(words)


def test_row_that_nobody_can_read_fails_in_plain_words() -> None:
    timer = claimed_timer()
    settlement = unreadable(timer.id, timer.claim, "callback_headers:\n\0no object")
    assert settlement == failed("callback_headers: no object", is_begun=False)


# Whether a claimed timer may still be fired.


@pytest.mark.parametrize("late_s", [-0.2, 0.0, 299.0, 300.0])
def test_timer_within_its_grace_is_fired(late_s: float) -> None:
    assert refusal_words(claimed_timer(), late_s) is None


@pytest.mark.parametrize(
    ("late_s", "grace_s", "words"),
    [
        (300.000001, 300.0, "missed: 5m overdue, grace 5m"),
        (7380.0, 300.0, "missed: 2h 3m overdue, grace 5m"),
        (1.5, 1.0, "missed: 1.5s overdue, grace 1s"),
        (90_061.0, 86_400.0, "missed: 1d 1h overdue, grace 1d"),
    ],
)
def test_timer_beyond_its_grace_is_missed_and_says_by_how_much(
    late_s: float, grace_s: float, words: str
) -> None:
    assert refusal_words(claimed_timer(grace_s=grace_s), late_s) == words


def test_missed_timer_whose_earlier_attempt_may_have_arrived_says_so() -> None:
    words = "missed: 2h 3m overdue, grace 5m; an earlier attempt may have arrived"
    assert refusal_words(claimed_timer(unknown_attempts=1), 7380.0) == words


def test_missed_timer_that_waited_for_a_slot_names_its_destination() -> None:
    timer = claimed_timer(url="https://x/hook")
    words = "missed: 2h 3m overdue, grace 5m; https://x had no free slot"
    assert refusal_words(timer, 7380.0, waited=True) == words


def test_wait_for_a_slot_within_the_grace_is_no_reason_to_miss() -> None:
    assert refusal_words(claimed_timer(), 10.0, waited=True) is None


def test_timer_without_a_limit_of_grace_fires_however_late() -> None:
    assert refusal_words(claimed_timer(grace_s=None), 1e9, waited=True) is None


def test_lateness_counts_from_the_last_request() -> None:
    timer = claimed_timer(requested_late_s=7000.0)
    assert refusal_words(timer, 7300.0) is None
    assert refusal_words(timer, 7301.0) == "missed: 5m 1s overdue, grace 5m"


@pytest.mark.parametrize("late_s", [0.0, 1e6])
def test_at_most_once_is_never_fired_after_an_attempt_of_unknown_outcome(late_s: float) -> None:
    timer = claimed_timer(delivery=Delivery.AT_MOST_ONCE, unknown_attempts=1)
    words = "outcome unknown: the service died after it had claimed this timer"
    assert refusal_words(timer, late_s) == words


def test_at_least_once_is_fired_again_until_three_attempts_never_ended() -> None:
    refusals = [refusal_words(claimed_timer(unknown_attempts=count), 0.0) for count in range(4)]
    words = "outcome unknown: 3 attempts in a row never ended"
    assert refusals == [None] * MAX_UNKNOWN_ATTEMPTS + [words]


# Words, and the guard.


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://example.com/a?b", "https://example.com"),
        ("http://example.com:80/", "http://example.com"),
        ("http://example.com:8080/", "http://example.com:8080"),
        ("http://example.com:443/", "http://example.com:443"),
        ("https://example.com:80/", "https://example.com:80"),
        ("https://[::443]/", "https://[::443]"),
        ("http://https.example/", "http://https.example"),
    ],
)
def test_origin_shows_no_port_that_its_scheme_implies(url: str, origin: str) -> None:
    assert origin_of(claimed_timer(url=url)) == origin


ENDS: Final = pytest.mark.parametrize(
    "settlement",
    [
        Completed(timer_id=claimed_timer().id, claim=FIRST, executed_at=SOON),
        failed("HTTP 503"),
    ],
)


def accepted(settlement: Settlement) -> set[int | None]:
    asked = [FIRST, -FIRST, SECOND, -SECOND, None]
    return {claim for claim in asked if stands(settlement, claim)}


@ENDS
def test_an_end_stands_against_its_own_claim_alone(settlement: Settlement) -> None:
    assert accepted(settlement) == {FIRST}


def test_a_release_stands_against_its_claim_and_what_it_has_left_of_it() -> None:
    assert accepted(given_back(claimed_timer(), SOON)) == {FIRST, -FIRST}


@ENDS
def test_what_the_database_refuses_has_failed_and_keeps_when_it_was_sent(
    settlement: Settlement,
) -> None:
    words = "internal error: the outcome could not be stored: a value is out of range"
    assert unstorable(settlement, "a value is out of range") == failed(words)
