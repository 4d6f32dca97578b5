from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import assume, given
from hypothesis import strategies as st

from timer_trio.domain.elapsed import next_elapsed
from timer_trio.domain.schedule_rule import Bounds, EveryRule

ANCHOR: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
END: Final = datetime.max.replace(tzinfo=UTC)
JUST: Final = timedelta(microseconds=1)
INSTANTS: Final = st.datetimes(timezones=st.just(UTC))
INTERVALS_US: Final = st.integers(1_000_000, 1_577_880_000_000_000)


def bounds(anchor: datetime = ANCHOR, *, given_start: bool = True) -> Bounds:
    return Bounds(anchor=anchor, starts_at_anchor=given_start)


def test_a_given_start_is_the_first_instant() -> None:
    assert next_elapsed(EveryRule(seconds=90), bounds(), ANCHOR - JUST) == ANCHOR
    assert next_elapsed(EveryRule(seconds=90), bounds(), datetime.min.replace(tzinfo=UTC)) == ANCHOR


def test_without_a_start_the_first_instant_is_one_interval_on() -> None:
    created = bounds(given_start=False)
    first = ANCHOR + timedelta(seconds=90)
    assert next_elapsed(EveryRule(seconds=90), created, ANCHOR - JUST) == first
    assert next_elapsed(EveryRule(seconds=90), created, ANCHOR) == first
    assert next_elapsed(EveryRule(seconds=90), created, first) == first + timedelta(seconds=90)


def test_an_interval_does_not_drift_over_the_years() -> None:
    third = EveryRule(seconds=1.1)
    after = ANCHOR + timedelta(microseconds=1_100_000 * 500_000_000)
    assert next_elapsed(third, bounds(), after) == after + timedelta(seconds=1.1)


def test_nothing_is_after_the_last_year() -> None:
    assert next_elapsed(EveryRule(seconds=1.5e9), bounds(END - timedelta(days=1)), END) is None
    assert next_elapsed(EveryRule(seconds=1.5e9), bounds(END, given_start=False), END) is None


@given(INTERVALS_US, INSTANTS, INSTANTS, st.booleans())
def test_instants_are_whole_intervals_from_the_anchor(
    interval_us: int,
    anchor: datetime,
    after: datetime,
    given_start: bool,  # noqa: FBT001 - drawn
) -> None:
    rule = EveryRule(seconds=interval_us / 1_000_000)
    found = next_elapsed(rule, bounds(anchor, given_start=given_start), after)
    assume(found is not None)
    assert found is not None
    count, rest = divmod((found - anchor) // JUST, interval_us)
    assert rest == 0
    assert found > after
    least = 0 if given_start else 1
    assert count == least or (
        count > least and found - timedelta(microseconds=interval_us) <= after
    )
