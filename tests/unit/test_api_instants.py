from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.api.fields.instants import due_at, parse_delay, parse_instant

OFFSETS = st.integers(-1_439, 1_439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1), timezones=OFFSETS)  # noqa: DTZ001 - Hypothesis adds the zone


@given(INSTANTS)
def test_every_instant_is_read_back_from_its_isoformat(instant: datetime) -> None:
    read = parse_instant(instant.isoformat())
    assert read == instant
    assert read.tzinfo is UTC


@given(st.text())
def test_any_text_is_an_instant_or_refused_in_words(text: str) -> None:
    try:
        parse_instant(text)
    except ValueError as error:
        assert "RFC 3339" in str(error) or "1970" in str(error)  # noqa: PT017 - or it is none


@given(st.text("0123456789PTWDHMSY.,-+"))
def test_any_text_is_a_delay_or_refused(text: str) -> None:
    try:
        assert timedelta() <= parse_delay(text) <= timedelta(days=11 * 366)
    except ValueError as error:
        assert str(error).startswith(("must", "years and months"))  # noqa: PT017 - or it is none


@given(st.timedeltas(timedelta(), timedelta(days=3_650)))
def test_a_delay_in_seconds_or_as_a_duration_is_the_same(delay: timedelta) -> None:
    in_words = f"P{delay.days}DT{delay.seconds}.{delay.microseconds:06}S"
    assert parse_delay(in_words) == delay
    assert abs(parse_delay(delay.total_seconds()) - delay) <= timedelta(microseconds=1)


def test_digits_beyond_the_microsecond_are_cut_off() -> None:
    assert parse_instant("2030-01-01T00:00:00.9999999Z").microsecond == 999_999


def test_years_and_months_are_refused_with_the_reason() -> None:
    for text in ("P1Y", "P1M", "P1Y2M10DT2H30M", "P2M1W"):
        with pytest.raises(ValueError, match="no fixed length"):
            parse_delay(text)
    assert parse_delay("PT1M") == timedelta(minutes=1)


def test_ten_years_from_the_29th_of_february() -> None:
    now = datetime(2028, 2, 29, 12, tzinfo=UTC)
    limit = datetime(2038, 2, 28, 12, tzinfo=UTC)
    assert due_at(limit, now) == limit
    with pytest.raises(ValueError, match="10 years ahead"):
        due_at(limit + timedelta(microseconds=1), now)


def test_what_lies_just_in_the_past_counts_as_now() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert due_at(now - timedelta(milliseconds=500), now) == now
    with pytest.raises(ValueError, match="in the past"):
        due_at(now - timedelta(milliseconds=501), now)
