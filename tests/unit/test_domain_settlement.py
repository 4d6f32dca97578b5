from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import pytest

from tests.contract.timers import FIRST, LATER, NOW, SECOND, SOON, spec
from timer_trio.callback_url import read_url
from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
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
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.settlement import (
    MAX_UNKNOWN_ATTEMPTS,
    SUPERSEDED,
    Completed,
    Failed,
    Release,
    Retry,
    Settlement,
    Skipped,
    WhyFailed,
    given_back,
    judge,
    origin_of,
    plainer,
    settlement_of,
    stands,
    unreadable,
    unstorable,
)
from timer_trio.domain.timer import ClaimedOccurrence, ClaimedTimer, Delivery, Status, TimerId

DURATION_MS: Final = 3_599_000
"""From SOON to LATER."""
ANSWER: Final = KeptAnswer(headers=(("A", "b"),), body=b"sorry", is_truncated=False)
POLICY: Final = RetryPolicy(max_attempts=3, initial_delay_s=10, jitter=0)
BOTH: Final = pytest.mark.parametrize("delivery", list(Delivery))


def claimed_timer(
    *,
    url: str = "https://example.com/hook",
    delivery: Delivery = Delivery.AT_LEAST_ONCE,
    timeout_s: float = 30.0,
    grace_s: float | None = 300.0,
    unknown_attempts: int = 0,
    failures: int = 0,
    retry: RetryPolicy | None = None,
    next_attempt_at: datetime | None = None,
    first_due_at: datetime | None = None,
    requested_late_s: float = -60.0,
) -> ClaimedTimer:
    return ClaimedTimer(
        id=TimerId(UUID(int=7)),
        claim=FIRST,
        attempt=failures + unknown_attempts + 1,
        unknown_attempts=unknown_attempts,
        failures=failures,
        next_attempt_at=next_attempt_at,
        first_due_at=first_due_at,
        requested_at=NOW + timedelta(seconds=requested_late_s),
        spec=spec(
            callback_url=read_url(url),
            delivery=delivery,
            timeout_s=timeout_s,
            misfire_grace_s=grace_s,
            retry=retry,
        ),
    )


def ended(timer: ClaimedTimer, outcome: CallbackOutcome) -> Settlement:
    """What becomes of a timer that was fired at SOON and ended so at LATER."""
    settlement = settlement_of(timer, outcome, SOON, LATER)
    assert settlement is not None
    return settlement


def not_begun(timer: ClaimedTimer, words: str, why: WhyFailed) -> Failed:
    return Failed(
        timer_id=timer.id,
        claim=timer.claim,
        is_begun=False,
        executed_at=None,
        last_error=words,
        why=why,
        attempts=unknown_ones(timer),
    )


def unknown_ones(timer: ClaimedTimer, ended_at: datetime = LATER) -> tuple[AttemptRecord, ...]:
    """The attempts just before this one, of which nobody knows."""
    return tuple(
        AttemptRecord(attempt=attempt, started_at=None, ended_at=ended_at, outcome="unknown")
        for attempt in range(timer.attempt - timer.unknown_attempts, timer.attempt)
    )


def refusal_words(timer: ClaimedTimer, late_s: float, *, waited: bool = False) -> str | None:
    """Why a timer is not fired so late, if it is not; a refusal is always written as unsent."""
    settlement = judge(timer, NOW + timedelta(seconds=late_s), waited_for_slot=waited)
    if settlement is None:
        return None
    assert isinstance(settlement, Failed)
    now = NOW + timedelta(seconds=late_s)
    assert settlement == replace(
        not_begun(timer, settlement.last_error, settlement.why), attempts=unknown_ones(timer, now)
    )
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
    http_status = outcome.http_status if isinstance(outcome, Rejected) else None
    record = AttemptRecord(
        attempt=1,
        started_at=SOON,
        ended_at=LATER,
        outcome=outcome.name,
        http_status=http_status,
        error=words,
    )
    assert ended(timer, outcome) == Failed(
        timer_id=timer.id,
        claim=timer.claim,
        is_begun=True,
        executed_at=SOON,
        last_error=words,
        http_status=http_status,
        duration_ms=DURATION_MS,
        failures=1,
        attempts=(record,),
    )


