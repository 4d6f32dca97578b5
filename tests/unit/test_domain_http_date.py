from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.domain.http_date import http_date

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS: Final = st.datetimes(
    datetime(1000, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
    timezones=st.just(UTC),
).map(lambda instant: instant.replace(microsecond=0))


@given(SECONDS)
def test_every_instant_is_read_back_from_what_servers_write(instant: datetime) -> None:
    assert http_date(format_datetime(instant, usegmt=True), NOW) == instant
    assert http_date(instant.ctime(), NOW) == instant


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "SUN, 06 NOV 1994 08:49:37 gmt",
        "Sun, 6 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 -0000",
        "06 Nov 1994 08:49:37 UTC",
        "Mon, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
    ],
)
def test_every_spelling_of_a_date_is_read_in_utc(text: str) -> None:
    assert http_date(text, NOW) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    ("this_year", "digits", "year"),
    [
        (2026, "26", 2026),
        (2026, "27", 2027),
        (2026, "76", 2076),
        (2026, "77", 1977),
        (2026, "94", 1994),
        (2099, "00", 2100),
        (2099, "49", 2149),
        (2099, "50", 2050),
    ],
)
def test_year_of_two_digits_is_at_most_fifty_years_ahead(
    this_year: int, digits: str, year: int
) -> None:
    read = http_date(f"Sunday, 06-Nov-{digits} 08:49:37 GMT", NOW.replace(year=this_year))
    assert read == datetime(year, 11, 6, 8, 49, 37, tzinfo=UTC)


def test_leap_second_counts_as_the_second_before_it() -> None:
    read = http_date("Sat, 31 Dec 2016 23:59:60 GMT", NOW)
    assert read == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 PST",
        "Sun, 06 Nov 1994 08:49:37 +0200",
        "Sun, 06 Nov 1994 08:49:37 GMT; x",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 30 Feb 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Xyz 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 12026 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49 GMT",
        "Sun, 0\u096c Nov 1994 08:49:37 GMT",
        "\u017fun, 06 Nov 1994 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
        "Nov",
        "Sun Nov",
        ", , , , ,",
        "1 Jan",
        "9" * 60_000,
        " " * 60_000,
        "Sun, " + " " * 60_000,
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert http_date(text, NOW) is None


@given(st.text("SunNovJa ,:-+0123456789GMT.", max_size=40), st.integers(1, 9999))
def test_any_text_is_a_date_or_none(text: str, this_year: int) -> None:
    read = http_date(text, NOW.replace(year=this_year))
    assert read is None or read.tzinfo is UTC


@pytest.mark.parametrize("this_year", [1, 49, 9950, 9999])
@pytest.mark.parametrize("digits", ["00", "01", "49", "50", "99"])
def test_year_of_two_digits_beyond_the_calendar_is_none(this_year: int, digits: str) -> None:
    read = http_date(f"Sunday, 06-Nov-{digits} 08:49:37 GMT", NOW.replace(year=this_year))
    assert read is None or read.year % 100 == int(digits)
