"""How many live timers a project may have, where it has set a number (`max_live_timers`).

What is known of a project is a number that its live timers do not exceed: those that were counted
last, and all that were created since. So it is only ever too great, as timers end, and is counted
anew where it leaves no room.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

MOST_LIVE: Final = 1_000_000
"""The greatest number that a project can set: to count so many takes the database half a second."""
BEYOND: Final = 2**31 - 1
"""What stands for more than the limit: counting ends there."""
_RECOUNT: Final = timedelta(seconds=1)
_RECOUNT_EACH: Final = timedelta(microseconds=10)
_AHEAD: Final = timedelta(minutes=1)
"""Who asks again after an outage has an older reading of the clock than who has counted since."""


@dataclass(frozen=True, slots=True)
class LiveCount:
    """A project has `live` timers that are counted, or fewer; `counted_at` None: nobody knows."""

    live: int
    counted_at: datetime | None = None


NEVER_COUNTED: Final = LiveCount(0)


class Verdict(Enum):
    """What becomes of new timers for which no room is known."""

    COUNT = "count"
    """They have to be counted."""
    REFUSE = "refuse"
    """There is none: that was counted just now."""


def admitted(known: LiveCount, max_live: int, more: int, now: datetime) -> LiveCount | Verdict:
    """Return what is known once there are `more` live timers, or why they may not be."""
    if known.counted_at is None:
        return Verdict.COUNT
    if known.live + more <= max_live:
        return replace(known, live=known.live + more)
    is_fresh = -_AHEAD < now - known.counted_at < recount_after(max_live)
    return Verdict.REFUSE if is_fresh else Verdict.COUNT


def counted(found: int, max_live: int, now: datetime) -> LiveCount:
    """Return what is known once timers were counted, up to one more than there may be."""
    return LiveCount(found if found <= max_live else BEYOND, now)


def part_of(limit: int, place: int, parts: int) -> int:
    """Return how much of a limit is one of its parts', the rest being that of the first ones.

    Each has room for one at least: so together they may exceed a limit that is below their number.
    """
    each, rest = divmod(limit, parts)
    return max(1, each + (place < rest))


def recount_after(max_live: int) -> timedelta:
    """Return how long a count holds: a second, more where it takes the database longer."""
    return max(_RECOUNT, max_live * _RECOUNT_EACH)
