"""Instants that lie a fixed time apart, in whole microseconds: exact after any number of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from timer_trio.domain.schedule_rule import Bounds, EveryRule
from timer_trio.domain.unix_time import EPOCH, MICROSECOND, unix_us

_LAST_US: Final = unix_us(datetime.max.replace(tzinfo=UTC))


def next_elapsed(rule: EveryRule, bounds: Bounds, after: datetime) -> datetime | None:
    """Return the first instant after `after`, in UTC; None: there is none before the year 10000.

    It is the anchor plus a whole number of intervals, which is 0 only if start_at was given. The
    end of the bounds is not looked at.
    """
    anchor, interval = unix_us(bounds.anchor), round(rule.seconds * 1_000_000)
    count = (unix_us(after) - anchor) // interval + 1
    at = anchor + interval * max(count, 0 if bounds.starts_at_anchor else 1)
    return EPOCH + at * MICROSECOND if at <= _LAST_US else None
