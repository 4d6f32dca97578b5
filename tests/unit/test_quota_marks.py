# ruff: noqa: ARG001 - pytest-trio finds the clock of a test among its arguments
from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.contract.timers import NOW, new_timer
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import Position
from timer_trio.maintenance.quota_marks import (
    AGAIN_S,
    FIRST_PASS_S,
    INTERVAL_S,
    PAGE_ROWS,
    SETTLED_S,
    QuotaMarks,
)
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.protocols import Marked

PAGE_S = 0.5


class Database(MemoryStorage):
    """Notes when it was asked, and may be away."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.asked_at: list[float] = []
        self.pages_at: list[float] = []
        self.is_away = False

    async def unmarked_projects(self) -> Sequence[ProjectId]:
        self.asked_at.append(trio.current_time())
        if self.is_away:
            raise StorageUnavailableError
        return await super().unmarked_projects()

    async def mark_counted(self, project: ProjectId, after: Position | None, limit: int) -> Marked:
        self.pages_at.append(trio.current_time())
        await trio.sleep(PAGE_S)
        return await super().mark_counted(project, after, limit)


@asynccontextmanager
async def running(storage: Database) -> AsyncIterator[QuotaMarks]:
    marks = QuotaMarks(storage=storage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(marks.run)
        yield marks
        nursery.cancel_scope.cancel()


async def set_limit(storage: Database) -> None:
    await storage.change_project(DEFAULT_PROJECT, {"max_live_timers": 5})


async def test_a_new_limit_is_looked_at_once_all_replicas_know_of_it(
    autojump_clock: MockClock,
) -> None:
    storage = Database()
    timers = [
        new_timer(created_at=NOW - timedelta(seconds=place)) for place in range(2 * PAGE_ROWS + 1)
    ]
    await storage.create(timers, NOW)
    began_s = trio.current_time()
    with capture_logs() as logs:
        async with running(storage) as marks:
            await trio.sleep(1)
            await set_limit(storage)
            marks.look()
            await trio.sleep(60)
    assert storage.asked_at == [began_s + 1 + SETTLED_S]
    first, *_ = storage.pages_at
    assert storage.pages_at == [first, first + 2 * PAGE_S, first + 4 * PAGE_S]
    assert all(row.is_counted for row in storage._rows.values())
    assert logs == [
        {"event": "timers_counted", "log_level": "info", "project": 0, "timers": len(timers)}
    ]


async def test_a_limit_that_is_set_meanwhile_is_looked_at_as_well(
    autojump_clock: MockClock,
) -> None:
    storage = Database()
    async with running(storage) as marks:
        marks.look()
        await trio.sleep(SETTLED_S - 1)
        await set_limit(storage)
        marks.look()
        await trio.sleep(2 * SETTLED_S + 5)
    assert len(storage.asked_at) == 2


async def test_it_looks_by_itself_and_soon_again_after_an_outage(autojump_clock: MockClock) -> None:
    storage = Database()
    storage.is_away = True
    began_s = trio.current_time()
    async with running(storage):
        await trio.sleep(FIRST_PASS_S + 1)
        storage.is_away = False
        await trio.sleep(AGAIN_S + INTERVAL_S)
    assert [at_s - began_s for at_s in storage.asked_at] == [
        FIRST_PASS_S,
        FIRST_PASS_S + AGAIN_S,
        FIRST_PASS_S + AGAIN_S + INTERVAL_S,
    ]
