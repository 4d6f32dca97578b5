"""What milliseconds cost: 500 timers a second, where those due within so many go out together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from benchmarks.contender import service
from benchmarks.firing import in_turn, mean_us, steady
from benchmarks.receiving import together
from benchmarks.report import Line, Size
from benchmarks.steady import DESTINATIONS, RATE

NAME: Final = "together"
WITHIN_MS: Final = (0, 1, 2, 5, 10, 20)


def measure(size: Size) -> Iterator[Line]:
    rounds, seconds = (1, 6) if size is Size.QUICK else (3, 10)
    starts = [partial(service, {"FIRE_TOGETHER": f"{within}ms"}) for within in WITHIN_MS]
    runs_of_each = in_turn(starts, steady(RATE, seconds, DESTINATIONS), rounds)
    for within, runs in zip(WITHIN_MS, runs_of_each, strict=True):
        late = together([each.seen for each in runs])
        yield Line(NAME, f"worker CPU a timer, within {within} ms", mean_us(runs), "us")
        yield Line(NAME, f"late, p50, within {within} ms", late.late_ms(0.5), "ms")
        yield Line(NAME, f"late, p99, within {within} ms", late.late_ms(0.99), "ms")