@BOTH
def test_what_was_delivered_is_completed(delivery: Delivery) -> None:
    timer = claimed_timer(delivery=delivery)
    completed = Completed(
        timer_id=timer.id,
        claim=timer.claim,
        executed_at=SOON,
        http_status=204,
        duration_ms=DURATION_MS,
    )
    assert settlement_of(timer, Delivered(204), SOON, LATER) == completed


@pytest.mark.parametrize(
    ("timeout_s", "words"), [(0.1, "0.1s"), (2.0, "2s"), (2.5, "2.5s"), (300.0, "300s")]
)
def test_timeout_is_told_as_it_was_asked_for(timeout_s: float, words: str) -> None:
    settlement = ended(claimed_timer(timeout_s=timeout_s), TimedOut())
    assert settlement.last_error == f"timed out after {words}"


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase(Step.LOOK_UP), "name look-up timed out after 30s"),
        (Phase(Step.CONNECT, "192.0.2.7:443"), "connecting to 192.0.2.7:443 timed out after 30s"),
        (Phase(Step.HANDSHAKE, "[::1]:443"), "TLS handshake with [::1]:443 timed out after 30s"),
    ],
)
def test_timeout_tells_what_was_waited_for(phase: Phase, words: str) -> None:
    assert ended(claimed_timer(), TimedOut(phase)).last_error == words


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
    assert given_back(timer) == Release(
        timer_id=timer.id, claim=timer.claim, status=Status.EXECUTING, due_at=NOW
    )
    again = replace(timer, next_attempt_at=SOON)
    assert given_back(again).due_at == SOON


def test_interrupted_callback_keeps_its_claim_so_that_it_is_sent_again() -> None:
    timer = claimed_timer(delivery=Delivery.AT_LEAST_ONCE)
    assert settlement_of(timer, Interrupted(), SOON, LATER) is None


def test_interrupted_callback_that_must_not_be_sent_again_has_failed() -> None:
    timer = claimed_timer(delivery=Delivery.AT_MOST_ONCE, retry=POLICY)
    settlement = ended(timer, Interrupted())
    words = "outcome unknown: the service stopped before the answer came"
    assert (settlement.status, settlement.last_error) == (Status.FAILED, words)
    assert [record.outcome for record in settlement.attempts] == ["interrupted"]


def test_row_that_nobody_can_read_fails_in_plain_words() -> None:
    timer = claimed_timer()
    settlement = unreadable(timer.id, timer.claim, "callback_headers:\n\0no object")
    assert settlement == not_begun(timer, "callback_headers: no object", WhyFailed.UNREADABLE)


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


def test_why_a_timer_failed_is_known_of_each() -> None:
    policy = RetryPolicy(max_attempts=5, give_up_after_s=1.0)
    late = (
        (claimed_timer(grace_s=1.0), WhyFailed.MISSED),
        (claimed_timer(unknown_attempts=MAX_UNKNOWN_ATTEMPTS), WhyFailed.OUTCOME_UNKNOWN),
        (
            claimed_timer(retry=policy, failures=1, first_due_at=NOW, next_attempt_at=NOW),
            WhyFailed.GAVE_UP,
        ),
    )
    for timer, why in late:
        settlement = judge(timer, NOW + timedelta(seconds=2), waited_for_slot=True)
        assert isinstance(settlement, Failed)
        assert settlement.why is why
    callback = ended(claimed_timer(), Rejected(503))
    assert isinstance(callback, Failed)
    assert callback.why is WhyFailed.CALLBACK
    row = unreadable(claimed_timer().id, FIRST, "no code can read it")
    assert row.why is WhyFailed.UNREADABLE


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
        Completed(
            timer_id=claimed_timer().id,
            claim=FIRST,
            executed_at=SOON,
            http_status=204,
            duration_ms=DURATION_MS,
        ),
        ended(claimed_timer(), Rejected(503)),
    ],
)


def accepted(settlement: Settlement) -> set[int | None]:
    asked = [FIRST, -FIRST, SECOND, -SECOND, None]
    return {claim for claim in asked if stands(settlement, claim)}


