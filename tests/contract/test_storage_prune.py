"""What ended before the cutoff goes, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

import psycopg
import pytest

from tests.contract.timers import (
    ALICE,
    EPOCH,
    FIRST,
    LATER,
    NOW,
    SOON,
    ask,
    claimed,
    completed,
    created,
    due,
    failed,
    given_back,
    new_timer,
    seconds,
)
from timer_trio.domain.errors import TimerNotFoundError
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.query import Position, TimerQuery
from timer_trio.domain.timer import NewTimer, Status, TimerId
from timer_trio.storage import Pruned, Storage
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.storage.postgres.retention import _TURN, prune_all
from timer_trio.storage.protocols import PrunePosition

INSTANT = seconds(0.000001)
NOTHING_MORE = Pruned(count=0, next=None)


async def is_there(storage: Storage, timer_id: TimerId) -> bool:
    try:
        await storage.get(timer_id)
    except TimerNotFoundError:
        return False
    return True


async def canceled(storage: Storage, at: datetime = NOW) -> TimerId:
    timer_id = await created(storage)
    await storage.cancel(timer_id, at)
    return timer_id


async def canceled_one_a_second(storage: Storage, count: int) -> Sequence[TimerId]:
    """Make timers that were created one a second before NOW, the oldest first, and all ended."""
    timers = [new_timer(created_at=NOW - seconds(count - index)) for index in range(count)]
    return await canceled_all(storage, timers)


async def canceled_all(storage: Storage, timers: Sequence[NewTimer]) -> Sequence[TimerId]:
    await storage.create(timers, NOW)
    for timer in timers:
        await storage.cancel(timer.id, NOW)
    return [timer.id for timer in timers]


async def test_each_kind_of_end_is_pruned(storage: Storage) -> None:
    done, broken = await created(storage), await created(storage)
    await claimed(storage, done)
    await claimed(storage, broken)
    await storage.settle([completed(done), failed(broken)], SOON)
    ended = [done, broken, await canceled(storage)]
    assert await storage.prune(LATER, None, 10) == Pruned(count=3, next=None)
    assert [await is_there(storage, timer_id) for timer_id in ended] == [False] * 3


async def test_what_has_not_ended_stays_however_old_it_is(storage: Storage) -> None:
    overdue, executing, returned, unknown = stays = [await created(storage) for _ in range(4)]
    for timer_id in (executing, returned, unknown):
        await claimed(storage, timer_id)
    await storage.settle([given_back(returned)], SOON)
    await storage.sweep(ALICE, None, SOON)
    await claimed(storage, executing)
    before = [await storage.get(timer_id) for timer_id in stays]
    assert await storage.prune(LATER, None, 10) == NOTHING_MORE
    assert [await storage.get(timer_id) for timer_id in stays] == before
    assert sorted(await due(storage)) == sorted([overdue, returned, unknown])


async def test_an_age_counts_from_the_end_and_not_from_the_creation(storage: Storage) -> None:
    timer_id = await canceled(storage, at=LATER)
    assert await storage.prune(LATER, None, 10) == NOTHING_MORE
    assert await is_there(storage, timer_id)
    assert (await storage.prune(LATER + INSTANT, None, 10)).count == 1
    assert not await is_there(storage, timer_id)


def _behind(instant: datetime, timer_id: TimerId) -> PrunePosition:
    return PrunePosition(DEFAULT_PROJECT, Position(instant, timer_id))


async def test_what_was_created_at_the_cutoff_is_not_looked_at(storage: Storage) -> None:
    await canceled(storage)
    assert await storage.prune(NOW, None, 1) == NOTHING_MORE
    assert (await storage.prune(NOW + INSTANT, None, 1)).count == 1


async def test_pages_go_from_the_oldest_on_and_each_looks_at_so_many(storage: Storage) -> None:
    timer_ids = await canceled_one_a_second(storage, 5)
    first = await storage.prune(LATER, None, 2)
    assert first == Pruned(count=2, next=_behind(NOW - seconds(4), timer_ids[1]))
    assert [await is_there(storage, timer_id) for timer_id in timer_ids] == [False] * 2 + [True] * 3
    second = await storage.prune(LATER, first.next, 2)
    assert second == Pruned(count=2, next=_behind(NOW - seconds(2), timer_ids[3]))
    assert await storage.prune(LATER, second.next, 2) == Pruned(count=1, next=None)
    assert (await storage.list(TimerQuery())).total == 0


async def test_a_page_full_of_what_stays_is_passed_by(storage: Storage) -> None:
    await storage.create([new_timer(created_at=NOW - seconds(1)) for _ in range(2)], NOW)
    last = await canceled(storage)
    page = await storage.prune(LATER, None, 2)
    assert page.count == 0
    assert page.next is not None
    assert (await storage.prune(LATER, page.next, 2)).count == 1
    assert not await is_there(storage, last)


async def test_pages_part_timers_of_one_instant_by_their_ids(storage: Storage) -> None:
    timer_ids = sorted(await canceled_all(storage, [new_timer() for _ in range(7)]))
    first = await storage.prune(LATER, None, 3)
    second = await storage.prune(LATER, first.next, 3)
    assert first == Pruned(count=3, next=_behind(NOW, timer_ids[2]))
    assert second == Pruned(count=3, next=_behind(NOW, timer_ids[5]))
    assert await storage.prune(LATER, second.next, 3) == Pruned(count=1, next=None)


async def test_a_full_last_page_is_followed_by_an_empty_one(storage: Storage) -> None:
    await canceled_one_a_second(storage, 2)
    page = await storage.prune(LATER, None, 2)
    assert (page.count, page.next is None) == (2, False)
    assert await storage.prune(LATER, page.next, 2) == NOTHING_MORE


async def test_a_claim_that_asks_for_a_pruned_timer_goes_on(storage: Storage) -> None:
    gone, there = await canceled(storage), await created(storage)
    await storage.prune(LATER, None, 10)
    await storage.join(ALICE, NOW)
    reply = await ask(storage, [gone, there])
    assert [timer.id for timer in reply.claimed] == [there]
    assert await storage.settle([completed(gone, FIRST)], SOON) == [False]


@pytest.fixture
def other(clean_database_url: str) -> Iterator[psycopg.Connection]:
    """A stranger's session, whose transactions stay open until they are told."""
    with psycopg.connect(clean_database_url) as connection:
        yield connection


