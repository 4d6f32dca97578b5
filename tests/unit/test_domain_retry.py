from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from timer_trio.domain.retry import (
    Advice,
    RetryPolicy,
    advice_of,
    last_begin_at,
    next_attempt_at,
)
from timer_trio.domain.timer import TimerId

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE: Final = TimerId(UUID("01890000-0000-7000-8000-000000000001"))
OTHER: Final = TimerId(UUID("01890000-0000-7000-8000-000000000002"))
SILENT: Final = Advice()
END: Final = datetime.max.replace(tzinfo=UTC)

IDS: Final = st.uuids().map(TimerId)
DELAYS: Final = st.lists(st.floats(0.1, 604_800), min_size=1, max_size=50).map(tuple)
POLICIES: Final = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 50),
    delays=st.none() | DELAYS,
    initial_delay_s=st.floats(0.1, 86_400),
    factor=st.floats(1, 10),
    max_delay_s=st.floats(0.1, 604_800),
    jitter=st.floats(0, 1),
    give_up_after_s=st.none() | st.floats(1, 1e9),
)
FAR: Final = st.datetimes(timezones=st.just(UTC))
ADVICES: Final = st.builds(Advice, is_refused=st.booleans(), not_before=st.none() | FAR)


def delay_s(policy: RetryPolicy, failures: int = 1, advice: Advice = SILENT) -> float | None:
    at = next_attempt_at(policy, ONE, failures, NOW, NOW, advice)
    return None if at is None else (at - NOW).total_seconds()


def in_s(seconds: float) -> Advice:
    return Advice(not_before=NOW + timedelta(seconds=seconds))


def plain_delay_s(policy: RetryPolicy, failures: int) -> float:
    """Spell the contract's rule in exact numbers, without jitter."""
    if policy.delays is not None:
        return (list(policy.delays) + [policy.delays[-1]] * 50)[failures - 1]
    delay = policy.initial_delay_s
    for _ in range(failures - 1):
        delay = min(delay * policy.factor, 1e100)
    return min(delay, policy.max_delay_s)


# The delay.


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RetryPolicy(jitter=0), [10, 20, 40, 80, None, None]),
        (RetryPolicy(jitter=0, max_attempts=1), [None]),
        (RetryPolicy(jitter=0, max_attempts=2), [10, None]),
        (RetryPolicy(jitter=0, factor=1), [10, 10, 10, 10, None]),
        (RetryPolicy(jitter=0, max_delay_s=25), [10, 20, 25, 25, None]),
        (RetryPolicy(jitter=0, initial_delay_s=50, max_delay_s=25), [25, 25]),
        (RetryPolicy(jitter=0, initial_delay_s=0.1, factor=1.5), [0.1, 0.15, 0.225, 0.3375]),
        (RetryPolicy(jitter=0, delays=(3, 1, 60)), [3, 1, 60, 60, None]),
        (RetryPolicy(jitter=0, delays=(7,), initial_delay_s=1, factor=3, max_delay_s=2), [7] * 4),
        (RetryPolicy(jitter=0, delays=(1, 2, 3), max_attempts=2), [1, None]),
    ],
)
def test_delays_of_a_policy(policy: RetryPolicy, expected: Sequence[float | None]) -> None:
    assert [delay_s(policy, n) for n in range(1, len(expected) + 1)] == expected


def test_fiftieth_attempt_with_the_greatest_factor_waits_no_longer_than_the_cap() -> None:
    policy = RetryPolicy(max_attempts=50, factor=10, max_delay_s=604_800, jitter=0)
    assert delay_s(policy, 49) == 604_800
    assert delay_s(policy, 50) is None


@pytest.mark.parametrize("factor", [1e300, 10.0, 1.0001])
def test_delay_beyond_every_number_is_the_cap(factor: float) -> None:
    policy = RetryPolicy(max_attempts=10**6, factor=factor, max_delay_s=60, jitter=0)
    assert delay_s(policy, 10**6 - 1) == 60


def test_attempt_beyond_the_end_of_the_calendar_is_due_at_its_end() -> None:
    policy = RetryPolicy(initial_delay_s=1e300, max_delay_s=1e300)
    assert next_attempt_at(policy, ONE, 1, NOW, NOW, SILENT) == END


