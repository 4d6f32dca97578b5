from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from benchmarks.cells import HALVES
from benchmarks.contender import Start, floor, service, service_over
from benchmarks.firing import Schedule, run
from timer_trio.domain.retry import RetryPolicy

FEW = Schedule(count=20, offset_s=lambda number: number / 100, destinations=2, lead_s=5)


@pytest.mark.parametrize("start", [floor, service, partial(service_over, HALVES)])
def test_contender_fires_each_timer_once(start: Start) -> None:
    few = run(start, FEW)
    assert len(few.seen.all_late_ms) == few.seen.distinct == FEW.count
    assert few.worker_us > 0


def test_timers_that_fail_are_fired_as_often_as_they_ask_for() -> None:
    few = run(service, replace(FEW, retry=RetryPolicy(max_attempts=3, delays=(0.1, 0.2), jitter=0)))
    assert few.seen.distinct == few.count == 3 * FEW.count
    assert sorted({attempt for _, attempt, _ in few.seen.instants}) == [1, 2, 3]
