"""What two cells cost beside one database: 900 timers a second, by one worker over each, by turns.

Each database is a server of its own, and all is measured once it has built its indexes and has the
connections that it needs. Two processors cannot show what a second database server gains: what is
compared is the CPU time of a timer, which a second cell must not raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from benchmarks.contender import service_over
from benchmarks.figures import run_lines
from benchmarks.firing import in_turn, mean_database_us, mean_us, steady
from benchmarks.report import Line, Size
from timer_trio.domain.cells import ALL, Cell

NAME: Final = "cells"
RATE: Final = 900
DESTINATIONS: Final = 8
WARM_UP_S: Final = 3.0
"""With the time to write them more than the five seconds after which indexes are built."""
HALVES: Final = (Cell(0, 127), Cell(128, 255))
WAYS: Final[Mapping[str, Sequence[Cell]]] = {"one database": (ALL,), "two cells": HALVES}


def measure(size: Size) -> Iterator[Line]:
    rounds, seconds = (2, 8) if size is Size.QUICK else (3, 20)
    starts = [partial(service_over, cells) for cells in WAYS.values()]
    load, warm_up = (steady(RATE, each, DESTINATIONS) for each in (seconds, WARM_UP_S))
    one, two = in_turn(starts, load, rounds, warm_up)
    for way, runs in zip(WAYS, (one, two), strict=True):
        yield from run_lines(NAME, runs, where=f", {way}")
    for of, mean in (("worker", mean_us), ("database", mean_database_us)):
        yield Line(NAME, f"{of} CPU, two cells, times one", mean(two) / mean(one), at_most=1.1)