@given(POLICIES, IDS, st.integers(1, 49))
def test_delay_is_the_rules_and_jitter_stays_within_its_band(
    policy: RetryPolicy, timer_id: TimerId, failures: int
) -> None:
    at = next_attempt_at(policy, timer_id, failures, NOW, None, SILENT)
    if failures >= policy.max_attempts:
        assert at is None
        return
    assert at is not None
    plain = plain_delay_s(policy, failures)
    late_s = (at - NOW).total_seconds()
    slack = 1e-6 + plain * 1e-12
    assert plain * (1 - policy.jitter) - slack <= late_s <= plain * (1 + policy.jitter) + slack
    assert at >= NOW


@given(POLICIES, IDS, st.integers(1, 60), FAR, FAR | st.none(), ADVICES)
@example(RetryPolicy(), ONE, 1, END, END, Advice(not_before=END))
def test_next_attempt_is_deterministic_within_its_bounds_and_never_before_the_end_of_the_last(
    policy: RetryPolicy,
    timer_id: TimerId,
    failures: int,
    ended_at: datetime,
    first_due_at: datetime | None,
    advice: Advice,
) -> None:
    asked = [
        next_attempt_at(policy, timer_id, failures, ended_at, first_due_at, advice)
        for _ in range(2)
    ]
    assert asked[0] == asked[1]
    at = asked[0]
    if at is None:
        return
    assert not advice.is_refused
    assert failures < policy.max_attempts
    longest = policy.max_delay_s
    if policy.delays is not None:
        longest = max(*policy.delays, 3_600)
    assert timedelta() <= at - ended_at <= timedelta(seconds=longest * (1 + policy.jitter) + 1e-6)
    if policy.give_up_after_s is not None and first_due_at is not None:
        assert at <= first_due_at or (at - first_due_at).total_seconds() <= policy.give_up_after_s


@given(POLICIES, IDS)
def test_growing_delays_without_jitter_never_shrink(policy: RetryPolicy, timer_id: TimerId) -> None:
    growing = RetryPolicy(
        max_attempts=50,
        initial_delay_s=policy.initial_delay_s,
        factor=policy.factor,
        max_delay_s=policy.max_delay_s,
        jitter=0,
    )
    instants = [next_attempt_at(growing, timer_id, n, NOW, NOW, SILENT) for n in range(1, 50)]
    assert instants == sorted(filter(None, instants))


# Jitter.


def test_jitter_of_an_id_and_a_failure_is_the_same_in_every_version() -> None:
    # Replicas of two releases may settle the same attempt: these figures are for good.
    policy = RetryPolicy(max_attempts=50, delays=(1_000,), jitter=1)
    drawn = [
        next_attempt_at(policy, timer_id, failures, NOW, NOW, SILENT)
        for timer_id, failures in ((ONE, 1), (ONE, 2), (OTHER, 1), (ONE, 49))
    ]
    seconds = [(at - NOW).total_seconds() for at in drawn if at]
    assert seconds == [1_785.668074, 530.390343, 231.393112, 1_543.821312]


