"""The audit is written beside the work: once a second, after an outage, and at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.audit import SOMEBODY
from tests.contract.timers import NOW
from timer_trio.access.audit_log import PAGE_ROWS, AuditLog
from timer_trio.clock import Clock
from timer_trio.config import Settings
from timer_trio.domain.audit import Act, Action, AuditEntry
from timer_trio.domain.errors import ContentionError, RowRefusedError, StorageUnavailableError
from timer_trio.maintenance.audit_retention import FIRST_PASS_S, INTERVAL_S, AuditRetention
from timer_trio.storage.memory import MemoryStorage
from timer_trio.testing import start_timer_service

AWAY = StorageUnavailableError("away")
ONE = Act(Action.TIMER_CREATED, "one")
CANCELED = Act(Action.TIMER_CANCELED, "it")


class Database(MemoryStorage):
    """Storage in memory that notes when it was asked to write how much, and fails on demand."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW + timedelta(seconds=trio.current_time()))
        self.asked: list[tuple[float, int]] = []
        self.errors: list[Exception | None] = []
        self.prune_errors: list[Exception] = []
        self.takes_s = 0.0

    async def write_audit(self, entries: Sequence[AuditEntry]) -> None:
        self.asked.append((trio.current_time(), len(entries)))
        await trio.sleep(self.takes_s)
        if self.errors and (error := self.errors.pop(0)):
            raise error
        await super().write_audit(entries)

    async def prune_audit(self, cutoff: Any, limit: int) -> int:
        if self.prune_errors:
            raise self.prune_errors.pop(0)
        return await super().prune_audit(cutoff, limit)

    @property
    def counts(self) -> list[int]:
        return [entry.count for entry in self._audit.values()]


class Running:
    def __init__(
        self, logged: list[MutableMapping[str, Any]], clock: Clock, *, is_kept: bool = True
    ) -> None:
        self.logged = logged
        self.database = Database()
        self.log = AuditLog(storage=self.database, clock=clock, is_kept=is_kept)

    @property
    def events(self) -> list[str]:
        return [str(line["event"]) for line in self.logged]


def virtual_clock() -> Clock:
    clock = Clock(elapsed=trio.current_time)
    clock.take_reading(NOW, trio.current_time())
    return clock


@asynccontextmanager
async def running(*, is_kept: bool = True) -> AsyncIterator[Running]:
    with capture_logs() as logged:
        service = Running(logged, virtual_clock(), is_kept=is_kept)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.log.run)
            yield service
            nursery.cancel_scope.cancel()


