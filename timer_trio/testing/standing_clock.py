"""A clock that stands still until it is set."""

from __future__ import annotations

from datetime import datetime
from math import inf

from timer_trio.clock import Clock


class StandingClock(Clock):
    """Shows what it was set to, and knows which instants somebody waits for.

    Nobody wakes by himself, since no time passes: whoever sets it has all look anew.
    """

    def __init__(self, start: datetime) -> None:
        super().__init__()
        self._now = start
        self._awaited: set[datetime] = set()

    def now(self) -> datetime:
        return self._now

    def timestamp(self) -> datetime:
        return self._now

    def take_reading(self, database_now: datetime, asked_s: float) -> float:  # noqa: ARG002 - Clock's signature
        """Take nothing from it: it is the database's clock itself."""
        return 0.0

    def seconds_until(self, instant: datetime) -> float:
        if instant <= self._now:
            return 0.0
        self._awaited.add(instant)
        return inf

    def first_awaited(self) -> datetime | None:
        """Return the first instant that is waited for; None: there is none."""
        return min(self._awaited, default=None)

    def set(self, now: datetime) -> None:
        """Show `now`; whoever waits has to look anew, and say for what he waits then."""
        self._now = now
        self._awaited.clear()
