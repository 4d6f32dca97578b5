from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import pytest
import trio
from structlog.testing import capture_logs

from tests.contract.timers import ALICE, BOB, NOW
from timer_trio.clock import Clock
from timer_trio.domain.destination import (
    RECENT,
    DestinationFacts,
    DestinationNow,
    DestinationQuery,
    DestinationReport,
)
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.outcome import Delivered
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.timer import Destination, Lane, ReplicaId
from timer_trio.storage.memory import MemoryStorage
from timer_trio.telemetry.destinations import INTERVAL_S, MAX_LANES, DestinationReports
from timer_trio.telemetry.metrics import Metrics

A: Final = Destination("https://a.example:443")
SOON_S: Final = INTERVAL_S + 0.1


class Database(MemoryStorage):
    """Storage in memory that keeps what it was told, and may fail or lose its replies."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.told: list[DestinationReport] = []
        self.failures: list[Exception] = []
        self.lost_replies = 0

    async def note_destinations(self, report: DestinationReport) -> None:
        if self.failures:
            raise self.failures.pop()
        self.told.append(report)
        await super().note_destinations(report)
        if self.lost_replies:
            self.lost_replies -= 1
            raise StorageUnavailableError


class Replica:
    """What a replica knows of destinations: `in_hand`, and what `end` has ended."""

    def __init__(self) -> None:
        self.database = Database()
        self.metrics = Metrics()
        self.id = ALICE
        self.in_hand: list[DestinationNow] = []
        self.looks = 0
        clock = Clock(elapsed=trio.current_time)
        clock.take_reading(NOW, trio.current_time())
        self.reports = DestinationReports(
            storage=self.database,
            clock=clock,
            metrics=self.metrics,
            replica=lambda: self.id,
            gauges=self.look,
        )

    def look(self) -> list[DestinationNow]:
        self.looks += 1
        return self.in_hand

    def end(self, *destinations: Destination) -> None:
        ends = [(each, DEFAULT_PROJECT, Delivered(200), 0.01) for each in destinations]
        self.reports.count(ends, NOW)

    async def known(self) -> list[DestinationFacts]:
        query = DestinationQuery(project=DEFAULT_PROJECT, recent_at=NOW - RECENT, limit=10_000)
        return [*(await self.database.destinations(query)).destinations]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.database.join(self.id, NOW)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.reports.run)
            yield
            nursery.cancel_scope.cancel()


@pytest.fixture
async def replica(
    virtual_time: None,  # noqa: ARG001 - it marks the test
) -> Replica:
    return Replica()


async def test_ends_are_written_together_a_few_seconds_later(replica: Replica) -> None:
    async with replica.running():
        for _ in range(3):
            replica.end(A, A)
            await trio.sleep(1)
        assert replica.database.told == []
        await trio.sleep(SOON_S)
        assert len(replica.database.told) == 1
        (facts,) = await replica.known()
        assert facts.ends.delivered == 6


async def test_idle_replica_writes_nothing(replica: Replica) -> None:
    async with replica.running():
        replica.end(A)
        await trio.sleep(SOON_S)
        looks = replica.looks
        await trio.sleep(3_600)
        assert (len(replica.database.told), replica.looks) == (1, looks)


async def test_what_is_in_hand_is_watched_until_it_is_gone(replica: Replica) -> None:
    async with replica.running():
        replica.in_hand = [DestinationNow(Lane(A), 2, 1, NOW)]
        replica.reports.stir()
        await trio.sleep(10 * SOON_S)
        assert await replica.known() == [
            DestinationFacts(destination=A, waiting=2, in_flight=1, breaker_open_until=NOW)
        ]
        assert len(replica.database.told) == 1
        assert replica.metrics.registry.get_sample_value("timer_trio_breaker_open") == 1
        replica.in_hand = []
        await trio.sleep(SOON_S)
        assert await replica.known() == []
        assert replica.metrics.registry.get_sample_value("timer_trio_breaker_open") == 0


async def test_many_lanes_are_written_page_by_page(replica: Replica) -> None:
    many = [Destination(f"https://{number}.example:443") for number in range(2 * MAX_LANES)]
    async with replica.running():
        replica.in_hand = [DestinationNow(Lane(A), 1, 1)]
        replica.end(*many)
        await trio.sleep(2 * SOON_S)
        sizes = [len(each.counted) + len(each.now) for each in replica.database.told]
        assert sizes == [MAX_LANES, MAX_LANES, 1]
        assert len(await replica.known()) == len(many) + 1


@pytest.mark.parametrize("error", [StorageUnavailableError(), ContentionError("held")])
async def test_what_the_database_does_not_take_is_written_later(
    replica: Replica, error: Exception
) -> None:
    replica.database.failures = [error, error]
    with capture_logs() as lines:
        async with replica.running():
            replica.in_hand = [DestinationNow(Lane(A), 1, 0)]
            replica.end(A)
            await trio.sleep(2 * SOON_S)
            assert await replica.known() == []
            replica.end(A)
            await trio.sleep(SOON_S)
            (facts,) = await replica.known()
            assert (facts.waiting, facts.ends.delivered) == (1, 2)
    assert [line["event"] for line in lines] == ["destinations_not_written"] * 2


async def test_failed_write_of_ends_alone_is_made_again(replica: Replica) -> None:
    replica.database.failures = [StorageUnavailableError()]
    async with replica.running():
        replica.end(A)
        await trio.sleep(2 * SOON_S)
        (facts,) = await replica.known()
        assert facts.ends.delivered == 1


async def test_lost_reply_changes_nothing(replica: Replica) -> None:
    replica.database.lost_replies = 1
    async with replica.running():
        replica.in_hand = [DestinationNow(Lane(A), 1, 0)]
        replica.end(A)
        await trio.sleep(SOON_S)
        replica.in_hand = []
        await trio.sleep(SOON_S)
        (facts,) = await replica.known()
        assert (facts.waiting, facts.ends.delivered) == (0, 1)


async def test_replica_that_joins_anew_counts_on_and_tells_again_what_it_has_in_hand(
    replica: Replica,
) -> None:
    async with replica.running():
        replica.in_hand = [DestinationNow(Lane(A), 1, 0)]
        replica.end(A)
        await trio.sleep(SOON_S)
        await replica.database.sweep(ALICE, None, NOW)
        replica.id = BOB
        await replica.database.join(BOB, NOW)
        replica.end(A)
        await trio.sleep(SOON_S)
        (facts,) = await replica.known()
        assert (facts.waiting, facts.ends.delivered) == (1, 2)


async def test_what_is_new_at_the_end_is_written_at_once(replica: Replica) -> None:
    replica.id = ReplicaId(UUID(int=7))
    replica.end(A)
    replica.in_hand = [DestinationNow(Lane(A), 1, 0)]
    await replica.reports.write()
    assert trio.current_time() == 0
    await replica.database.join(replica.id, NOW)
    assert [each.waiting for each in await replica.known()] == [1]
    replica.end(A)
    await replica.reports.write_counts()
    (facts,) = await replica.known()
    assert (facts.waiting, facts.ends.delivered) == (0, 2)
    assert trio.current_time() == 0
