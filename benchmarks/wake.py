"""What it costs to wake: the part of a steady rate that is nobody's code.

A process that sleeps between two callbacks finds the processor's caches cold each time. The same
naps without a pause between them tell what the code itself takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from time import process_time
from typing import Final

import trio

from benchmarks.report import Line, Size

NAME: Final = "wake"
NAPS: Final = 1_500
PAUSE_S: Final = 0.002
"""As at 500 callbacks a second."""
SHORTEST_S: Final = 1e-6


def measure(_size: Size) -> Iterator[Line]:
    yield Line(NAME, "CPU a nap of 2 ms", trio.run(partial(_cpu_us, PAUSE_S)), "us")
    yield Line(NAME, "CPU a nap of no time", trio.run(partial(_cpu_us, SHORTEST_S)), "us")


async def _cpu_us(nap_s: float) -> float:
    began_s = process_time()
    for _ in range(NAPS):
        await trio.sleep(nap_s)
    return (process_time() - began_s) / NAPS * 1e6
