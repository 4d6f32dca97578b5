"""The database's time over trio's clock: the one place that knows what time it is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import trio

from timer_trio.domain.errors import StorageUnavailableError

READINGS: Final = 16
"""The best of the last 16 heartbeats: rides out slow replies, and follows the clock's drift."""

STEP_BACK_S: Final = 1.0
"""A reading that lies further back, however old it may be: the database's clock was set."""


class ClockUnsetError(StorageUnavailableError):
    """The database has not told the time yet."""


class Clock:
    """Maps trio's monotonic time to the database's clock.

    A reading counts as of the arrival of the reply, which makes it a lower bound: `now` may lag by
    the length of a reply, and never runs ahead. Under trio's MockClock the same code runs on
    virtual time.
    """

    def __init__(self, elapsed: Callable[[], float] | None = None) -> None:
        self._offsets: deque[float] = deque(maxlen=READINGS)
        self._offset_s: float | None = None
        self.machine_offset_s: float | None = None
        """By how much the machine's wall clock is ahead of the database's at most; for people."""
        self.elapsed: Final = elapsed or _seconds_since_boot
        """Seconds on a clock that counts suspend, where there is one, for the fence."""

    def take_reading(self, database_now: datetime, asked_s: float) -> float:
        """Learn the database's time from a reply that has just arrived.

        `asked_s` is trio's time at which the question was sent: a reply that was long on its way is
        no clock set back. Returns the seconds by which it was set back at least, 0.0 if it was not.
        """
        read_s = database_now.timestamp()
        self.machine_offset_s = time.time() - read_s  # noqa: TID251 - nothing is decided by it
        offset_s, greatest_offset_s = read_s - trio.current_time(), read_s - asked_s
        step_back_s = 0.0 if self._offset_s is None else self._offset_s - greatest_offset_s
        stepped = step_back_s > STEP_BACK_S
        if stepped:
            self._offsets.clear()
        self._offsets.append(offset_s)
        self._offset_s = max(self._offsets)
        return step_back_s if stepped else 0.0

    def now(self) -> datetime:
        """Tell the database's time, in UTC.

        Raises:
            ClockUnsetError: there was no reading yet.
        """
        if self._offset_s is None:
            raise ClockUnsetError("the database has not told the time yet")
        return datetime.fromtimestamp(self._offset_s + trio.current_time(), UTC)

    def timestamp(self) -> datetime:
        """Tell the time for people to read: the machine's until the database has told its own."""
        if self._offset_s is None:
            return datetime.now(UTC)  # noqa: TID251 - nothing is decided by it
        return self.now()

    async def sleep_until(self, instant: datetime) -> None:
        """Sleep until the database's clock shows `instant`; never wakes before it."""
        while (wait_s := (instant - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 - corrected
            await trio.sleep(wait_s)


def _seconds_since_boot() -> float:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
