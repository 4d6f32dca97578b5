from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from timer_trio.domain.destination import (
    DURATION_LIMITS_S,
    NO_DURATIONS,
    NO_ENDS,
    RECENT,
    SPAN,
    DestinationFacts,
    Ends,
    class_of,
    place_of,
    quantile_s,
    recent_since,
    span_of,
    together,
)
from timer_trio.domain.outcome import (
    Broken,
    CallbackOutcome,
    Delivered,
    Interrupted,
    Rejected,
    TimedOut,
    Unreachable,
)
from timer_trio.domain.timer import Destination

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def counted(*durations_s: float) -> list[int]:
    classes = [*NO_DURATIONS]
    for duration_s in durations_s:
        classes[class_of(duration_s)] += 1
    return classes


@pytest.mark.parametrize(
    ("outcome", "way"),
    [
        (Delivered(200), "delivered"),
        (Rejected(500), "rejected"),
        (Unreachable("refused"), "unreachable"),
        (TimedOut(), "timed_out"),
        (Interrupted(), "other"),
        (Broken("TypeError"), "other"),
    ],
)
def test_each_outcome_is_counted_as_what_it_is_called(outcome: CallbackOutcome, way: str) -> None:
    assert Ends._fields[place_of(outcome)] == way
    assert len(NO_ENDS) == 5


def test_limits_reach_from_half_a_millisecond_to_the_longest_timeout() -> None:
    assert len(DURATION_LIMITS_S) == len(NO_DURATIONS) == 24
    assert DURATION_LIMITS_S[0] == pytest.approx(0.0005)
    assert DURATION_LIMITS_S[-1] == pytest.approx(300)
    assert list(DURATION_LIMITS_S) == sorted(DURATION_LIMITS_S)


def test_durations_are_counted_up_to_their_limit() -> None:
    assert class_of(0) == 0
    for place, limit_s in enumerate(DURATION_LIMITS_S[:-1]):
        assert class_of(limit_s) == place
        assert class_of(limit_s * 1.001) == place + 1
    assert class_of(300) == class_of(10_000) == 23


def test_spans_begin_every_five_minutes() -> None:
    for seconds in (0, 1, 5 * 60 - 0.000_001):
        assert span_of(NOON + timedelta(seconds=seconds)) == NOON
    assert span_of(NOON + SPAN) == NOON + SPAN


def test_the_last_hour_begins_with_a_whole_span() -> None:
    assert recent_since(NOON) == NOON - RECENT
    assert recent_since(NOON + timedelta(minutes=4)) == NOON - RECENT


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile_s(NO_DURATIONS, 0.5) is None


def test_quantile_is_spread_over_its_class() -> None:
    low_s, high_s = DURATION_LIMITS_S[9:11]
    durations = counted(*[high_s] * 4)
    assert quantile_s(durations, 0.5) == pytest.approx((low_s + high_s) / 2)
    assert quantile_s(durations, 0.75) == pytest.approx(low_s + (high_s - low_s) * 0.75)
    assert quantile_s(durations, 1) == pytest.approx(high_s)


def test_first_class_begins_at_nothing() -> None:
    assert quantile_s(counted(0.0001, 0.0001), 0.5) == pytest.approx(DURATION_LIMITS_S[0] / 2)


def test_quantile_is_in_the_class_of_the_one_that_it_names() -> None:
    durations = counted(*[0.002] * 95, *[20.0] * 5)
    for share, is_slow in ((0.5, False), (0.95, False), (0.96, True), (1, True)):
        found = quantile_s(durations, share)
        assert found is not None
        assert class_of(found) == class_of(20.0 if is_slow else 0.002)


def test_what_several_cells_know_of_a_destination_is_added() -> None:
    destination = Destination("https://a.example:443")
    one = DestinationFacts(
        destination=destination,
        waiting=2,
        in_flight=3,
        breaker_open_until=NOON,
        ends=Ends(delivered=5, other=1),
        durations=counted(0.01, 0.01),
        paused_at=NOON + SPAN,
    )
    other = DestinationFacts(
        destination=destination,
        waiting=1,
        breaker_open_until=NOON + SPAN,
        ends=Ends(delivered=2, rejected=1),
        durations=counted(0.01),
        paused_at=NOON,
    )
    quiet = DestinationFacts(destination=destination)
    assert together([quiet]) == quiet
    assert together([one, other, quiet]) == DestinationFacts(
        destination=destination,
        waiting=3,
        in_flight=3,
        breaker_open_until=NOON + SPAN,
        ends=Ends(delivered=7, rejected=1, other=1),
        durations=tuple(counted(0.01, 0.01, 0.01)),
        paused_at=NOON,
    )
