from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.contract.timers import NOW, flow_rules, keyed, new_timer
from tests.schedules import schedule_of, schedule_spec
from timer_trio.clock import Clock
from timer_trio.config import Settings
from timer_trio.domain.destination import (
    KEPT,
    NO_DURATIONS,
    NO_ENDS,
    SPAN,
    Counted,
    DestinationReport,
    span_of,
)
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.keys import IDEMPOTENCY_PERIOD
from timer_trio.domain.planning import ended
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.query import TimerQuery
from timer_trio.domain.timer import Destination, Lane, ReplicaId
from timer_trio.maintenance.retention import FIRST_PASS_S, INTERVAL_S, Retention
from timer_trio.storage import Pruned
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.postgres.retention import MIN_PAUSE_S, PAGE_ROWS
from timer_trio.storage.protocols import PrunePosition
from timer_trio.telemetry.metrics import Metrics
from timer_trio.testing import start_timer_service

KEEP: Final = timedelta(days=2)


class Database(MemoryStorage):
    """Storage in memory on the virtual clock that may be slow, or away from its n-th page on."""

    def __init__(self, clock: MockClock) -> None:
        super().__init__(lambda: NOW + timedelta(seconds=clock.current_time()))
        self.page_s = 0.0
        self.asked_at: list[float] = []
        self.failures: list[Exception | None] = []
        self.key_failures: list[Exception | None] = []

    async def prune_keys(self, now: datetime, limit: int) -> int:
        if self.key_failures and (failure := self.key_failures.pop(0)):
            raise failure
        return await super().prune_keys(now, limit)

    async def prune(self, cutoff: datetime, after: PrunePosition | None, limit: int) -> Pruned:
        self.asked_at.append(trio.current_time())
        await trio.sleep(self.page_s)
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        return await super().prune(cutoff, after, limit)

    async def fill(self, count: int) -> None:
        """Write timers that ended just now."""
        now = self._now()
        timers = [new_timer(created_at=now - timedelta(seconds=1)) for _ in range(count)]
        await self.create(timers, now)
        for timer in timers:
            await self.cancel(timer.id, now)

    async def count(self) -> int | None:
        return (await self.list(TimerQuery())).total


class Running:
    """A retention that runs, and what it has logged and counted."""

    def __init__(
        self, virtual: MockClock, logged: list[MutableMapping[str, Any]], keep: timedelta | None
    ) -> None:
        self.logged = logged
        self.database = Database(virtual)
        self.metrics = Metrics()
        clock = Clock(elapsed=trio.current_time)
        clock.take_reading(self.database._now(), trio.current_time())
        self.retention = Retention(
            storage=self.database, clock=clock, metrics=self.metrics, keep=keep
        )

    @property
    def pruned(self) -> float | None:
        return self.metrics.registry.get_sample_value("timer_trio_pruned_total")


@asynccontextmanager
async def running(virtual: MockClock, keep: timedelta | None = KEEP) -> AsyncIterator[Running]:
    with capture_logs() as logged:
        service = Running(virtual, logged, keep)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.retention.run)
            yield service
            nursery.cancel_scope.cancel()


async def test_timer_is_kept_for_its_time_and_gone_an_hour_later(autojump_clock: MockClock) -> None:
    async with running(autojump_clock) as service:
        await service.database.fill(1)
        await trio.sleep(KEEP.total_seconds())
        assert await service.database.count() == 1
        await trio.sleep(INTERVAL_S)
        assert await service.database.count() == 0
        assert service.pruned == 1


async def test_ended_schedule_is_kept_as_long_as_a_timer(autojump_clock: MockClock) -> None:
    async with running(autojump_clock) as service:
        now = service.database._now()
        schedule = ended(schedule_of(schedule_spec(), now=now), now).schedule
        await service.database.create_schedule(schedule, [], now)
        await trio.sleep(KEEP.total_seconds())
        assert (await service.database.count_schedules())["ended"] == 1
        await trio.sleep(INTERVAL_S)
        assert (await service.database.count_schedules())["ended"] == 0
        assert [line["schedules"] for line in service.logged if line["schedules"]] == [1]


