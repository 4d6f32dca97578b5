"""The days of the table `attempts`: made ahead, dropped when old, and in nobody's way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import trio

from tests.contract.timers import claimed, created, failed
from tests.roles import documented_role
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.timer import TimerId
from timer_trio.storage.postgres import PostgresStorage

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LONG_AGO = NOON - 100 * DAY


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def storage(database_url: str) -> AsyncIterator[PostgresStorage]:
    with closing(PostgresStorage(database_url, pool_size=2)) as storage:
        yield storage


def partitions(owner: psycopg.Connection) -> list[str]:
    rows = owner.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'attempts'::regclass ORDER BY 1"
    ).fetchall()
    return [name for (name,) in rows]


def places(owner: psycopg.Connection) -> list[str]:
    """The partitions in which there are attempts."""
    rows = owner.execute("SELECT DISTINCT tableoid::regclass::text FROM attempts ORDER BY 1")
    return [name for (name,) in rows.fetchall()]


async def fail_at(storage: PostgresStorage, ended_at: datetime) -> TimerId:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    record = AttemptRecord(attempt=1, started_at=None, ended_at=ended_at, outcome="unknown")
    settlement = replace(failed(timer_id), attempts=(record,))
    assert await storage.settle([settlement], NOON) == [True]
    return timer_id


async def test_today_and_the_next_two_days_are_made_once(
    storage: PostgresStorage, owner: psycopg.Connection
) -> None:
    rotated = await storage.rotate_attempts(NOON, LONG_AGO)
    assert (rotated.made, rotated.dropped, rotated.put_off) == (3, 0, None)
    days = ["attempts_20300101", "attempts_20300102", "attempts_20300103", "attempts_default"]
    assert partitions(owner) == days
    again = await storage.rotate_attempts(NOON, LONG_AGO)
    assert (again.made, again.put_off) == (0, None)
    await fail_at(storage, NOON + DAY)
    assert places(owner) == ["attempts_20300102"]


async def test_what_has_no_day_is_kept_in_the_default_partition(
    storage: PostgresStorage, owner: psycopg.Connection
) -> None:
    timer_id = await fail_at(storage, NOON)
    assert places(owner) == ["attempts_default"]
    rotated = await storage.rotate_attempts(NOON, LONG_AGO)
    assert (rotated.made, rotated.put_off) == (2, "the default partition has rows of that day")
    assert len(await storage.attempts(timer_id)) == 1


async def test_a_day_is_dropped_once_all_of_it_is_old(
    storage: PostgresStorage, owner: psycopg.Connection
) -> None:
    await storage.rotate_attempts(NOON, LONG_AGO)
    timer_id = await fail_at(storage, NOON)
    midnight = NOON.replace(hour=0) + DAY
    early = await storage.rotate_attempts(NOON, midnight - timedelta(microseconds=1))
    assert early.dropped == 0
    rotated = await storage.rotate_attempts(NOON + DAY, midnight)
    assert (rotated.dropped, rotated.put_off) == (1, None)
    assert "attempts_20300101" not in partitions(owner)
    assert await storage.attempts(timer_id) == []


async def test_no_settlement_waits_for_a_day_to_be_dropped(
    storage: PostgresStorage, owner: psycopg.Connection
) -> None:
    await storage.rotate_attempts(NOON, LONG_AGO)
    with owner.transaction():
        owner.execute("SELECT FROM attempts")
        began_s = trio.current_time()
        rotated = await storage.rotate_attempts(NOON, NOON + 2 * DAY)
        assert (rotated.dropped, rotated.put_off) == (0, "somebody uses the table")
        await fail_at(storage, NOON)
        assert trio.current_time() - began_s < 1
    assert (await storage.rotate_attempts(NOON, NOON + 2 * DAY)).put_off is None


async def test_role_that_may_make_no_table_keeps_attempts_all_the_same(
    database_url: str, owner: psycopg.Connection
) -> None:
    with (
        documented_role(database_url, "timers_serve") as url,
        closing(PostgresStorage(url, pool_size=2)) as storage,
    ):
        rotated = await storage.rotate_attempts(NOON, LONG_AGO)
        assert rotated.made == 0
        assert "permission denied" in str(rotated.put_off)
        timer_id = await fail_at(storage, NOON)
        assert len(await storage.attempts(timer_id)) == 1
        assert await storage.prune_attempts(NOON + DAY, 10) == 1
        assert places(owner) == []


async def test_two_replicas_at_once_do_no_harm(
    storage: PostgresStorage, database_url: str, owner: psycopg.Connection
) -> None:
    with closing(PostgresStorage(database_url, pool_size=2)) as other:
        async with trio.open_nursery() as nursery:
            for each in (storage, other):
                nursery.start_soon(each.rotate_attempts, NOON, LONG_AGO)
    await storage.rotate_attempts(NOON, LONG_AGO)
    assert len(partitions(owner)) == 4
