"""What one project notices of another whose destinations are all silent.

100 timers a second go to a destination that answers, alone, and then beside a project whose 20,000
timers are due at one instant and go to 200 destinations that take connections and never answer.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import trio

from benchmarks.contender import Contender, service
from benchmarks.figures import late_lines
from benchmarks.firing import await_all, fire, steady, write_schedule
from benchmarks.machine import time
from benchmarks.receiving import receiver
from benchmarks.report import Line, Size
from benchmarks.timers import timers, write
from timer_trio.domain.project import ProjectId
from timer_trio.storage.postgres import PostgresStorage

NAME: Final = "fairness"
RATE: Final = 100
SILENT: Final = 200
STORM: Final = 20_000
QUICK_STORM: Final = 5_000
LATE_MS: Final = 50.0


def measure(size: Size) -> Iterator[Line]:
    is_quick = size is Size.QUICK
    count, seconds = (QUICK_STORM, 10.0) if is_quick else (STORM, 30.0)
    schedule = steady(RATE, seconds, 1)
    with service() as contender, receiver(1) as far_end, _silent_urls() as urls:
        alone = fire(contender, far_end, schedule).seen
        storm = _create_project(contender.database.url)
        # Once the others have begun: by then they are all written.
        at = time() + 3 + count / 5_000 + schedule.lead_s
        write(contender.database.url, timers([at] * count, urls, project=storm))
        instants = write_schedule(contender, far_end, schedule)
        beside = await_all(contender, far_end, instants)
        in_flight = _executing(contender)
    yield from late_lines(NAME, alone, where=", alone")
    goals = {"p99": LATE_MS}
    yield from late_lines(NAME, beside, where=", beside a silent project", at_most=goals)
    yield Line(NAME, "callbacks of the silent project in flight", in_flight)


@contextmanager
def _silent_urls() -> Iterator[Sequence[str]]:
    with socket.create_server(("0.0.0.0", 0), backlog=4_096) as listening:  # noqa: S104 - 127/8
        port = listening.getsockname()[1]
        yield [f"http://127.1.0.{1 + number}:{port}/" for number in range(SILENT)]


def _create_project(database_url: str) -> ProjectId:
    async def create() -> ProjectId:
        async with PostgresStorage(database_url, pool_size=1) as storage:
            project = await storage.create_project("storm", datetime.fromtimestamp(time(), UTC))
            return project.id

    return trio.run(create)


def _executing(contender: Contender) -> int:
    return contender.count("SELECT count(*) FROM timers WHERE status = 'executing'")
