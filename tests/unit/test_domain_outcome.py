from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import FIRST, NOW, SECOND, SOON, spec
from timer_trio.domain.outcome import (
    MAX_ERROR_LENGTH,
    MAX_UNFINISHED_ATTEMPTS,
    Broken,
    CallbackOutcome,
    Delivered,
    Interrupted,
    Phase,
    Rejected,
    Settlement,
    Short,
    Step,
    TimedOut,
    Unreachable,
    Withheld,
    clean,
    given_back,
    in_words,
    judge,
    origin_of,
    settlement_of,
    stands,
    tells_pace,
    unreadable,
)
from timer_trio.domain.timer import ClaimedTimer, Delivery, Status, TimerId

BOTH: Final = pytest.mark.parametrize("delivery", list(Delivery))


def claimed_timer(
    *,
    url: str = "https://example.com/hook",
    delivery: Delivery = Delivery.AT_LEAST_ONCE,
    timeout_s: float = 30.0,
    grace_s: float | None = 300.0,
    attempt: int = 1,
    requested_late_s: float = -60.0,
) -> ClaimedTimer:
    return ClaimedTimer(
        id=TimerId(UUID(int=7)),
        claim=FIRST,
        attempt=attempt,
        requested_at=NOW + timedelta(seconds=requested_late_s),
        spec=spec(
            callback_url=url, delivery=delivery, timeout_s=timeout_s, misfire_grace_s=grace_s
        ),
    )


def written(
    status: Status, words: str | None, *, begun: bool = True, timer: ClaimedTimer | None = None
) -> Settlement:
    timer = timer or claimed_timer()
    return Settlement(
        timer_id=timer.id,
        claim=timer.claim,
        status=status,
        begun=begun,
        executed_at=SOON if begun else None,
        last_error=words,
    )


def refusal_words(timer: ClaimedTimer, late_s: float, *, waited: bool = False) -> str | None:
    """Why a timer is not fired so late, if it is not; a refusal is always written as unsent."""
    settlement = judge(timer, NOW + timedelta(seconds=late_s), waited_for_slot=waited)
    if settlement is None:
        return None
    assert settlement == written(Status.FAILED, settlement.last_error, begun=False, timer=timer)
    return settlement.last_error


# What an outcome means.


@BOTH
@pytest.mark.parametrize(
    ("outcome", "status", "words"),
    [
        (Delivered(204), Status.COMPLETED, None),
        (Rejected(503), Status.FAILED, "HTTP 503 from https://example.com"),
        (Rejected(302), Status.FAILED, "HTTP 302 from https://example.com"),
        (Unreachable("connection refused"), Status.FAILED, "connection refused"),
        (Unreachable("bad\0 \ud800\r\nheader"), Status.FAILED, "bad header"),
        (TimedOut(), Status.FAILED, "timed out after 30s"),
        (Broken("KeyError"), Status.FAILED, "internal error: KeyError"),
    ],
)
def test_known_outcome_ends_the_timer(
    delivery: Delivery, outcome: CallbackOutcome, status: Status, words: str | None
) -> None:
    timer = claimed_timer(delivery=delivery)
    assert settlement_of(timer, outcome, SOON) == written(status, words)


@pytest.mark.parametrize(
    ("timeout_s", "words"), [(0.1, "0.1s"), (2.0, "2s"), (2.5, "2.5s"), (300.0, "300s")]
)
def test_timeout_is_told_as_it_was_asked_for(timeout_s: float, words: str) -> None:
    settlement = settlement_of(claimed_timer(timeout_s=timeout_s), TimedOut(), SOON)
    assert settlement == written(Status.FAILED, f"timed out after {words}")


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase(Step.LOOK_UP), "name look-up timed out after 30s"),
        (Phase(Step.CONNECT, "192.0.2.7:443"), "connecting to 192.0.2.7:443 timed out after 30s"),
        (Phase(Step.HANDSHAKE, "[::1]:443"), "TLS handshake with [::1]:443 timed out after 30s"),
    ],
)
def test_timeout_tells_what_was_waited_for(phase: Phase, words: str) -> None:
    settlement = settlement_of(claimed_timer(), TimedOut(phase), SOON)
    assert settlement == written(Status.FAILED, words)


@BOTH
def test_timer_that_was_not_sent_is_given_back_and_the_attempt_not_counted(
    delivery: Delivery,
) -> None:
    timer = claimed_timer(delivery=delivery)
    for outcome in (Withheld(), Short("no file descriptor left")):
        settlement = settlement_of(timer, outcome, SOON)
        assert settlement == written(Status.PENDING, None, begun=False)
        assert settlement == given_back(timer)


