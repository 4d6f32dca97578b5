"""1,000 flows of which one callback at a time may go out, beside as many plain timers.

All are due at one instant, and go to 256 destinations by turns, with the other limits raised so far
that they are in nobody's way. The service knows nothing of the flows before they are due.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import trio

from benchmarks.burst import DESTINATIONS, LIMITS
from benchmarks.contender import service
from benchmarks.cost import sum_of
from benchmarks.figures import cost_lines
from benchmarks.firing import Run, burst, fire
from benchmarks.machine import time
from benchmarks.receiving import receiver
from benchmarks.report import Line, Size
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.storage.postgres import PostgresStorage

NAME: Final = "flows"
FLOWS: Final = 1_000
EACH: Final = 20
QUICK_EACH: Final = 5


def measure(size: Size) -> Iterator[Line]:
    rounds, each = (1, QUICK_EACH) if size is Size.QUICK else (3, EACH)
    keys = [FlowKey(f"customer-{number}") for number in range(FLOWS)]
    without, within = [], []
    for _ in range(rounds):
        without.append(_run(each, ()))
        within.append(_run(each, keys))
    for where, runs in ((", plain", without), (", in flows", within)):
        count = sum(each.count for each in runs)
        yield Line(NAME, f"callbacks a second{where}", count / sum(_seconds(runs)), "/s")
        yield from cost_lines(NAME, sum_of([each.cost for each in runs]), count, where=where)
    plain_us, us = (sum(each.worker_us for each in runs) for runs in (without, within))
    yield Line(NAME, "worker CPU a timer in a flow, times a plain one's", us / plain_us)


def _run(each: int, keys: Sequence[FlowKey]) -> Run:
    with service(LIMITS) as contender, receiver(DESTINATIONS) as far_end:
        _limit(contender.database.url, keys)
        schedule = replace(burst(FLOWS * each, DESTINATIONS), flows=keys)
        return fire(contender, far_end, schedule)


def _limit(database_url: str, keys: Sequence[FlowKey]) -> None:
    async def put() -> None:
        async with PostgresStorage(database_url, pool_size=1) as storage:
            now = datetime.fromtimestamp(time(), UTC)
            for key in keys:
                await storage.put_flow(FlowId(DEFAULT_PROJECT, key), {"max_in_flight": 1}, now)

    trio.run(put)


def _seconds(runs: Sequence[Run]) -> Iterator[float]:
    return (each.last_arrival_s for each in runs)