@ENDS
def test_an_end_stands_against_its_claim_and_what_a_redrive_leaves_of_it(
    settlement: Settlement,
) -> None:
    assert accepted(settlement) == {FIRST, -FIRST}


def test_a_release_stands_against_its_claim_and_what_it_has_left_of_it() -> None:
    assert accepted(given_back(claimed_timer())) == {FIRST, -FIRST}


@ENDS
def test_what_the_database_refuses_has_failed_and_keeps_when_it_was_sent(
    settlement: Settlement,
) -> None:
    refused = unstorable(settlement, "a value is out of range")
    words = "internal error: the outcome could not be stored: a value is out of range"
    assert (refused.status, refused.last_error) == (Status.FAILED, words)
    assert (refused.claim, refused.executed_at, refused.is_begun) == (FIRST, SOON, True)
    assert refused.http_status == settlement.http_status
    assert refused.duration_ms == DURATION_MS
    assert not refused.attempts


def test_what_is_refused_is_written_without_its_answers_first() -> None:
    settlement = ended(claimed_timer(unknown_attempts=1), Rejected(503, (), ANSWER))
    bare = plainer(settlement)
    assert bare is not None
    assert [record.answer for record in bare.attempts] == [None, None]
    assert plainer(bare) is None
    assert plainer(given_back(claimed_timer())) is None


# What follows a failure.


RETRIED: Final = pytest.mark.parametrize(
    "outcome",
    [
        Rejected(503, (), ANSWER),
        Rejected(302),
        Unreachable("connection refused", is_unsent=True),
        Unreachable("connection closed"),
        TimedOut(),
        Broken("KeyError"),
    ],
)


@RETRIED
def test_a_failed_attempt_is_followed_by_another(outcome: CallbackOutcome) -> None:
    settlement = ended(claimed_timer(retry=POLICY), outcome)
    assert isinstance(settlement, Retry)
    assert settlement.status is Status.RETRYING
    assert settlement.due_at == LATER + timedelta(seconds=10)
    assert (settlement.failures, settlement.claim_after) == (1, -FIRST)
    assert (settlement.executed_at, settlement.duration_ms) == (SOON, DURATION_MS)
    assert settlement.first_due_at is None
    (record,) = settlement.attempts
    assert record.error == settlement.last_error
    assert (record.attempt, record.outcome) == (1, outcome.name)


@RETRIED
def test_the_last_attempt_of_the_budget_fails(outcome: CallbackOutcome) -> None:
    second = ended(claimed_timer(retry=POLICY, failures=1), outcome)
    assert second.due_at == LATER + timedelta(seconds=20)
    third = ended(claimed_timer(retry=POLICY, failures=2), outcome)
    assert (third.status, third.due_at, third.failures) == (Status.FAILED, None, 3)


@pytest.mark.parametrize("outcome", [Rejected(410), Rejected(503, ((b"X-Timer-Retry", b"no"),))])
def test_a_receiver_may_refuse_further_attempts(outcome: CallbackOutcome) -> None:
    assert ended(claimed_timer(retry=POLICY), outcome).status is Status.FAILED


def test_a_receiver_may_ask_for_a_pause() -> None:
    settlement = ended(claimed_timer(retry=POLICY), Rejected(503, ((b"Retry-After", b"60"),)))
    assert settlement.due_at == LATER + timedelta(minutes=1)


@RETRIED
def test_at_most_once_is_tried_again_only_if_nothing_was_sent(outcome: CallbackOutcome) -> None:
    timer = claimed_timer(retry=POLICY, delivery=Delivery.AT_MOST_ONCE)
    is_unsent = isinstance(outcome, Unreachable) and outcome.is_unsent
    assert ended(timer, outcome).status is (Status.RETRYING if is_unsent else Status.FAILED)


def test_no_attempt_begins_after_the_time_to_give_up() -> None:
    policy = replace(POLICY, give_up_after_s=3_615.0)
    first = ended(claimed_timer(retry=policy), Rejected(503))
    assert first.due_at == LATER + timedelta(seconds=10)
    assert first.first_due_at == NOW
    later = claimed_timer(retry=policy, failures=1, first_due_at=NOW)
    assert ended(later, Rejected(503)).status is Status.FAILED
    postponed = claimed_timer(retry=policy, failures=1, first_due_at=NOW + timedelta(seconds=5))
    assert ended(postponed, Rejected(503)).status is Status.RETRYING


