"""What a replica is said to hold, and the freeing of what it knows nothing of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from tests.contract.conftest import Stranger
from tests.contract.timers import (
    ALICE,
    BOB,
    FIRST,
    LATER,
    NOW,
    SECOND,
    SOON,
    ask,
    claimed,
    claimed_in_flow,
    completed,
    created,
    due,
    given_back,
    new_timer,
    retried,
    seconds,
)
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.settlement import Settlement
from timer_trio.domain.timer import DueTimer, Lane, Status, TimerId
from timer_trio.storage import HeldClaim, Storage
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.queries import QUERIES

THEN = SOON + seconds(1)


async def held(storage: Storage) -> list[HeldClaim]:
    """All that Alice holds."""
    return [*await storage.held_claims(ALICE, None, 100)]


async def test_a_replica_holds_what_it_claims_until_that_is_settled(storage: Storage) -> None:
    mine, settled, back, bobs, pending = [await created(storage) for _ in range(5)]
    await storage.join(ALICE, NOW)
    await storage.join(BOB, NOW)
    await ask(storage, [mine, settled, back])
    await ask(storage, [bobs], BOB, SECOND)
    await storage.settle([completed(settled), given_back(back)], SOON)
    assert await held(storage) == [(mine, FIRST)]
    assert await due(storage) == sorted([back, pending])


async def test_what_is_held_is_read_page_by_page_in_the_order_of_ids(storage: Storage) -> None:
    timers = [new_timer(shard=shard) for shard in (9, 0, 3)]
    timer_ids = [timer.id for timer in timers]
    await storage.create(timers, NOW)
    await storage.join(ALICE, NOW)
    await ask(storage, timer_ids)
    first = await storage.held_claims(ALICE, None, 2)
    rest = await storage.held_claims(ALICE, first[-1].timer_id, 2)
    assert [one.timer_id for one in (*first, *rest)] == sorted(timer_ids)
    assert (len(first), len(rest)) == (2, 1)
    assert await storage.held_claims(ALICE, rest[-1].timer_id, 2) == []


async def test_what_is_freed_is_due_at_once_and_its_outcome_is_unknown(storage: Storage) -> None:
    timer_id, other = await created(storage), await created(storage)
    timer = await claimed(storage, timer_id)
    await ask(storage, [other], claim=SECOND)
    freed = await storage.free(ALICE, [HeldClaim(timer_id, FIRST)], SOON)
    lane = Lane(timer.spec.callback.url.destination)
    assert list(freed) == [DueTimer(SOON, timer_id, lane)]
    assert await held(storage) == [(other, SECOND)]
    assert await due(storage) == [timer_id]
    assert (await storage.get(timer_id)).status is Status.EXECUTING
    again = await claimed(storage, timer_id, BOB, SECOND)
    assert (again.attempt, again.unknown_attempts) == (2, 1)


async def test_what_is_freed_of_a_flow_is_due_before_what_waits_behind_it(
    storage: Storage,
) -> None:
    timer = replace(new_timer(), flow_key=FlowKey("f"))
    await storage.create([timer], NOW)
    await claimed_in_flow(storage, timer.id)
    (freed,) = await storage.free(ALICE, [HeldClaim(timer.id, FIRST)], THEN)
    assert (freed.due_at, freed.flow_key) == (NOW, "f")


@pytest.mark.parametrize("settle", [completed, given_back, retried])
async def test_what_was_settled_meanwhile_is_not_freed(
    storage: Storage, settle: Callable[[TimerId], Settlement]
) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([settle(timer_id)], SOON)
    before = await storage.get(timer_id)
    assert await storage.free(ALICE, [HeldClaim(timer_id, FIRST)], THEN) == []
    assert await storage.get(timer_id) == before


async def test_what_somebody_holds_under_another_claim_is_not_freed(storage: Storage) -> None:
    anew, bobs = await created(storage), await created(storage)
    await storage.join(ALICE, NOW)
    await storage.join(BOB, NOW)
    await ask(storage, [anew], claim=SECOND)
    await ask(storage, [bobs], BOB, FIRST)
    asked = [HeldClaim(anew, FIRST), HeldClaim(bobs, FIRST), HeldClaim(new_timer().id, FIRST)]
    assert await storage.free(ALICE, asked, THEN) == []
    assert await due(storage) == []


async def test_a_settlement_that_comes_late_still_ends_what_was_freed(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.free(ALICE, [HeldClaim(timer_id, FIRST)], THEN)
    assert await storage.settle([completed(timer_id)], LATER) == [True]
    assert (await storage.get(timer_id)).status is Status.COMPLETED
    assert await due(storage) == []


async def test_what_somebody_locks_is_left_for_the_next_time(
    storage: Storage, stranger: Stranger
) -> None:
    locked, free = await created(storage), await created(storage)
    await storage.join(ALICE, NOW)
    await ask(storage, [locked, free])
    asked = [HeldClaim(locked, FIRST), HeldClaim(free, FIRST)]
    stranger.lock([locked])
    assert [one.id for one in await storage.free(ALICE, asked, THEN)] == [free]
    assert await held(storage) == [(locked, FIRST)]
    stranger.unlock()
    assert [one.id for one in await storage.free(ALICE, asked, THEN)] == [locked]


async def test_what_is_held_is_found_by_its_index_whatever_the_statistics_say(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    await postgres.create([new_timer() for _ in range(500)], NOW)
    asked = {"replica": ALICE, "behind": new_timer().id, "limit": 1_000}
    for statistics in ("", "ANALYZE timers"):
        sql.execute(statistics)
        rows = await postgres._stages.run(
            lambda connection: connection.execute(
                b"EXPLAIN " + QUERIES["held_claims"], asked, prepare=False
            ).fetchall()
        )
        plan = "\n".join(row["QUERY PLAN"] for row in rows)
        assert "timers_claimed_by" in plan, plan