def test_only_what_came_of_a_send_tells_how_fast_a_destination_is() -> None:
    telling: list[CallbackOutcome] = [
        Delivered(200),
        Rejected(500),
        Unreachable("refused"),
        TimedOut(),
    ]
    assert all(tells_pace(outcome) for outcome in telling)
    silent: list[CallbackOutcome] = [Interrupted(), Withheld(), Broken("TypeError")]
    assert not any(tells_pace(outcome) for outcome in silent)


def test_interrupted_callback_keeps_its_claim_so_that_it_is_sent_again() -> None:
    timer = claimed_timer(delivery=Delivery.AT_LEAST_ONCE)
    assert settlement_of(timer, Interrupted(), SOON) is None


def test_interrupted_callback_that_must_not_be_sent_again_has_failed() -> None:
    timer = claimed_timer(delivery=Delivery.AT_MOST_ONCE)
    words = "outcome unknown: the service stopped before the answer came"
    assert settlement_of(timer, Interrupted(), SOON) == written(Status.FAILED, words)


def test_every_outcome_has_a_name_of_its_own() -> None:
    outcomes = (
        *(Delivered, Rejected, Unreachable, TimedOut),
        *(Interrupted, Withheld, Short, Broken),
    )
    assert len({outcome.name for outcome in outcomes}) == len(outcomes)


def test_row_that_nobody_can_read_fails_in_plain_words() -> None:
    timer = claimed_timer()
    settlement = unreadable(timer.id, timer.claim, "callback_headers:\n\0no object")
    assert settlement == written(Status.FAILED, "callback_headers: no object", begun=False)


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
    assert refusal_words(claimed_timer(attempt=2), 7380.0) == words


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
    timer = claimed_timer(delivery=Delivery.AT_MOST_ONCE, attempt=2)
    words = "outcome unknown: the service died after it had claimed this timer"
    assert refusal_words(timer, late_s) == words


def test_at_least_once_is_fired_again_until_three_attempts_never_ended() -> None:
    refusals = [refusal_words(claimed_timer(attempt=attempt), 0.0) for attempt in range(1, 5)]
    words = "outcome unknown: 3 attempts in a row never ended"
    assert refusals == [None] * MAX_UNFINISHED_ATTEMPTS + [words]


# Words.


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


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (0.04, "0s"),
        (0.1, "0.1s"),
        (1.25, "1.2s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (10.4, "10s"),
        (45, "45s"),
        (59.7, "1m"),
        (60, "1m"),
        (61, "1m 1s"),
        (7_380, "2h 3m"),
        (7_439, "2h 3m"),
        (86_400, "1d"),
        (86_405, "1d 5s"),
        (400 * 86_400 + 3_600, "400d 1h"),
    ],
)
def test_duration_is_told_in_its_two_greatest_units(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plain words", "plain words"),
        ("  much \t space\r\n", "much space"),
        ("a\0b", "a b"),
        ("a\x1b[31mred", "a [31mred"),
        ("half \ud83d pair", "half pair"),
        ("turned \u202eback", "turned back"),
        ("line\u2028line", "line line"),
        ("schön, 日本 🙂", "schön, 日本 🙂"),
        ("", ""),
    ],
)
def test_words_of_others_are_made_fit_to_store(text: str, words: str) -> None:
    assert clean(text) == words


@given(st.text(st.characters(), max_size=3 * MAX_ERROR_LENGTH))
def test_clean_words_are_short_printable_and_storable(text: str) -> None:
    words = clean(text)
    assert len(words) <= MAX_ERROR_LENGTH
    assert words.isprintable()
    words.encode()
    assert clean(words) == words.strip()


def test_long_text_is_cut() -> None:
    assert clean("x" * 10**7) == "x" * MAX_ERROR_LENGTH


@pytest.mark.parametrize(
    ("status", "claims"),
    [(Status.COMPLETED, {FIRST}), (Status.FAILED, {FIRST}), (Status.PENDING, {FIRST, -FIRST})],
)
def test_a_settlement_stands_against_its_own_claim_alone(status: Status, claims: set[int]) -> None:
    settlement = replace(given_back(claimed_timer()), status=status)
    asked = [FIRST, -FIRST, SECOND, -SECOND, None]
    assert {claim for claim in asked if stands(settlement, claim)} == claims