def test_jitter_is_spread_evenly_over_its_band() -> None:
    policy = RetryPolicy(max_attempts=2, delays=(1_000,), jitter=0.5)
    tenths = [0] * 10
    for n in range(5_000):
        at = next_attempt_at(policy, TimerId(UUID(int=n)), 1, NOW, NOW, SILENT)
        assert at is not None
        tenths[int((at - NOW).total_seconds() - 500) // 100] += 1
    assert all(400 < count < 600 for count in tenths)  # five standard deviations are 106


# What the receiver advises.


@pytest.mark.parametrize(
    ("policy", "advised_s", "expected_s"),
    [
        (RetryPolicy(jitter=0), 5, 10),
        (RetryPolicy(jitter=0), -5, 10),
        (RetryPolicy(jitter=0), 60, 60),
        (RetryPolicy(jitter=0), 3_600, 3_600),
        (RetryPolicy(jitter=0), 3_601, 3_600),
        (RetryPolicy(jitter=0, max_delay_s=30), 60, 30),
        (RetryPolicy(jitter=0, initial_delay_s=50, max_delay_s=30), 60, 30),
        (RetryPolicy(jitter=0, delays=(1,)), 60, 60),
        (RetryPolicy(jitter=0, delays=(1,)), 9_999, 3_600),
        (RetryPolicy(jitter=0, delays=(1,), max_delay_s=2), 60, 60),
        (RetryPolicy(jitter=0, delays=(1, 7_200, 5)), 9_999, 7_200),
        (RetryPolicy(jitter=0, delays=(8_000, 5)), 1, 8_000),
    ],
)
def test_retry_after_is_a_floor_up_to_the_greatest_delay(
    policy: RetryPolicy, advised_s: float, expected_s: float
) -> None:
    assert delay_s(policy, 1, in_s(advised_s)) == expected_s


@given(IDS, st.floats(0, 3_600))
def test_jitter_never_comes_before_retry_after(timer_id: TimerId, advised_s: float) -> None:
    advice = in_s(advised_s)
    at = next_attempt_at(RetryPolicy(jitter=1), timer_id, 1, NOW, NOW, advice)
    assert at is not None
    assert advice.not_before is not None
    assert at >= advice.not_before


def test_refusal_ends_it_at_once() -> None:
    assert delay_s(RetryPolicy(), 1, Advice(is_refused=True)) is None
    assert delay_s(RetryPolicy(), 1, Advice(is_refused=True, not_before=NOW)) is None


def advised(*headers: tuple[bytes, bytes], status: int = 503) -> Advice:
    return advice_of(status, headers, NOW)


@pytest.mark.parametrize(
    ("status", "headers", "is_refused"),
    [
        (410, [], True),
        (410, [(b"X-Timer-Retry", b"yes")], True),
        (404, [], False),
        (500, [(b"X-Timer-Retry", b"no")], True),
        (302, [(b"x-timer-retry", b"NO")], True),
        (503, [(b"X-TIMER-RETRY", b" \tNo ")], True),
        (503, [(b"X-Timer-Retry", b"yes"), (b"X-Timer-Retry", b"no")], True),
        (503, [(b"X-Timer-Retry", b"no"), (b"X-Timer-Retry", b"yes")], True),
        (503, [(b"X-Timer-Retry", b"no, no")], True),
        (503, [(b"X-Timer-Retry", b"yes,no")], True),
        (503, [(b"X-Timer-Retry", b"none")], False),
        (503, [(b"X-Timer-Retry", b"n o")], False),
        (503, [(b"X-Timer-Retry", b"")], False),
        (503, [(b"X-Timer-Retry", b"\xff\x00no")], False),
        (503, [(b"X-Timer-PausedItems", b"no")], False),
        (503, [(b"X_Timer_Retry", b"no")], False),
        (503, [(b"", b"no"), (b"\xff", b"no")], False),
    ],
)
def test_answer_that_wants_no_further_attempt(
    status: int,
    headers: Sequence[tuple[bytes, bytes]],
    is_refused: bool,  # noqa: FBT001 - a column
) -> None:
    assert advised(*headers, status=status) == Advice(is_refused=is_refused)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0),
        (b"120", 120),
        (b" 120\t", 120),
        (b"00120", 120),
        (b"1.5", 1.5),
        (b"2.", 2),
        (b"86400", 86_400),
        (b"Sun, 01 Mar 2026 12:00:30 GMT", 30),
        (b"Sunday, 01-Mar-26 12:00:30 GMT", 30),
        (b"Sun Mar  1 12:00:30 2026", 30),
        (b"Sun, 01 Mar 2026 11:00:00 GMT", -3_600),
    ],
)
@pytest.mark.parametrize("name", [b"Retry-After", b"retry-after", b"RETRY-AFTER"])
def test_retry_after_is_read_as_seconds_or_as_a_date(
    name: bytes, value: bytes, seconds: float
) -> None:
    assert advised((name, value)) == in_s(seconds)


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b" ", b"-1", b"+1", b"1e3", b"0x10", b"1_000", b"1,5", b".5", b".", b"1.5.5"),
        *(b"1 2", b"1\x002", b"1.-5", b"1. 5", b"120s", b"PT2M", b"soon", b"nan", b"inf"),
        *(b"120, 60", b"\xb2", b"1\xb2", "\u0661\u0662".encode(), b"\xff\xfe", b"\x00"),
        *(b"2026-03-01T12:00:30Z", b"Sun, 30 Feb 2026 12:00:30 GMT", b"Sun", b", ,"),
        *(b"Sun, 01 Mar 2026 12:00:30 +0100", b"9" * 30 + b" GMT", b"-" * 60_000),
    ],
)
def test_retry_after_that_says_nothing_is_passed_over(value: bytes) -> None:
    assert advised((b"Retry-After", value)) == SILENT
    assert advised((b"Retry-After", value), (b"Retry-After", b"7")) == in_s(7)
    assert advised((b"Retry-After", b"7"), (b"Retry-After", value)) == in_s(7)