@pytest.mark.parametrize(
    ("due_s", "late_s", "words"),
    [
        (50.0, 60.0, None),
        (60.0, 60.000001, "gave up: 1m after the first attempt was due"),
        (50.0, 90.0, "gave up: 1m 30s after the first attempt was due"),
        # It was moved there.
        (70.0, 90.0, None),
    ],
)
def test_attempt_that_comes_after_the_time_to_give_up_is_not_fired(
    due_s: float, late_s: float, words: str | None
) -> None:
    timer = claimed_timer(
        retry=replace(POLICY, give_up_after_s=60.0),
        failures=1,
        first_due_at=NOW,
        next_attempt_at=NOW + timedelta(seconds=due_s),
    )
    assert refusal_words(timer, late_s) == words


def test_first_attempt_is_fired_however_late_its_policy_gives_up() -> None:
    timer = claimed_timer(retry=replace(POLICY, give_up_after_s=60.0))
    assert refusal_words(timer, 90.0) is None


def test_attempts_of_which_nobody_knows_cost_nothing_of_the_budget() -> None:
    settlement = ended(claimed_timer(retry=POLICY, unknown_attempts=2), Rejected(503))
    assert (settlement.status, settlement.failures) == (Status.RETRYING, 1)
    assert [(each.attempt, each.outcome) for each in settlement.attempts] == [
        (1, "unknown"),
        (2, "unknown"),
        (3, "rejected"),
    ]


def test_a_retry_that_was_not_sent_waits_as_it_did() -> None:
    timer = claimed_timer(retry=POLICY, failures=1, next_attempt_at=SOON)
    assert given_back(timer) == Release(
        timer_id=timer.id, claim=timer.claim, status=Status.RETRYING, due_at=SOON
    )


def test_lateness_of_a_retry_counts_from_its_own_instant() -> None:
    timer = claimed_timer(retry=POLICY, failures=1, next_attempt_at=NOW + timedelta(hours=1))
    assert refusal_words(timer, 3_600 + 300) is None
    assert refusal_words(timer, 3_600 + 301) == "missed: 5m 1s overdue, grace 5m"


@pytest.mark.parametrize(
    ("timer", "outcome", "told"),
    [
        (claimed_timer(), Delivered(200), []),
        (claimed_timer(), Delivered(200, ANSWER), [1]),
        (claimed_timer(failures=1), Delivered(200), [2]),
        (claimed_timer(unknown_attempts=1), Delivered(200), [1, 2]),
    ],
)
def test_a_first_attempt_that_was_delivered_is_told_by_its_timer_alone(
    timer: ClaimedTimer, outcome: CallbackOutcome, told: list[int]
) -> None:
    assert [record.attempt for record in ended(timer, outcome).attempts] == told


@pytest.mark.parametrize("late_s", [0.0, 3_600.0])
def test_a_superseded_occurrence_is_skipped_and_not_sent(late_s: float) -> None:
    occurrence = ClaimedOccurrence(UUID(int=9), NOW, is_superseded=True)
    timer = replace(claimed_timer(), occurrence=occurrence)
    settlement = judge(timer, NOW + timedelta(seconds=late_s), waited_for_slot=False)
    assert settlement == Skipped(timer_id=timer.id, claim=FIRST, last_error=SUPERSEDED)
    assert (settlement.status, settlement.due_at) == (Status.CANCELED, None)
    assert not settlement.is_begun
    assert settlement.claim_after == FIRST
    assert accepted(settlement) == {FIRST, -FIRST}
    assert plainer(settlement) is None


def test_an_occurrence_that_is_not_superseded_is_judged_as_any_timer() -> None:
    occurrence = ClaimedOccurrence(UUID(int=9), NOW, is_superseded=False)
    timer = replace(claimed_timer(), occurrence=occurrence)
    assert judge(timer, NOW, waited_for_slot=False) is None
    missed = judge(timer, LATER, waited_for_slot=False)
    assert isinstance(missed, Failed)
