"""From a rule to its instants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Final, Protocol, assert_never
from zoneinfo import ZoneInfo

from timer_trio.calendar.cron import read_cron
from timer_trio.calendar.recurrence import Recurrence
from timer_trio.calendar.recurrence_text import read_recurrence
from timer_trio.calendar.recurrence_walls import LOOK_AHEAD_YEARS, RecurrenceWalls
from timer_trio.calendar.rule_error import RuleError
from timer_trio.calendar.wall_clock import first_instant, reading, repeat_at
from timer_trio.calendar.zones import zone
from timer_trio.domain.elapsed import next_elapsed
from timer_trio.domain.schedule_rule import Bounds, CronRule, EveryRule, RecurrenceRule, Rule

_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 30, tzinfo=UTC)
"""No instant is outside of these, so that each has a reading in each zone."""
_FIRST_WALL: Final = datetime(1969, 12, 31)  # noqa: DTZ001 - a reading of any clock, as the next
_LAST_WALL: Final = datetime(9999, 12, 30)  # noqa: DTZ001
_LONGEST_S: Final = LOOK_AHEAD_YEARS * 365.25 * 86_400
_COUNTS_TOO_FAR: Final = (
    f"must reach its COUNT within {LOOK_AHEAD_YEARS} years of its start: leave COUNT out, or take"
    " max_occurrences"
)
_INSTANT: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)

_Next = Callable[[datetime], datetime | None]
"""From an instant to the first one after it."""


class _Walls(Protocol):
    """Readings of the clock on which a rule falls."""

    def after(self, wall: datetime) -> datetime | None: ...


def check_rule(rule: Rule, bounds: Bounds) -> None:
    """Return if a rule can be read and has an instant within its bounds.

    Raises:
        RuleError: it cannot, or has none.
    """
    if not _FIRST <= bounds.anchor <= _LAST:
        raise RuleError("start_at", "must be in one of the years from 1970 to 9999")
    before = bounds.anchor - _INSTANT
    first = next_after(rule, replace(bounds, end_at=None), before)
    if first is None:
        raise _never(rule)
    if bounds.end_at is not None and first > bounds.end_at:
        spelled = first.replace(tzinfo=None).isoformat()
        raise RuleError("end_at", f"must not be before the first occurrence, {spelled}Z")


def next_after(rule: Rule, bounds: Bounds, after: datetime) -> datetime | None:
    """Return the first instant strictly after `after`, in UTC.

    None: the rule has ended, or does not match within 50 years.

    Raises:
        RuleError: the rule cannot be read.
    """
    return next(instants(rule, bounds, after), None)


def instants(rule: Rule, bounds: Bounds, after: datetime) -> Iterator[datetime]:
    """Return an iterator over all instants strictly after `after`, ascending, in UTC.

    It ends where `next_after` returns None, and has no end otherwise.

    Raises:
        RuleError: the rule cannot be read.
    """
    following, end = _read(rule, bounds)
    return _each(following, min(end, bounds.end_at or _LAST), _begin(rule, bounds, after))


def _each(following: _Next, end: datetime, at: datetime) -> Iterator[datetime]:
    while at < end and (found := following(at)) is not None and found <= end:
        yield found
        at = found


def _begin(rule: Rule, bounds: Bounds, after: datetime) -> datetime:
    has_no_first = isinstance(rule, CronRule) and not bounds.starts_at_anchor
    first = _FIRST if has_no_first else max(bounds.anchor, _FIRST)
    return max(after, first - _INSTANT)


def _never(rule: Rule) -> RuleError:
    words = f"never matches: not once within {LOOK_AHEAD_YEARS} years of its start"
    if isinstance(rule, RecurrenceRule):
        by = " and by its UNTIL" if "UNTIL" in rule.text.upper() else ""
        return RuleError("rrule", words + by)
    return RuleError("cron" if isinstance(rule, CronRule) else "every", words)


def _read(rule: Rule, bounds: Bounds) -> tuple[_Next, datetime]:
    """Return what leads from one instant to the next, and the last instant that may match."""
    match rule:
        case CronRule():
            return _read_cron(rule), _LAST
        case EveryRule():
            return _read_every(rule, bounds), _LAST
        case RecurrenceRule():
            return _read_recurrence(rule, max(bounds.anchor, _FIRST))
        case _:
            assert_never(rule)


def _read_every(rule: EveryRule, bounds: Bounds) -> _Next:
    if not 1 <= rule.seconds <= _LONGEST_S:  # also refuses what is not a number
        raise RuleError("every", f"must be from 1 second to {LOOK_AHEAD_YEARS} years")
    return partial(next_elapsed, rule, bounds)


@lru_cache(maxsize=4_096)  # reading the texts costs more than searching
def _read_cron(rule: CronRule) -> _Next:
    cron, in_zone = read_cron(rule.text), zone(rule.timezone)
    return partial(_next_shown if cron.follows_clock else _next_once, cron, in_zone)


@lru_cache(maxsize=4_096)  # likewise, and a COUNT is counted from the start
def _read_recurrence(rule: RecurrenceRule, anchor: datetime) -> tuple[_Next, datetime]:
    recurrence, in_zone = read_recurrence(rule.text), zone(rule.timezone)
    if anchor > _LAST:
        return _no_next, anchor
    start = reading(in_zone, anchor + _SECOND - _INSTANT).replace(microsecond=0)
    walls = RecurrenceWalls(recurrence, start)
    return partial(_next_once, walls, in_zone), _last(recurrence, walls, in_zone)


def _no_next(_: datetime) -> None:
    return None


def _last(recurrence: Recurrence, walls: RecurrenceWalls, in_zone: ZoneInfo) -> datetime:
    until = _counted(walls, recurrence.count) if recurrence.count else recurrence.until or _LAST
    if until.tzinfo is not None:
        return until
    return first_instant(in_zone, min(max(until, _FIRST_WALL), _LAST_WALL))


def _counted(walls: RecurrenceWalls, count: int) -> datetime:
    wall = walls.nth(count)
    if wall is None:
        raise RuleError("rrule", _COUNTS_TOO_FAR)
    return wall


def _next_once(walls: _Walls, in_zone: ZoneInfo, after: datetime) -> datetime | None:
    """Return when the clock next shows a reading for the first time, or skips it."""
    wall = reading(in_zone, after)
    repeat = repeat_at(in_zone, after)
    if repeat is not None and after >= repeat.put_back_at:
        wall = repeat.ends - _SECOND
    found = walls.after(wall)
    return None if found is None or found > _LAST_WALL else first_instant(in_zone, found)


def _next_shown(walls: _Walls, in_zone: ZoneInfo, after: datetime) -> datetime | None:
    """Return when the clock next shows a reading, be it for the first time or again."""
    found = walls.after(reading(in_zone, after))
    repeat = repeat_at(in_zone, after)
    if repeat is None:
        return _first_shown(walls, in_zone, found)
    if after < repeat.put_back_at:
        if found is not None and found < repeat.ends:
            return first_instant(in_zone, found)
        found = walls.after(repeat.begins - _SECOND)
    if found is not None and found < repeat.ends:
        return repeat.put_back_at + (found - repeat.begins)
    return _first_shown(walls, in_zone, found)


def _first_shown(walls: _Walls, in_zone: ZoneInfo, wall: datetime | None) -> datetime | None:
    """Return when a reading is first shown, or the next one that is not skipped."""
    while wall is not None and wall <= _LAST_WALL:
        at = first_instant(in_zone, wall)
        shown = reading(in_zone, at)
        if shown == wall:
            return at
        wall = walls.after(shown - _SECOND)
    return None