@pytest.mark.parametrize(
    "value", [b"9" * 12, b"9" * 400, b"9" * 60_000, b"0." + b"9" * 60_000, b"1" + b"0" * 309 + b"."]
)
def test_retry_after_of_absurd_length_costs_nothing_and_counts_up_to_the_cap(value: bytes) -> None:
    advice = advised((b"Retry-After", value))
    assert advice.not_before in {END, NOW + timedelta(seconds=1)}
    assert delay_s(RetryPolicy(jitter=0), 4, advice) in {80, 3_600}


def test_date_at_the_end_of_the_calendar_counts_up_to_the_cap() -> None:
    advice = advised((b"Retry-After", b"Fri, 31 Dec 9999 23:59:59 GMT"))
    assert delay_s(RetryPolicy(jitter=0), 1, advice) == 3_600


def test_of_several_instants_the_latest_counts() -> None:
    later = format_datetime(NOW + timedelta(seconds=90), usegmt=True).encode()
    pairs = [(b"Retry-After", value) for value in (b"30", later, b"60")]
    assert advised(*pairs) == advised(*reversed(pairs)) == in_s(90)


@given(
    st.integers(100, 999),
    st.lists(
        st.tuples(
            st.sampled_from([b"Retry-After", b"x-timer-retry"]) | st.binary(max_size=5),
            st.binary(max_size=40) | st.from_regex(rb"[0-9.]{1,400}", fullmatch=True),
        )
    ),
    FAR,
)
def test_any_answer_is_advice(
    status: int, headers: list[tuple[bytes, bytes]], now: datetime
) -> None:
    advice = advice_of(status, headers, now)
    assert advice.is_refused or status != 410
    assert advice.not_before is None or advice.not_before.tzinfo is UTC


# Giving up.


@pytest.mark.parametrize(
    ("give_up_after_s", "ended_s", "expected_s"),
    [
        (None, 10**8, 10),
        (60, 0, 10),
        (60, 50, 10),
        (60, 50.000001, None),
        (60, 61, None),
        (5, 0, None),
        (1e300, 10**8, 10),
    ],
)
def test_no_attempt_begins_later_than_the_policy_gives_up(
    give_up_after_s: float | None, ended_s: float, expected_s: float | None
) -> None:
    policy = RetryPolicy(jitter=0, give_up_after_s=give_up_after_s)
    ended_at = NOW + timedelta(seconds=ended_s)
    at = next_attempt_at(policy, ONE, 1, ended_at, NOW, SILENT)
    assert at == (None if expected_s is None else ended_at + timedelta(seconds=expected_s))


def test_policy_gives_up_where_the_receiver_puts_it_off_for_too_long() -> None:
    policy = RetryPolicy(jitter=0, give_up_after_s=60)
    assert delay_s(policy, 1, in_s(60)) == 60
    assert delay_s(policy, 1, in_s(60.000001)) is None


def test_last_begin_is_known_only_where_both_are() -> None:
    policy = RetryPolicy(give_up_after_s=60)
    assert last_begin_at(policy, NOW) == NOW + timedelta(seconds=60)
    assert last_begin_at(policy, None) is None
    assert last_begin_at(RetryPolicy(), NOW) is None
    assert next_attempt_at(policy, ONE, 1, NOW, None, SILENT) is not None