async def test_a_thousand_creations_are_one_row_and_one_statement(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    async with running() as service:
        for _ in range(1000):
            service.log.note(SOMEBODY, ONE)
        await trio.sleep(1.5)
        assert (service.database.asked, service.database.counts) == ([(1.0, 1)], [1000])


async def test_nothing_is_written_while_nothing_is_done(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running() as service:
        await trio.sleep(10_000)
        assert service.database.asked == []
        service.log.note(SOMEBODY, CANCELED)
        await trio.sleep(10_000)
        assert service.database.asked == [(10_001.0, 1)]
        # It does not even look whether there is something.
        assert not service.log._noted.is_set()


async def test_what_grows_is_written_once_a_second(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running() as service:
        for _ in range(49):
            service.log.note(SOMEBODY, ONE)
            await trio.sleep(0.1)
        await trio.sleep(1)
        assert [int(seconds) for seconds, _ in service.database.asked] == [1, 2, 3, 4, 5]
        assert service.database.counts == [49]


async def test_what_comes_while_a_slow_database_writes_is_written_a_second_later(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    async with running() as service:
        service.database.takes_s = 0.5
        service.log.note(SOMEBODY, ONE)
        await trio.sleep(1.25)
        service.log.note(SOMEBODY, ONE)
        await trio.sleep(3)
        assert service.database.asked == [(1.0, 1), (2.5, 1)]
        assert service.database.counts == [2]


async def test_many_are_written_in_several_statements(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running() as service:
        for _ in range(PAGE_ROWS + 1):
            service.log.note(SOMEBODY, CANCELED)
        await trio.sleep(1.5)
        assert service.database.asked == [(1.0, PAGE_ROWS), (1.0, 1)]


async def test_outage_is_waited_for_and_told_once(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running() as service:
        service.database.errors = [AWAY, AWAY, ContentionError("busy"), None]
        service.log.note(SOMEBODY, CANCELED)
        await trio.sleep(10)
        assert service.database.asked == [(1.0, 1), (2.0, 1), (3.0, 1), (4.0, 1)]
        assert service.database.counts == [1]
        assert service.events == ["audit_put_off"]
        service.database.errors = [AWAY]
        service.log.note(SOMEBODY, CANCELED)
        await trio.sleep(10)
        assert service.events == ["audit_put_off"] * 2


async def test_what_an_outage_leaves_no_room_for_is_counted_once(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    async with running() as service:
        service.log._backlog._most = 10
        service.database.errors = [AWAY] * 5
        for _ in range(17):
            service.log.note(SOMEBODY, CANCELED)
        await trio.sleep(20)
        assert len(service.database.counts) == 10
        assert service.logged[1:] == [
            {"event": "audit_dropped", "log_level": "warning", "entries": 7}
        ]


async def test_what_the_database_refuses_holds_nothing_up(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running() as service:
        service.database.errors = [RowRefusedError("no such thing")]
        service.log.note(SOMEBODY, CANCELED)
        await trio.sleep(1.5)
        service.log.note(SOMEBODY, CANCELED)
        await trio.sleep(5)
        assert [count for _, count in service.database.asked] == [1, 1]
        assert service.events == ["audit_refused"]


async def test_at_the_end_the_rest_is_written(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running() as service:
        service.log.note(SOMEBODY, CANCELED)
        await service.log.write_last()
        assert service.database.asked == [(0.0, 1)]
        assert service.events == []


async def test_at_the_end_of_an_outage_that_does_not_end_the_loss_is_told(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    async with running() as service:
        service.database.errors = [AWAY]
        service.log.note(SOMEBODY, CANCELED)
        await service.log.write_last()
        assert service.events == ["audit_put_off", "audit_lost"]


async def test_loss_is_told_where_the_stop_does_not_wait(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running() as service:
        service.database.takes_s = 60
        service.log.note(SOMEBODY, CANCELED)
        with trio.move_on_after(0.5):
            await service.log.write_last()
        assert service.logged == [{"event": "audit_lost", "log_level": "warning", "entries": 1}]


async def test_nothing_is_noted_where_nothing_is_kept(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with running(is_kept=False) as service:
        service.log.note(SOMEBODY, ONE)
        service.log.note(SOMEBODY, CANCELED)
        await trio.sleep(10)
        await service.log.write_last()
        assert (service.database.asked, service.events) == ([], [])


@pytest.mark.parametrize(("days", "count"), [(30.0, 1), (1.0, 0)])
async def test_service_writes_its_audit_and_forgets_it_in_time(
    nursery: trio.Nursery, autojump_clock: MockClock, days: float, count: int
) -> None:
    assert autojump_clock.autojump_threshold == 0
    settings = Settings(loader_interval_s=3600, cache_window_s=86_400, audit_days=days)
    service = await start_timer_service(nursery, settings=settings)
    wanted = {"delay": "PT1M", "callback_url": "https://shop.example/remind"}
    assert (await service.client.post("/timers", json=wanted)).status_code == 201
    await trio.sleep(2)
    told = (await service.client.get("/audit")).json()["data"]["audit"]
    assert [entry["action"] for entry in told] == ["timer.created"]
    await trio.sleep(timedelta(days=1.3).total_seconds())
    assert len((await service.client.get("/audit")).json()["data"]["audit"]) == count


async def test_old_entries_are_deleted_once_an_hour(autojump_clock: MockClock) -> None:
    del autojump_clock
    with capture_logs() as logged:
        database, clock = Database(), virtual_clock()
        audit = AuditLog(storage=database, clock=clock)
        retention = AuditRetention(storage=database, clock=clock, keep=timedelta(days=1))
        audit.note(SOMEBODY, CANCELED)
        await audit.write()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(retention.run)
            await trio.sleep(24 * 3600)
            assert database.counts == [1]
            database.prune_errors = [AWAY]
            await trio.sleep(INTERVAL_S + FIRST_PASS_S)
            assert database.counts == [1]
            await trio.sleep(INTERVAL_S)
            assert database.counts == []
            nursery.cancel_scope.cancel()
    assert [line["event"] for line in logged] == ["audit_prune_failed", "audit_pruned"]
