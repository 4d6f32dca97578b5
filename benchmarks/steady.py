"""500 timers a second: what each costs beside the floor, how late it comes, and how many may come.

The timers go to eight destinations by turns, under the service's default limits. Everything is
included: load, claim, send, settle, log, metrics, heartbeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from benchmarks.contender import Contender, floor, service
from benchmarks.figures import late_lines
from benchmarks.firing import Run, fire, in_turn, mean_database_us, mean_us, steady
from benchmarks.receiving import Receiving, receiver, together
from benchmarks.report import Line, Size

NAME: Final = "steady"
RATE: Final = 500
DESTINATIONS: Final = 8
RATES: Final = (700, 1000, 1400, 2000, 2800, 4000)
LATE_MS: Final = 50.0
"""The highest rate is the last of RATES at which 99 of 100 callbacks are not later."""


def measure(size: Size) -> Iterator[Line]:
    rounds, seconds = (1, 8) if size is Size.QUICK else (3, 12)
    barest, served = in_turn((floor, service), steady(RATE, seconds, DESTINATIONS), rounds)
    yield from lines(NAME, barest, served)
    transactions = max(each.transactions for each in served)
    yield Line(NAME, "database transactions a timer", transactions, at_most=0.05)
    late = together([each.seen for each in served])
    yield from late_lines(NAME, late, at_most={"p50": 2, "p99": 10})
    late = together([each.seen for each in barest])
    yield Line(NAME, "late, p99, floor", late.late_ms(0.99), "ms")
    yield Line(NAME, "memory of the worker", served[-1].rss_bytes / 1e6, "MB")
    if size is Size.FULL:
        yield Line(NAME, f"highest rate with p99 <= {LATE_MS:g} ms", _highest_rate(), "/s")


def side_by_side(name: str, ways: Mapping[str, Mapping[str, str]], size: Size) -> Iterator[Line]:
    """Fire 500 timers a second under each of several settings, by turns."""
    rounds, seconds = (1, 6) if size is Size.QUICK else (3, 10)
    starts = [partial(service, settings) for settings in ways.values()]
    runs_of_each = in_turn(starts, steady(RATE, seconds, DESTINATIONS), rounds)
    for way, runs in zip(ways, runs_of_each, strict=True):
        late = together([each.seen for each in runs])
        yield Line(name, f"worker CPU a timer, {way}", mean_us(runs), "us")
        yield Line(name, f"late, p50, {way}", late.late_ms(0.5), "ms")
        yield Line(name, f"late, p99, {way}", late.late_ms(0.99), "ms")


def lines(name: str, barest: Sequence[Run], served: Sequence[Run]) -> Iterator[Line]:
    """Set the cost of a timer beside the floor's."""
    yield Line(name, "worker CPU a timer, floor", mean_us(barest), "us")
    yield Line(name, "worker CPU a timer", mean_us(served), "us")
    ratio = mean_us(served) / mean_us(barest)
    yield Line(name, "worker CPU a timer, times the floor's", ratio, at_most=1.4)
    yield Line(name, "database CPU a timer", mean_database_us(served), "us")


def _highest_rate() -> float:
    highest = float(RATE)
    with service() as contender, receiver(DESTINATIONS) as far_end:
        for rate in RATES:
            if _p99_ms(contender, far_end, rate) > LATE_MS:
                break
            highest = rate
    return highest


def _p99_ms(contender: Contender, far_end: Receiving, rate: int) -> float:
    return fire(contender, far_end, steady(rate, 5, DESTINATIONS)).seen.late_ms(0.99)
