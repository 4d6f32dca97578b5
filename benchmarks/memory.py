"""What a cached timer takes: 200,000 of them for sixteen destinations, as Python's own count."""

from __future__ import annotations

import secrets
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from benchmarks.report import Line, Size
from timer_trio.domain.cache import Cache
from timer_trio.domain.timer import Destination, DueTimer, Lane, TimerId

NAME: Final = "memory"
TIMERS: Final = 200_000
DESTINATIONS: Final = 16

_START: Final = datetime(2030, 1, 1, tzinfo=UTC)


def measure(_size: Size) -> Iterator[Line]:
    tracemalloc.start()
    cache = Cache(TIMERS)
    cache.open_until(_START + timedelta(days=1))
    before, _ = tracemalloc.get_traced_memory()
    for timer in _timers():
        cache.put(timer)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cache) == TIMERS
    yield Line(NAME, "a cached timer", (after - before) / TIMERS, "B", at_most=200)


def _timers() -> Iterator[DueTimer]:
    for number in range(TIMERS):
        # As the loader brings them: each with a text of its own for its destination.
        destination = Lane(Destination(f"https://hooks-{number % DESTINATIONS}.example:443"))
        due_at = _START + timedelta(milliseconds=secrets.randbelow(86_400_000))
        yield DueTimer(due_at, TimerId(UUID(int=secrets.randbits(128))), destination)
