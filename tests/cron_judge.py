"""What cron expressions mean, stated a second time: by a walk over the minutes that a clock shows.

Nothing of it is shared with what it judges but the zone data: it reads the fields itself, looks at
no rule for a skipped or doubled hour but the two sentences of the contract, and asks Python's
`zoneinfo` only what a clock shows at an instant.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A time in which the clock was not changed: what it showed is `shown` ahead of UTC's."""

    start: datetime
    end: datetime
    shown: timedelta

    def local(self, instant: datetime) -> datetime:
        return instant.replace(tzinfo=None) + self.shown


def walk(zone: ZoneInfo, start: datetime, end: datetime, step: timedelta) -> list[Run]:
    """Look at the clock at each step, and where it was changed, at each minute."""
    runs: list[Run] = []
    begin, shown = start, ahead(zone, start)
    at = start
    while at < end:
        if ahead(zone, at + step) != shown:
            changed = next(m for m in minutes(at, at + step) if ahead(zone, m) != shown)
            runs.append(Run(start=begin, end=changed, shown=shown))
            begin, shown = changed, ahead(zone, changed)
        at += step
    return [*runs, Run(start=begin, end=end, shown=shown)]


def ahead(zone: ZoneInfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).replace(tzinfo=None) - instant.replace(tzinfo=None)


def minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        start += MINUTE
        yield start


class Judge:
    def __init__(self, text: str) -> None:
        fields = text.upper().split()
        self.seconds = numbers(fields[0], 0, 59) if len(fields) == 6 else [0]
        minute, hour, self.day, self.month, self.weekday = fields[-5:]
        self.of_day = [60 * h + m for h in numbers(hour, 0, 23) for m in numbers(minute, 0, 59)]
        self.follows_clock = re.fullmatch(r"\*(/\d+)?", hour) is not None
        self.matches_day = lru_cache(maxsize=None)(self._matches_day)

    def instants(self, runs: list[Run], start: datetime, end: datetime) -> list[datetime]:
        """Return all instants from start up to end, ascending; the runs begin no later."""
        found: dict[datetime, None] = {}
        latest = runs[0].local(runs[0].start)
        for run in runs:
            begin, until = run.local(run.start), run.local(run.end)
            if run.start < end and run.end > start:
                if not self.follows_clock:
                    if start <= run.start and next(self.readings(latest, begin), None):
                        found[run.start] = None
                    begin = max(begin, latest)
                begin = max(begin, run.local(start))
                for wall in self.readings(begin, min(until, run.local(end))):
                    found[(wall - run.shown).replace(tzinfo=UTC)] = None
            latest = max(latest, until)
        return list(found)

    def readings(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the readings that match, from begin up to end."""
        day = begin.date()
        while (midnight := datetime.combine(day, time())) < end:
            if self.matches_day(day):
                for minute in self.of_day:
                    wall = midnight + minute * MINUTE
                    if begin - MINUTE < wall < end:
                        for second in self.seconds:
                            at = wall + timedelta(seconds=second)
                            if begin <= at < end:
                                yield at
            day += timedelta(days=1)

    def _matches_day(self, day: date) -> bool:
        if day.month not in numbers(self.month, 1, 12, MONTHS):
            return False
        of_month = any(day_matches(term, day) for term in self.day.split(","))
        of_week = any(weekday_matches(term, day) for term in self.weekday.split(","))
        both = self.day.startswith("*") or self.weekday.startswith("*")
        return of_month and of_week if both else of_month or of_week


def day_matches(term: str, day: date) -> bool:
    last = monthrange(day.year, day.month)[1]
    if term == "L":
        return day.day == last
    if term == "LW":
        weekdays = [d for d in range(1, last + 1) if day.replace(day=d).weekday() < 5]
        return day.day == weekdays[-1]
    return day.day in numbers(term, 1, 31)


def weekday_matches(term: str, day: date) -> bool:
    last = monthrange(day.year, day.month)[1]
    if term.endswith("L"):
        return is_weekday(int(term[:-1]), day) and day.day > last - 7
    if "#" in term:
        name, nth = term.split("#")
        return is_weekday(number(name, DAYS), day) and (day.day - 1) // 7 == int(nth) - 1
    return any(is_weekday(each, day) for each in numbers(term, 0, 7, DAYS))


def is_weekday(number: int, day: date) -> bool:
    return day.isoweekday() % 7 == number % 7


def number(text: str, names: list[str]) -> int:
    first = 1 if names is MONTHS else 0
    return names.index(text) + first if text in names else int(text)


def numbers(field: str, least: int, greatest: int, names: list[str] | None = None) -> list[int]:
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        if span == "*":
            first, last = least, greatest
        elif "-" in span:
            first, last = (number(end, names or []) for end in span.split("-"))
        else:
            first = number(span, names or [])
            last = greatest if step else first
        found.update(range(first, last + 1, int(step or 1)))
    return sorted(found)
