from __future__ import annotations

import pytest

from benchmarks.contender import Start, floor, service
from benchmarks.firing import Schedule, run

FEW = Schedule(count=20, offset_s=lambda number: number / 100, destinations=2, lead_s=5)


@pytest.mark.parametrize("start", [floor, service])
def test_contender_fires_each_timer_once(start: Start) -> None:
    few = run(start, FEW)
    assert len(few.seen.all_late_ms) == few.seen.distinct == FEW.count
    assert few.worker_us > 0
