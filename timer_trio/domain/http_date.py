"""Dates as HTTP spells them (RFC 9110, section 5.6.7), read without the platform's locale.

The standard library's reader of mail dates is not used: it takes what only resembles a date, leaves
some without a zone, and fails on others with an IndexError or an OverflowError.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_MONTHS: Final = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_TIME: Final = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>[0-5]\d|60)"
_SPELLINGS: Final = (
    # Sun, 06 Nov 1994 08:49:37 GMT, and the obsolete Sunday, 06-Nov-94 08:49:37 GMT
    re.compile(
        r"(?:[a-z]{3,9}, *)?(?P<day>\d\d?)[ -](?P<month>[a-z]{3})[ -](?P<year>\d{4}|\d\d) +"
        rf"{_TIME} +(?:GMT|UTC|[+-]0000)",
        re.ASCII | re.IGNORECASE,
    ),
    # Sun Nov  6 08:49:37 1994, of C's asctime
    re.compile(
        rf"[a-z]{{3}} +(?P<month>[a-z]{{3}}) +(?P<day>\d\d?) +{_TIME} +(?P<year>\d{{4}})",
        re.ASCII | re.IGNORECASE,
    ),
)


def http_date(text: str, now: datetime) -> datetime | None:
    """Read a date in any of HTTP's three formats, in UTC; None: it is none.

    A year of two digits is the one within 50 years of `now`, a leap second the second before it.
    """
    found = next(filter(None, (spelling.fullmatch(text) for spelling in _SPELLINGS)), None)
    if found is None:
        return None
    try:
        return datetime(
            _year(found["year"], now),
            _MONTHS.index(found["month"].lower()) + 1,
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            min(int(found["second"]), 59),
            tzinfo=UTC,
        )
    except ValueError:  # no such month, or no such day in it
        return None


def _year(digits: str, now: datetime) -> int:
    if len(digits) == 4:
        return int(digits)
    first = now.year - 49
    return first + (int(digits) - first) % 100