async def test_schedules_are_kept_for_ever_where_timers_are(autojump_clock: MockClock) -> None:
    async with running(autojump_clock, keep=None) as service:
        now = service.database._now()
        schedule = ended(schedule_of(schedule_spec(), now=now), now).schedule
        await service.database.create_schedule(schedule, [], now)
        await trio.sleep(2 * INTERVAL_S)
        assert (await service.database.count_schedules())["ended"] == 1


async def test_first_pass_comes_soon_after_the_start_and_then_one_an_hour(
    autojump_clock: MockClock,
) -> None:
    async with running(autojump_clock) as service:
        await trio.sleep(FIRST_PASS_S + 2 * INTERVAL_S + 1)
        assert service.database.asked_at == [
            FIRST_PASS_S,
            FIRST_PASS_S + INTERVAL_S,
            FIRST_PASS_S + 2 * INTERVAL_S,
        ]


async def test_pass_goes_through_all_pages_and_logs_once(autojump_clock: MockClock) -> None:
    async with running(autojump_clock) as service:
        await service.database.fill(2 * PAGE_ROWS + 1)
        await trio.sleep(KEEP.total_seconds() + INTERVAL_S)
        assert await service.database.count() == 0
        assert service.pruned == 2 * PAGE_ROWS + 1
        (line,) = [line for line in service.logged if line.get("timers")]
        assert (line["event"], line["timers"]) == ("pruned", 2 * PAGE_ROWS + 1)
        assert line["cut_short"] is None
        assert line["duration_ms"] == pytest.approx(2 * MIN_PAUSE_S * 1000)


async def test_timers_that_wait_for_years_are_passed_by(autojump_clock: MockClock) -> None:
    async with running(autojump_clock) as service:
        waiting = [new_timer(created_at=NOW - timedelta(days=900)) for _ in range(PAGE_ROWS)]
        await service.database.create(waiting, NOW)
        await service.database.fill(1)
        await trio.sleep(KEEP.total_seconds() + INTERVAL_S)
        assert await service.database.count() == PAGE_ROWS
        passes = len([line for line in service.logged if line["event"] == "pruned"])
        assert len(service.database.asked_at) == 2 * passes


@pytest.mark.parametrize("page_s", [0.0, 0.3])
async def test_pause_after_a_page_is_as_long_as_the_page_and_never_short(
    autojump_clock: MockClock, page_s: float
) -> None:
    async with running(autojump_clock) as service:
        await service.database.fill(2 * PAGE_ROWS)
        await trio.sleep(KEEP.total_seconds())
        service.database.page_s = page_s
        service.database.asked_at.clear()
        await trio.sleep(INTERVAL_S)
        first, second, last = service.database.asked_at
        step_s = page_s + max(page_s, MIN_PAUSE_S)
        assert second - first == pytest.approx(step_s)
        assert last - second == pytest.approx(step_s)


@pytest.mark.parametrize("error", [StorageUnavailableError, ContentionError])
async def test_outage_in_a_pass_is_made_up_for_by_the_next(
    autojump_clock: MockClock, error: type[Exception]
) -> None:
    async with running(autojump_clock) as service:
        await service.database.fill(PAGE_ROWS + 1)
        await trio.sleep(KEEP.total_seconds())
        service.database.failures = [None, error("the database is away")]
        await trio.sleep(INTERVAL_S)
        assert await service.database.count() == 1
        assert service.logged[-1]["cut_short"] == "the database is away"
        assert service.logged[-1]["timers"] == service.pruned == PAGE_ROWS
        await trio.sleep(INTERVAL_S)
        assert await service.database.count() == 0
        assert service.logged[-1]["timers"] == 1


