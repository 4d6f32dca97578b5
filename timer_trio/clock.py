"""The database's time over trio's clock: the one place that knows what time it is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

import trio

from timer_trio.domain.errors import StorageUnavailableError

READINGS: Final = 16
"""The best of the last 16 heartbeats: rides out slow replies, and follows the clock's drift."""

DRIFT: Final = 0.0002
"""By which share two crystals go apart at most: so much a reading tells less as it grows old."""

NOISE_S: Final = 0.001
"""Readings come in whole microseconds; nobody needs to hear of so small a step."""


class _Reading(NamedTuple):
    """By how much the database's clock is ahead of trio's, at least and at most, at some time."""

    least_s: float
    most_s: float
    taken_s: float

    def at(self, now_s: float) -> tuple[float, float]:
        """Return what it says of now."""
        drift_s = DRIFT * (now_s - self.taken_s)
        return self.least_s - drift_s, self.most_s + drift_s


class ClockUnsetError(StorageUnavailableError):
    """The database has not told the time yet."""


class Clock:
    """Maps trio's monotonic time to the database's clock.

    A reading was taken between the question and the arrival of the reply. It counts as of the
    latter, which makes it a lower bound: `now` may lag by the length of a reply, and never runs
    ahead. Under trio's MockClock the same code runs on virtual time.
    """

    def __init__(self, elapsed: Callable[[], float] | None = None) -> None:
        self._readings: deque[_Reading] = deque(maxlen=READINGS)
        self._offset_s: float | None = None
        self._trio_time = trio.current_time
        self.machine_offset_s: float | None = None
        """By how much the machine's wall clock is ahead of the database's at most; for people."""
        self.elapsed: Final = elapsed or _seconds_since_boot()
        """Seconds on a clock that counts suspend, where there is one, for the fence."""

    def take_reading(self, database_now: datetime, asked_s: float) -> float:
        """Take the database's time from a reply that has just arrived.

        `asked_s` is trio's time at which the question was sent. Returns the seconds by which the
        clock was set at least, if no length of replies explains what it shows: they are negative if
        it was set back, and the reading counts alone then. Returns 0.0 if it was not set.
        """
        read_s, now_s = database_now.timestamp(), trio.current_time()
        self.machine_offset_s = time.time() - read_s  # noqa: TID251 - nothing is decided by it
        reading = _Reading(read_s - now_s, read_s - asked_s, now_s)
        step_s = _step_s(reading, [earlier.at(now_s) for earlier in self._readings])
        if step_s:
            self._readings.clear()
        self._readings.append(reading)
        # The run's own, since trio.current_time looks it up each time, which takes twice as long.
        self._trio_time = trio.lowlevel.current_clock().current_time
        self._offset_s = max(each.at(now_s)[0] for each in self._readings)
        return step_s

    @property
    def is_set(self) -> bool:
        """Whether there was a reading."""
        return self._offset_s is not None

    def now(self) -> datetime:
        """Return the database's time, in UTC.

        Raises:
            ClockUnsetError: there was no reading yet.
        """
        if self._offset_s is None:
            raise ClockUnsetError("the database has not told the time yet")
        return datetime.fromtimestamp(self._offset_s + self._trio_time(), UTC)

    def timestamp(self) -> datetime:
        """Return the time for people to read: the machine's until the database has told its own."""
        if not self.is_set:
            return datetime.now(UTC)  # noqa: TID251 - nothing is decided by it
        return self.now()

    def seconds_until(self, instant: datetime) -> float:
        """Return how long it takes at least until the clock shows `instant`; 0 or less: it has."""
        return (instant - self.now()).total_seconds()

    async def sleep_until(self, instant: datetime) -> None:
        """Sleep until the database's clock shows `instant`; never wakes before it."""
        while (wait_s := self.seconds_until(instant)) > 0:  # noqa: ASYNC110 - corrected
            await trio.sleep(wait_s)


class FirstClock(Clock):
    """Shows what the first of several clocks shows that is set: they go alike, if loosely."""

    def __init__(self, clocks: Sequence[Clock]) -> None:
        super().__init__()
        self._clocks = clocks

    @property
    def is_set(self) -> bool:
        return any(clock.is_set for clock in self._clocks)

    def now(self) -> datetime:
        clocks = iter(self._clocks)
        return next((clock for clock in clocks if clock.is_set), self._clocks[0]).now()


def _step_s(reading: _Reading, known: Sequence[tuple[float, float]]) -> float:
    """Return by how much a reading lies beyond what is known, at least."""
    if not known:
        return 0.0
    back_s = reading.most_s - max(least_s for least_s, _ in known)
    ahead_s = reading.least_s - min(most_s for _, most_s in known)
    if back_s < -NOISE_S:
        return back_s
    return ahead_s if ahead_s > NOISE_S else 0.0


def _seconds_since_boot() -> Callable[[], float]:
    """Return the system's clock that counts suspend, or its monotonic one if it has none."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    return time.monotonic
