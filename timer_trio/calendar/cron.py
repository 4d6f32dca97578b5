"""Cron expressions, read and searched by cronsim over naive readings of the clock.

Given a zone it would apply one of its own to five fields and none to six, and it takes every change
of the clock for a whole number of minutes of a whole hour.
"""

from __future__ import annotations

import re
from calendar import monthrange
from copy import copy
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Final

from cronsim import CronSim, CronSimError

from timer_trio.calendar.rule_error import RuleError

LONGEST: Final = 255
"""Characters. Every minute of an hour as a list has 169."""
_CHARACTERS: Final = re.compile(r"[0-9A-Za-z*,/#\- ]*")
_LONGEST_SHOWN: Final = 20
_STEPPED_LAST: Final = re.compile(r"(?:^|,)LW?/", re.IGNORECASE)
_EVERY_HOURS: Final = re.compile(r"\*(/[0-9]+)?")
_ANY_DAY: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a reading of no clock
_RANGES: Final = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L (the last one) or LW (the last weekday)",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 (0 and 7 are Sunday) or SUN-SAT, 5#2 (the second Friday), 5L (the last)",
}
_FIELDS: Final = tuple(_RANGES)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression that has been read."""

    _parsed: CronSim
    follows_clock: bool
    """Whether it matches by the clock as it runs: its hour field is `*` or `*/n`."""

    def after(self, wall: datetime) -> datetime | None:
        """Return the first reading after `wall` that matches; None: none within 50 years."""
        search = copy(self._parsed)
        search.dt = wall.replace(microsecond=0)
        try:
            return next(search, None)
        except OverflowError:  # past the year 9999
            return None


@lru_cache(maxsize=4_096)  # reading one costs 20 µs
def read_cron(text: str) -> Cron:
    """Read a cron expression.

    Raises:
        RuleError: it is none, or never matches, such as the 30th of February.
    """
    if len(text) > LONGEST:
        raise RuleError("cron", f"must have at most {LONGEST} characters")
    if text.startswith("@"):
        raise RuleError("cron", "must be written in fields: 0 0 * * * instead of @daily")
    fields = text.split(" ") if _CHARACTERS.fullmatch(text) else []
    fields = [field for field in fields if field]
    if len(fields) not in {5, 6}:
        raise RuleError("cron", _SHAPE)
    parsed = _parsed(fields)
    if not _falls_on_some_day(parsed):
        raise RuleError("cron", "never matches: there is no day that both day fields match")
    return Cron(parsed, _EVERY_HOURS.fullmatch(fields[-4]) is not None)


_YEARS: Final = {
    month: {monthrange(year, month): year for year in range(2000, 2028)} for month in range(1, 13)
}
"""Years in which a month begins on each weekday, with each length that it may have."""
_SHAPE: Final = (
    "must have five fields apart by spaces (minute, hour, day of month, month, day of week), or six"
    " with the second in front; a field holds numbers, names such as MON or JAN, and * , - / # L"
)


def _falls_on_some_day(parsed: CronSim) -> bool:
    """Try each month as it may be, which spares a search of 50 years of days."""
    return any(
        parsed.match_day(date(year, month, day))
        for month in parsed.months
        for (_, days), year in _YEARS[month].items()
        for day in range(1, days + 1)
    )


def _parsed(fields: list[str]) -> CronSim:
    if _STEPPED_LAST.search(fields[-3]):  # cronsim drops the step
        raise RuleError("cron", _unread("day-of-month", fields))
    try:
        return CronSim(" ".join(fields), _ANY_DAY)
    except (CronSimError, ValueError, AssertionError) as error:
        raise RuleError("cron", _fault(fields, str(error))) from None


def _fault(fields: list[str], message: str) -> str:
    """Say what is wrong: cronsim names a field, and of a day that no month has, the day."""
    name = message.removeprefix("Bad ")
    if name == "day-of-month" and _is_read([*fields[:-2], "*", fields[-1]]):
        return "never matches: none of its months has such a day"
    return _unread(name, fields) if name in _RANGES else _SHAPE


def _unread(name: str, fields: list[str]) -> str:
    field = fields[_FIELDS.index(name) - len(_FIELDS)]
    field = field if len(field) <= _LONGEST_SHOWN else f"{field[:_LONGEST_SHOWN]}..."
    return f"has a {name.replace('-', ' ')} field that cannot be read, {field}: {_RANGES[name]}"


def _is_read(fields: list[str]) -> bool:
    try:
        CronSim(" ".join(fields), _ANY_DAY)
    except (CronSimError, ValueError, AssertionError):
        return False
    return True
