"""A timer service on a virtual clock, for anybody's tests.

It is the real service, API and stages, on storage in memory. Run the test under trio's MockClock
with `autojump_threshold=0` (pytest-trio's fixture `autojump_clock`), and a timer set for next week
fires at once. While a worker thread of `trio.to_thread.run_sync` runs the clock stands still. Real
sockets and processes do not hold it: `timer-trio serve --test-clock` (`served`) is for those.
"""

from timer_trio.testing.clock import ThreadHoldsClockError
from timer_trio.testing.receiver import Answer, Callback, Reply
from timer_trio.testing.service import API_KEY, START, TimerService, start_timer_service

__all__ = [
    "API_KEY",
    "START",
    "Answer",
    "Callback",
    "Reply",
    "ThreadHoldsClockError",
    "TimerService",
    "start_timer_service",
]
