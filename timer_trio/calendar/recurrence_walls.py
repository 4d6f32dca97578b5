"""The readings of the clock on which an RRULE falls, searched period by period.

A walk from the rule's start costs more the older a schedule is, and has no end for a rule that
never matches: so none of the libraries serves. Here a search begins in the period of the reading
that it is asked for, jumps over those that INTERVAL leaves out, and ends after 50 years.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final, overload

from timer_trio.calendar.recurrence import Frequency, Recurrence, completed
from timer_trio.calendar.recurrence_days import days_of_year, first_of_month

LOOK_AHEAD_YEARS: Final = 50
"""As far as cronsim looks. A 29th of February on a given weekday comes within 40 years."""
_LOOK_AHEAD_DAYS: Final = LOOK_AHEAD_YEARS * 1_461 // 4
_LAST_DAY: Final = date.max.toordinal()


class RecurrenceWalls:
    """The readings of one rule, counted from DTSTART, a reading of whole seconds."""

    def __init__(self, rule: Recurrence, start: datetime) -> None:
        self._rule = completed(rule, start)
        self._start = start
        self._times = _Times(self._rule)
        self._positions = sorted(self._rule.positions)
        self._period = self._longest_period()
        self._first_number = _number(self._period, start.toordinal(), rule.week_start)

    def after(self, wall: datetime) -> datetime | None:
        """Return the first reading after `wall`; None: none within 50 years of it or of DTSTART."""
        wall = max(wall.replace(microsecond=0), self._start - timedelta(seconds=1))
        for readings in self._periods(wall.toordinal()):
            index = bisect_right(readings, wall)
            if index < len(readings):
                return readings[index]
        return None

    def nth(self, count: int) -> datetime | None:
        """Return the reading of that number, the first being 1; None: none within 50 years."""
        for readings in self._periods(self._start.toordinal()):
            count += bisect_left(readings, self._start)
            if count <= len(readings):
                return readings[count - 1]
            count -= len(readings)
        return None

    def _longest_period(self) -> Frequency:
        """Where no period is left out and none numbers its readings, they may as well be years."""
        is_cut = self._rule.interval > 1 or self._positions
        return self._rule.frequency if is_cut else Frequency.YEARLY

    def _periods(self, day: int) -> Iterator[Sequence[datetime]]:
        """Yield what falls into each period that counts, from that of `day` on, unless nothing."""
        day = self._begin(_number(self._period, day, self._rule.week_start))
        end = min(day + _LOOK_AHEAD_DAYS, _LAST_DAY)
        while (found := self._day_from(day, end)) is not None:
            number = _number(self._period, found, self._rule.week_start)
            left_out = (self._first_number - number) % self._rule.interval
            day = self._begin(number + (left_out or 1))
            if not left_out:
                yield self._readings(self._begin(number), day)

    def _day_from(self, day: int, end: int) -> int | None:
        while day <= end:
            year = date.fromordinal(day).year
            days = days_of_year(self._rule, year)
            index = bisect_left(days, day)
            if index < len(days):
                return days[index]
            day = first_of_month(year + 1)
        return None

    def _begin(self, number: int) -> int:
        return _begin(self._period, number, self._rule.week_start)

    def _readings(self, begin: int, end: int) -> Sequence[datetime]:
        readings = _Readings(self._days_between(begin, end), self._times)
        return _at_positions(readings, self._positions) if self._positions else readings

    def _days_between(self, begin: int, end: int) -> Sequence[int]:
        first, last = (date.fromordinal(min(day, _LAST_DAY)).year for day in (begin, end - 1))
        days = days_of_year(self._rule, first)
        if last > first:  # a week at the end of a year
            days += days_of_year(self._rule, last)
        return days[bisect_left(days, begin) : bisect_left(days, end)]


def _number(period: Frequency, day: int, week_start: int) -> int:
    """Return the number of the period to which a day belongs; the next one has the next number."""
    match period:
        case Frequency.DAILY:
            return day
        case Frequency.WEEKLY:
            return (day - 1 - week_start) // 7
        case Frequency.MONTHLY:
            on = date.fromordinal(day)
            return on.year * 12 + on.month - 1
        case Frequency.YEARLY:
            return date.fromordinal(day).year


def _begin(period: Frequency, number: int, week_start: int) -> int:
    """Return the first day of a period."""
    match period:
        case Frequency.DAILY:
            return number
        case Frequency.WEEKLY:
            return number * 7 + 1 + week_start
        case Frequency.MONTHLY:
            year, month = divmod(number, 12)
            return first_of_month(year, month + 1)
        case Frequency.YEARLY:
            return first_of_month(number)


class _Times:
    """The times of day of a rule, ascending: each hour with each minute with each second."""

    def __init__(self, rule: Recurrence) -> None:
        self._hours = sorted(rule.hours)
        self._minutes = sorted(rule.minutes)
        self._seconds = sorted(rule.seconds)

    def __len__(self) -> int:
        return len(self._hours) * len(self._minutes) * len(self._seconds)

    def __getitem__(self, index: int) -> time:
        index, second = divmod(index, len(self._seconds))
        hour, minute = divmod(index, len(self._minutes))
        return time(self._hours[hour], self._minutes[minute], self._seconds[second])


@dataclass(frozen=True, slots=True)
class _Readings(Sequence[datetime]):
    """Each day with each time, ascending, made as they are looked at: there may be 30 million."""

    _days: Sequence[int]
    _times: _Times

    def __len__(self) -> int:
        return len(self._days) * len(self._times)

    @overload
    def __getitem__(self, index: int) -> datetime: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[datetime]: ...

    def __getitem__(self, index: int | slice) -> datetime | Sequence[datetime]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        day, at = divmod(index, len(self._times))
        return datetime.combine(date.fromordinal(self._days[day]), self._times[at])


def _at_positions(readings: _Readings, positions: Sequence[int]) -> list[datetime]:
    size = len(readings)
    indexes = {nth - 1 if nth > 0 else size + nth for nth in positions}
    return [readings[index] for index in sorted(indexes) if 0 <= index < size]
