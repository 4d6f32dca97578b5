"""The readings of the clock on which an RRULE falls, searched period by period.

A walk from the rule's start costs more the older a schedule is, and has no end for a rule that
never matches: so none of the libraries serves. Here a search begins in the period of the reading
that it is asked for, jumps over those that INTERVAL leaves out, and ends after 50 years.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final, Protocol, TypeVar

from timer_trio.calendar.recurrence import Frequency, Recurrence, completed
from timer_trio.calendar.recurrence_days import days_of_year, first_of_month

_Item_co = TypeVar("_Item_co", covariant=True)

LOOK_AHEAD_YEARS: Final = 50
"""As far as cronsim looks. A 29th of February on a given weekday comes within 40 years."""
_LOOK_AHEAD_DAYS: Final = LOOK_AHEAD_YEARS * 1_461 // 4
_LAST_DAY: Final = date.max.toordinal()


class _Indexed(Protocol[_Item_co]):
    """What can be counted and bisected without being made."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> _Item_co: ...


class RecurrenceWalls:
    """The readings of one rule, counted from DTSTART, a reading of whole seconds."""

    def __init__(self, rule: Recurrence, start: datetime) -> None:
        is_daily = rule.frequency is Frequency.DAILY  # its periods are days: they need no grouping
        self._start = start
        self._rule = completed(rule, start)
        self._day_step = rule.interval if is_daily else 1
        self._times = _at_positions(_Times(self._rule), rule.positions if is_daily else ())
        self._positions = frozenset() if is_daily else rule.positions
        self._periods = _periods_of(rule, 1 if is_daily else rule.interval, self._positions)
        self._first_period = self._periods.number(start.toordinal())

    def after(self, wall: datetime) -> datetime | None:
        """Return the first reading after `wall`; None: none within 50 years of it or of DTSTART."""
        wall = max(wall.replace(microsecond=0), self._start - timedelta(seconds=1))
        for readings in self._from(wall.toordinal()):
            index = bisect_right(readings, wall)
            if index < len(readings):
                return readings[index]
        return None

    def nth(self, count: int) -> datetime | None:
        """Return the reading of that number, the first being 1; None: none within 50 years."""
        for readings in self._from(self._start.toordinal()):
            count += bisect_left(readings, self._start)
            if count <= len(readings):
                return readings[count - 1]
            count -= len(readings)
        return None

    def _from(self, day: int) -> Iterator[_Indexed[datetime]]:
        """Yield what falls into each period that counts, from that of `day` on."""
        periods = self._periods
        day = periods.begin(periods.number(day))
        end = min(day + _LOOK_AHEAD_DAYS, _LAST_DAY)
        while (found := self._day_from(day, end)) is not None:
            number = periods.number(found)
            left_out = (self._first_period - number) % periods.interval
            day = periods.begin(number + (left_out or 1))
            if not left_out:
                yield self._readings(periods.begin(number), day)

    def _day_from(self, day: int, end: int) -> int | None:
        while day <= end:
            year = date.fromordinal(day).year
            days = self._days(year)
            index = bisect_left(days, day)
            if index < len(days):
                return days[index]
            day = first_of_month(year + 1)
        return None

    def _readings(self, begin: int, end: int) -> _Indexed[datetime]:
        first, last = (date.fromordinal(min(day, _LAST_DAY)).year for day in (begin, end - 1))
        days = self._days(first)
        if last > first:  # a week at the end of a year
            days += self._days(last)
        of_period = days[bisect_left(days, begin) : bisect_left(days, end)]
        return _at_positions(_Readings(of_period, self._times), self._positions)

    def _days(self, year: int) -> tuple[int, ...]:
        days = days_of_year(self._rule, year)
        if self._day_step == 1:
            return days
        first = self._start.toordinal()
        return tuple(day for day in days if (day - first) % self._day_step == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Periods:
    """Time cut into weeks, months or years, numbered, of which every `interval`th counts."""

    length: Frequency
    interval: int
    week_start: int

    def number(self, day: int) -> int:
        """Return the number of the period to which a day belongs."""
        if self.length is Frequency.WEEKLY:
            return (day - 1 - self.week_start) // 7
        on = date.fromordinal(day)
        return on.year * 12 + on.month - 1 if self.length is Frequency.MONTHLY else on.year

    def begin(self, number: int) -> int:
        """Return the first day of a period, which may be after the last one that there is."""
        if self.length is Frequency.WEEKLY:
            return number * 7 + 1 + self.week_start
        if self.length is Frequency.MONTHLY:
            return first_of_month(number // 12, number % 12 + 1)
        return first_of_month(number)


def _periods_of(rule: Recurrence, interval: int, positions: Collection[int]) -> _Periods:
    """Where no period is left out and none numbers its readings, they may as well be years."""
    is_cut = interval > 1 or positions
    length = rule.frequency if is_cut else Frequency.YEARLY
    return _Periods(length=length, interval=interval, week_start=rule.week_start)


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


class _Readings:
    """Each day with each time, ascending; made when looked at: there may be millions."""

    def __init__(self, days: Sequence[int], times: _Indexed[time]) -> None:
        self._days = days
        self._times = times

    def __len__(self) -> int:
        return len(self._days) * len(self._times)

    def __getitem__(self, index: int) -> datetime:
        day, at = divmod(index, len(self._times))
        return datetime.combine(date.fromordinal(self._days[day]), self._times[at])


def _at_positions(items: _Indexed[_Item_co], positions: Collection[int]) -> _Indexed[_Item_co]:
    """Return the items of these numbers, -1 being the last one; all, if there are no numbers."""
    if not positions:
        return items
    size = len(items)
    indexes = {nth - 1 if nth > 0 else size + nth for nth in positions}
    return [items[index] for index in sorted(indexes) if 0 <= index < size]
