"""From instants to what the clock on the wall shows, and back: the one place that knows of changes.

A clock that is put forward skips readings, one that is put back shows them twice. Readings are
naive datetimes, instants are in UTC. Changes are found by bisection to the second, since `zoneinfo`
tells offsets and no instants of change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Readings that a clock shows twice, since it is put back at an instant."""

    begins: datetime
    """The first of these readings: what the clock shows once it has been put back."""
    ends: datetime
    """The reading after the last one."""
    put_back_at: datetime


def reading(zone: ZoneInfo, instant: datetime) -> datetime:
    """Return what the clock shows at an instant."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def first_instant(zone: ZoneInfo, wall: datetime) -> datetime:
    """Return when the clock first shows a reading, or once it has skipped it, a later one."""
    at = wall.replace(tzinfo=zone).astimezone(UTC)
    skipped = reading(zone, at) - wall
    if not skipped:
        return at
    return _first(at - skipped, at, lambda instant: reading(zone, instant) > wall)


def repeat_at(zone: ZoneInfo, instant: datetime) -> Repeat | None:
    """Return the readings shown twice among which is that of an instant; None: it comes once."""
    wall = instant.astimezone(zone).replace(microsecond=0)
    once, again = wall.replace(fold=0), wall.replace(fold=1)
    before, then = _offset(once), _offset(again)
    if before <= then:
        return None
    put_back_at = _first(
        once.astimezone(UTC),
        again.astimezone(UTC),
        lambda instant: _offset(instant.astimezone(zone)) != before,
    )
    turn = put_back_at.replace(tzinfo=None)
    return Repeat(begins=turn + then, ends=turn + before, put_back_at=put_back_at)


def _offset(local: datetime) -> timedelta:
    offset = local.utcoffset()
    assert offset is not None  # noqa: S101 - a zone of the IANA data always has one
    return offset


def _first(no: datetime, yes: datetime, holds: Callable[[datetime], bool]) -> datetime:
    """Return the first second in which something holds that does not at `no`, and does at `yes`."""
    while (seconds := (yes - no) // timedelta(seconds=1)) > 1:
        middle = no + timedelta(seconds=seconds // 2)
        no, yes = (no, middle) if holds(middle) else (middle, yes)
    return yes
