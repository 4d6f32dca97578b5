"""What a schedule's rule says: values only, as the consumer gave them.

Which instants follow from them says `timer_trio.calendar`, since calendars are libraries.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CronRule:
    """Instants that match a cron expression by the wall clock of a time zone."""

    text: str
    """Five fields, or six with the seconds in front."""
    timezone: str
    """IANA name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryRule:
    """Instants that lie a fixed time apart, counted from the anchor: no zone, no summer time."""

    seconds: float
    """At least 1; what is finer than a microsecond is rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrenceRule:
    """Instants of an RFC 5545 RRULE by the wall clock of a time zone, counted from the anchor."""

    text: str
    """The value alone, such as `FREQ=MONTHLY;BYMONTHDAY=-1`; FREQ is daily or coarser."""
    timezone: str
    """IANA name."""


Rule = CronRule | EveryRule | RecurrenceRule


def field_of(rule: Rule) -> str:
    """Return under which name a consumer gives a rule."""
    return {CronRule: "cron", EveryRule: "every", RecurrenceRule: "rrule"}[type(rule)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Where a rule's instants begin and end. All instants are in UTC."""

    anchor: datetime
    """The schedule's start_at; of one without it, its creation."""
    starts_at_anchor: bool
    """Whether start_at was given: then nothing is before the anchor, which may itself match.

    Without it an `every` comes first one interval after its creation, an `rrule` at its creation
    if that matches, and a `cron` has instants before its creation as well, which a backfill asks
    for.
    """
    end_at: datetime | None = None
    """The last instant that may match."""
