"""What an RRULE says (RFC 5545, section 3.3.10)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum


class Frequency(IntEnum):
    """The periods into which time is cut, finest first."""

    DAILY = 0
    WEEKLY = 1
    MONTHLY = 2
    YEARLY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """An RRULE that has been read. An empty set is a part that it does not have."""

    frequency: Frequency
    interval: int
    week_start: int
    """Monday is 0, as in all that follows."""
    months: frozenset[int]
    week_numbers: frozenset[int]
    year_days: frozenset[int]
    month_days: frozenset[int]
    weekdays: frozenset[tuple[int, int]]
    """Weekday and which one of its month or year, -1 being the last; 0: each."""
    hours: frozenset[int]
    minutes: frozenset[int]
    seconds: frozenset[int]
    positions: frozenset[int]
    count: int | None
    until: datetime | None
    """The last reading of the clock that may match, or if it is aware, the last instant."""


def completed(rule: Recurrence, start: datetime) -> Recurrence:
    """Take from DTSTART what the rule leaves open: the time of day, and the day."""
    return replace(
        _with_days(rule, start),
        hours=rule.hours or frozenset({start.hour}),
        minutes=rule.minutes or frozenset({start.minute}),
        seconds=rule.seconds or frozenset({start.second}),
    )


def _with_days(rule: Recurrence, start: datetime) -> Recurrence:
    if rule.frequency is Frequency.DAILY or rule.weekdays or rule.month_days or rule.year_days:
        return rule
    if rule.frequency is Frequency.WEEKLY or rule.week_numbers:
        return replace(rule, weekdays=frozenset({(start.weekday(), 0)}))
    is_of_any_month = rule.frequency is Frequency.MONTHLY or rule.months
    months = rule.months if is_of_any_month else frozenset({start.month})
    return replace(rule, months=months, month_days=frozenset({start.day}))
