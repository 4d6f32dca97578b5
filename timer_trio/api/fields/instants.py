"""Instants and durations as consumers write them: RFC 3339 and ISO 8601, read strictly."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Final

MAX_YEARS_AHEAD: Final = 10
EARLIEST_YEAR: Final = 1970
PAST_TOLERANCE: Final = timedelta(milliseconds=500)
"""What lies so far back counts as now: the request was on its way."""
_LONGEST_DELAY_S: Final = (MAX_YEARS_AHEAD + 1) * 366 * 86_400  # the exact limit is `due_at`'s

_MAX_LENGTH: Final = 100
"""Of an instant or a duration: no clock has so many digits."""
_RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt](\d\d):\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-](\d\d):(\d\d))", re.ASCII
)
_EXAMPLE: Final = "an RFC 3339 timestamp with an offset, such as 2030-01-31T09:30:00Z"


def parse_instant(value: object) -> datetime:
    """Read an RFC 3339 timestamp; digits beyond the microsecond are cut off.

    Raises:
        ValueError: it is none, has no offset, or names no instant of the years 1970 to 9999.
    """
    if not isinstance(value, str):
        raise ValueError(f"must be a string: {_EXAMPLE}")  # noqa: TRY004 - words for a consumer
    found = _RFC_3339.fullmatch(value) if len(value) <= _MAX_LENGTH else None
    if found is None:
        raise ValueError(f"must be {_EXAMPLE}")
    try:
        # Python reads more than RFC 3339 has, but for what is checked here.
        _check_clock(*found.groups(default="0"))
        instant = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"names no date and time that exist; it must be {_EXAMPLE}") from None
    if instant.year < EARLIEST_YEAR:
        raise ValueError(f"must lie in the years {EARLIEST_YEAR} to 9999")
    return instant


def _check_clock(hour: str, offset_hours: str, offset_minutes: str) -> None:
    # Python 3.14 takes 24:00 for the next day's midnight.
    if int(hour) > 23 or int(offset_hours) > 23 or int(offset_minutes) > 59:
        raise ValueError("no such time of the day, or no such offset")


_NUMBER: Final = r"([0-9]{1,12}(?:[.,][0-9]{1,12})?)"
DURATION_PATTERN: Final = (
    rf"^P(?!$)(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(?:T(?=[0-9])(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?$"
)
_ISO_8601: Final = re.compile(DURATION_PATTERN)
_UNITS_S: Final = (604_800, 86_400, 3_600, 60, 1)
_CALENDAR_UNIT: Final = re.compile(r"P[^T]*[YM]")


def parse_delay(value: object) -> timedelta:
    """Read a number of seconds, or an ISO 8601 duration of fixed length.

    Raises:
        ValueError: it is neither, is negative, or is too long.
    """
    match value:
        case str():
            return _duration(value)
        case bool():
            raise ValueError("must be a number of seconds or an ISO 8601 duration")
        case int():
            return _delay(value)
        case float():
            return _delay(Fraction(value))
        case _:
            raise ValueError("must be a number of seconds or an ISO 8601 duration")


@lru_cache(maxsize=1_024)  # consumers have few durations, and reading one takes 5 µs
def _duration(text: str) -> timedelta:
    return _delay(_duration_s(text))


def _delay(seconds: int | Fraction) -> timedelta:
    if seconds < 0:
        raise ValueError("must not be negative")
    if seconds > _LONGEST_DELAY_S:
        raise ValueError(f"must be at most {MAX_YEARS_AHEAD} years")
    return timedelta(microseconds=round(seconds * 1_000_000))


def _duration_s(text: str) -> int | Fraction:
    if _CALENDAR_UNIT.match(text, 0, _MAX_LENGTH):
        raise ValueError("years and months have no fixed length: use weeks, days or smaller units")
    found = _ISO_8601.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    groups = zip(found.groups(), _UNITS_S, strict=True) if found else ()
    given = [(number, unit_s) for number, unit_s in groups if number]
    if not given or not all(number.isdecimal() for number, _ in given[:-1]):
        raise ValueError("must be an ISO 8601 duration such as PT5M or P1DT1H30M")
    return sum(_exactly(number) * unit_s for number, unit_s in given)


def _exactly(number: str) -> int | Fraction:
    return int(number) if number.isdecimal() else Fraction(number.replace(",", "."))


def due_at(wanted: datetime | timedelta, now: datetime) -> datetime:
    """Return when a timer is due that was asked for at `now`.

    Raises:
        ValueError: it lies in the past, or too far ahead.
    """
    instant = now + wanted if isinstance(wanted, timedelta) else wanted
    if instant < now - PAST_TOLERANCE:
        raise ValueError("lies in the past")
    if instant > _years_later(now, MAX_YEARS_AHEAD):
        raise ValueError(f"must be at most {MAX_YEARS_AHEAD} years ahead")
    return max(instant, now)


@lru_cache(maxsize=16)  # all lines of an import are judged as of one instant
def _years_later(instant: datetime, years: int) -> datetime:
    try:
        return instant.replace(year=instant.year + years)
    except ValueError:  # the 29th of February
        return instant.replace(year=instant.year + years, day=28)