@pytest.mark.parametrize("keep", [None, KEEP])
async def test_deleted_flow_is_forgotten_whether_or_not_timers_are(
    autojump_clock: MockClock, keep: timedelta | None
) -> None:
    async with running(autojump_clock, keep) as service:
        database, flow = service.database, FlowId(DEFAULT_PROJECT, FlowKey("mails"))
        await database.put_flow(flow, {"max_in_flight": 1}, NOW)
        await database.delete_flow(flow, NOW)
        await trio.sleep(INTERVAL_S - 1)
        assert await flow_rules(database, [flow])
        await trio.sleep(INTERVAL_S)
        assert not await flow_rules(database, [flow])


@pytest.mark.parametrize("keep", [None, KEEP])
async def test_keys_that_have_expired_are_deleted_whether_or_not_timers_are(
    autojump_clock: MockClock, keep: timedelta | None
) -> None:
    async with running(autojump_clock, keep) as service:
        database = service.database
        count = 2 * PAGE_ROWS + 1
        await database.create_keyed([keyed(str(n)) for n in range(count)], database._now())
        await trio.sleep(IDEMPOTENCY_PERIOD.total_seconds() - 1)
        assert len(database._keys) == count
        await trio.sleep(INTERVAL_S)
        assert not database._keys
        assert await database.count() == count
        told = [line["keys"] for line in service.logged if line.get("keys")]
        assert told == [count]


async def test_old_counts_of_callbacks_are_deleted_in_silence(autojump_clock: MockClock) -> None:
    async with running(autojump_clock, None) as service:
        database, lane = service.database, Lane(Destination("https://example.com:443"))
        counted = [
            Counted(lane, span_of(database._now()) + number * SPAN, NO_ENDS, NO_DURATIONS)
            for number in range(-PAGE_ROWS, 1)
        ]
        replica = ReplicaId(UUID(int=7))
        now = database._now()
        await database.note_destinations(
            DestinationReport(counter=replica, replica=replica, at=now, counted=counted)
        )
        await trio.sleep(FIRST_PASS_S + 1)
        assert len(database._outcomes) == KEPT / SPAN
        await trio.sleep(KEPT.total_seconds() + INTERVAL_S)
        assert not database._outcomes
        assert not service.logged


async def test_keys_that_were_deleted_before_an_outage_are_told(autojump_clock: MockClock) -> None:
    async with running(autojump_clock, None) as service:
        database = service.database
        creates = [keyed(str(n)) for n in range(PAGE_ROWS + 1)]
        await database.create_keyed(creates, database._now())
        await trio.sleep(IDEMPOTENCY_PERIOD.total_seconds() - 1)
        database.key_failures = [None, StorageUnavailableError("the database is away")]
        await trio.sleep(2 * INTERVAL_S)
        told = [(line["keys"], line["cut_short"]) for line in service.logged]
        assert told == [(PAGE_ROWS, "the database is away"), (1, None)]


async def test_who_asks_it_for_nothing_reads_nothing_of_it(autojump_clock: MockClock) -> None:
    async with running(autojump_clock, None) as service:
        await trio.sleep(3 * INTERVAL_S)
        assert not service.logged


@pytest.mark.parametrize(("days", "status_code"), [(None, 200), (30.0, 404)])
async def test_service_forgets_what_ended_only_if_told_to(
    nursery: trio.Nursery, autojump_clock: MockClock, days: float | None, status_code: int
) -> None:
    assert autojump_clock.autojump_threshold == 0
    settings = Settings(loader_interval_s=3600, cache_window_s=86_400, retention_days=days)
    service = await start_timer_service(nursery, settings=settings)
    wanted = {"delay": "PT1M", "callback_url": "https://shop.example/remind"}
    created = await service.client.post("/timers", json=wanted)
    path = f"/timers/{created.json()['data']['id']}"
    await service.wait_callbacks(1)
    await trio.sleep(timedelta(days=29.9).total_seconds())
    assert (await service.client.get(path)).status_code == 200
    await trio.sleep(timedelta(days=0.3).total_seconds())
    assert (await service.client.get(path)).status_code == status_code
