"""Timers in partitions: each of them has the same places, so a place alone names no row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from tests.contract.test_storage_bulk import AS_OF, WHEN, asked_for
from tests.contract.timers import LATER, NOW, new_timer
from timer_trio.domain.bulk import BulkAction, BulkPage
from timer_trio.domain.errors import TimerNotFoundError
from timer_trio.domain.timer import Status, TimerId
from timer_trio.storage.postgres import PostgresStorage


@pytest.fixture
def partitioned(clean_partitioned_url: str) -> Iterator[PostgresStorage]:
    """With no row where there were some: what comes is at the first places again."""
    with psycopg.connect(clean_partitioned_url, autocommit=True) as owner:
        owner.execute("TRUNCATE timers")
    with closing(PostgresStorage(clean_partitioned_url, pool_size=4)) as storage:
        yield storage


async def two_at_one_place(storage: PostgresStorage, *, ends: bool = False) -> list[TimerId]:
    """Create a timer in each partition, as its first row; answers with theirs ids, low and high."""
    low, high = new_timer(shard=0), new_timer(shard=200)
    await storage.create([low, high], NOW)
    if ends:
        await storage.cancel(low.id, NOW)
        # A change makes a new row, in the next place: so it is the same again.
        await storage.update(high.id, {"metadata": {}}, LATER)
    return [low.id, high.id]


async def statuses(storage: PostgresStorage, timer_ids: list[TimerId]) -> list[Status | None]:
    async def status(timer_id: TimerId) -> Status | None:
        try:
            return (await storage.get(timer_id)).status
        except TimerNotFoundError:
            return None

    return [await status(timer_id) for timer_id in timer_ids]


async def test_prune_takes_nothing_that_lives(partitioned: PostgresStorage) -> None:
    timer_ids = await two_at_one_place(partitioned, ends=True)
    assert (await partitioned.prune(LATER, None, 10)).count == 1
    assert await statuses(partitioned, timer_ids) == [None, Status.PENDING]


@pytest.mark.parametrize(
    ("action", "becomes"),
    [(BulkAction.CANCEL, Status.CANCELED), (BulkAction.DELETE, None)],
)
async def test_bulk_action_takes_nothing_beyond_its_page(
    partitioned: PostgresStorage, action: BulkAction, becomes: Status | None
) -> None:
    timer_ids = await two_at_one_place(partitioned)
    if action is BulkAction.DELETE:
        for timer_id in timer_ids:
            await partitioned.cancel(timer_id, NOW)
    before = (await statuses(partitioned, timer_ids))[0]
    page = BulkPage(bulk=asked_for(action), after=None, size=1, due_at=WHEN)
    assert (await partitioned.bulk(page, AS_OF)).done == 1
    assert sorted(map(str, await statuses(partitioned, timer_ids))) == sorted(
        [str(becomes), str(before)]
    )
