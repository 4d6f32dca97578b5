"""10,000 timers at one instant: what each costs beside the floor, and when the last one arrives.

They go to 256 destinations by turns, so that the share of the free slots that one destination may
hold is in nobody's way; then once more under the default limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from benchmarks.contender import floor, service
from benchmarks.figures import late_lines
from benchmarks.firing import burst, in_turn, run
from benchmarks.receiving import together
from benchmarks.report import Line, Size
from benchmarks.steady import lines

NAME: Final = "burst"
COUNT: Final = 10_000
DESTINATIONS: Final = 256

LIMITS: Final = {"MAX_IN_FLIGHT": "10000", "MAX_IN_FLIGHT_PER_DESTINATION": "10000"}


def measure(size: Size) -> Iterator[Line]:
    rounds = 1 if size is Size.QUICK else 3
    schedule = burst(COUNT, DESTINATIONS)
    barest, served = in_turn((floor, partial(service, LIMITS)), schedule, rounds)
    yield from lines(NAME, barest, served)
    transactions = max(each.transactions for each in served)
    yield Line(NAME, "database transactions a timer", transactions)
    yield from late_lines(NAME, together([each.seen for each in served]))
    last_s = max(each.last_arrival_s for each in served)
    yield Line(NAME, "last arrival", last_s, "s", at_most=2.2)
    yield Line(NAME, "last arrival, floor", max(each.last_arrival_s for each in barest), "s")
    yield Line(NAME, "memory of the worker", served[-1].rss_bytes / 1e6, "MB")
    if size is Size.FULL:
        limited = run(service, schedule)
        yield Line(NAME, "worker CPU a timer, default limits", limited.worker_us, "us")
        yield Line(NAME, "last arrival, default limits", limited.last_arrival_s, "s")
