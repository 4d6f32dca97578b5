"""On which days of a year an RRULE falls, whatever its INTERVAL and BYSETPOS.

Days are ordinals of the proleptic Gregorian calendar. Each part of the rule is a set of days, and
what is in all of them counts: where RFC 5545 says that a part expands and where it says that one
limits, it comes to the same.
"""

from __future__ import annotations

from calendar import isleap
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from timer_trio.calendar.recurrence import Frequency, Recurrence

_MONTHS: Final = range(1, 13)
_WEEK: Final = 7
_MONTHS_BEGIN: Final = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365)
_LEAP_MONTHS: Final = (0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335, 366)


@lru_cache(maxsize=512)  # of 15 KB at most; a year costs 100 µs
def days_of_year(rule: Recurrence, year: int) -> tuple[int, ...]:
    """Return the days of a year on which a rule that is complete falls, ascending."""
    days = set(_year(year))
    if rule.months:
        days &= _union(_month(year, month) for month in rule.months)
    if rule.week_numbers:
        days &= _numbered_weeks(rule, year)
    if rule.year_days:
        days &= {_counted(_year(year), nth) for nth in rule.year_days}
    if rule.month_days:
        days &= _month_days(rule, year)
    if rule.weekdays:
        days &= _weekdays(rule, year)
    return tuple(sorted(days))


def _union(ranges: Iterable[range]) -> set[int]:
    return {day for days in ranges for day in days}


def first_of_month(year: int, month: int = 1) -> int:
    """Return the first day of a month of any year, even after 9999; month 13 is the next one."""
    earlier = year - 1
    months = _LEAP_MONTHS if isleap(year) else _MONTHS_BEGIN
    return earlier * 365 + earlier // 4 - earlier // 100 + earlier // 400 + months[month - 1] + 1


def _year(year: int) -> range:
    return range(first_of_month(year), first_of_month(year + 1))


def _month(year: int, month: int) -> range:
    return range(first_of_month(year, month), first_of_month(year, month + 1))


def _counted(days: range, nth: int) -> int:
    """Return the nth day from the start, or counted from the end; 0, which no day is: none."""
    index = nth - 1 if nth > 0 else len(days) + nth
    return days[index] if 0 <= index < len(days) else 0


def _month_days(rule: Recurrence, year: int) -> set[int]:
    months = [_month(year, month) for month in rule.months or _MONTHS]
    return {_counted(month, nth) for month in months for nth in rule.month_days}


def _weekdays(rule: Recurrence, year: int) -> set[int]:
    days: set[int] = set()
    for weekday, nth in rule.weekdays:
        for span in _spans(rule, year) if nth else [_year(year)]:
            each = span[(weekday - _weekday(span.start)) % _WEEK :: _WEEK]
            days.update([_counted(each, nth)] if nth else each)
    return days


def _spans(rule: Recurrence, year: int) -> list[range]:
    """Return the spans within which weekdays are numbered: months, or the year."""
    if rule.frequency is Frequency.MONTHLY or rule.months:
        return [_month(year, month) for month in rule.months or _MONTHS]
    return [_year(year)]


def _weekday(day: int) -> int:
    return (day - 1) % _WEEK


def _numbered_weeks(rule: Recurrence, year: int) -> set[int]:
    """Return the days of the numbered weeks; those at the edges may be another year's."""
    days: set[int] = set()
    for of_year in (year - 1, year, year + 1):
        weeks = _weeks(of_year, rule.week_start)
        for nth in rule.week_numbers:
            first = _counted(weeks, nth)
            days.update(range(first, first + _WEEK) if first else ())
    return days


def _weeks(year: int, week_start: int) -> range:
    """Return the first days of a year's weeks, of which each has at least four days in the year."""
    first, following = (_first_week(of_year, week_start) for of_year in (year, year + 1))
    return range(first, following, _WEEK)


def _first_week(year: int, week_start: int) -> int:
    """Return the first day of the week that holds the 4th of January."""
    fourth = first_of_month(year) + 3
    return fourth - (_weekday(fourth) - week_start) % _WEEK