async def test_a_row_that_somebody_holds_is_left_for_another_time(
    postgres: PostgresStorage, other: psycopg.Connection
) -> None:
    first, held, last = await canceled_one_a_second(postgres, 3)
    with other.transaction():
        other.execute("SELECT FROM timers WHERE id = %s FOR UPDATE", [held])
        assert await postgres.prune(LATER, None, 10) == Pruned(count=2, next=None)
    assert [await is_there(postgres, i) for i in (first, held, last)] == [False, True, False]
    assert (await postgres.prune(LATER, None, 10)).count == 1


async def test_a_timer_that_ends_meanwhile_is_left_for_another_time(
    postgres: PostgresStorage, other: psycopg.Connection
) -> None:
    timer_id = await created(postgres)
    with other.transaction():
        other.execute(
            "UPDATE timers SET status = 'canceled', due_at = NULL, updated_at = %s WHERE id = %s",
            [SOON, timer_id],
        )
        assert await postgres.prune(LATER, None, 10) == NOTHING_MORE
    assert (await postgres.get(timer_id)).status is Status.CANCELED
    assert (await postgres.prune(LATER, None, 10)).count == 1


async def test_who_finds_another_one_pruning_gives_up(
    postgres: PostgresStorage, other: psycopg.Connection
) -> None:
    await canceled_one_a_second(postgres, 2)
    with other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(%s)", [_TURN])
        assert await postgres.prune(LATER, None, 1) == NOTHING_MORE
    assert (await postgres.prune(LATER, None, 1)).count == 1


async def test_who_prunes_by_hand_waits_for_no_turn(
    postgres: PostgresStorage, other: psycopg.Connection, sql: psycopg.Connection
) -> None:
    await canceled_one_a_second(postgres, 2)
    with other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(%s)", [_TURN])
        assert list(prune_all(sql, LATER)) == [2]


async def test_a_page_is_read_by_the_index_whatever_the_statistics_say(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    # Other tests have left indexes of different sizes, between which a plan for 30 rows chooses.
    sql.execute("TRUNCATE timers")
    await canceled_one_a_second(postgres, 30)
    parameters = {
        "turn": 1,
        "cutoff": LATER,
        "project": 0,
        "instant": EPOCH,
        "id": UUID(int=0),
        "limit": 20,
    }
    for statistics in ("", "ANALYZE timers"):
        sql.execute(statistics)
        rows = await postgres._stages.run(
            lambda connection: connection.execute(
                b"EXPLAIN " + QUERIES["prune"], parameters
            ).fetchall()
        )
        plan = "\n".join(row["QUERY PLAN"] for row in rows)
        assert re.findall(r"(\w+ Scan)(?: using (\w+))? on timers", plan)[:3] == [
            ("Index Scan", "timers_project_created"),
            ("Tid Scan", ""),
            ("Tid Scan", ""),
        ]
        assert "Seq Scan" not in plan
