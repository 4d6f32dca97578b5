"""A page of a bulk action in PostgreSQL: what it reads and locks, and whom it delays."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import trio

from tests.contract.test_storage_bulk import AS_OF, WHEN, asked_for, page_of
from tests.contract.timers import ALICE, NOW, SECOND, SOON, ask, created, new_timer, seconds
from timer_trio.domain import bulk as domain_bulk
from timer_trio.domain.bulk import BulkAction, BulkPage, BulkProgress, BulkReply
from timer_trio.domain.query import TimerQuery
from timer_trio.domain.timer import Status, TimerId
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres import bulk as postgres_bulk
from timer_trio.storage.postgres.bulk import _statement
from timer_trio.threads import run_in_thread

ACTIONS = pytest.mark.parametrize("action", BulkAction)


async def make(storage: PostgresStorage, count: int) -> list[str]:
    timers = [new_timer(created_at=NOW - seconds(count - place)) for place in range(count)]
    await storage.create(timers, NOW)
    return [str(timer.id) for timer in timers]


async def test_page_locks_no_row_beyond_it(
    postgres: PostgresStorage, clean_database_url: str, sql: psycopg.Connection
) -> None:
    ids = await make(postgres, 20)
    page = BulkPage(bulk=asked_for(BulkAction.CANCEL), after=None, size=5, due_at=WHEN)
    with psycopg.connect(clean_database_url) as bulk:
        bulk.execute(_statement(page, WHEN))
        free = sql.execute("SELECT id FROM timers FOR UPDATE SKIP LOCKED").fetchall()
        assert {str(row[0]) for row in free} == set(ids[5:])
        bulk.rollback()


async def test_claim_of_others_goes_on_beside_an_open_page(
    postgres: PostgresStorage, clean_database_url: str
) -> None:
    timers = [new_timer(created_at=NOW - seconds(9 - place)) for place in range(8)]
    await postgres.create(timers, NOW)
    await postgres.join(ALICE, NOW)
    ids = [timer.id for timer in timers]
    page = BulkPage(bulk=asked_for(BulkAction.CANCEL), after=None, size=4, due_at=WHEN)
    with psycopg.connect(clean_database_url) as bulk:
        bulk.execute(_statement(page, WHEN))
        # Waits for no row: neither the others, nor those of the page where it need not.
        reply = await ask(postgres, ids[4:])
        assert {timer.id for timer in reply.claimed} == set(ids[4:])
        skipping = await postgres.claim(ALICE, SECOND, ids[:4], SOON, SOON, skip_locked=True)
        assert (skipping.claimed, set(skipping.locked)) == ([], set(ids[:4]))
        bulk.commit()
    assert (await ask(postgres, ids[:4], claim=SECOND)).claimed == []


async def test_page_waits_for_no_claim(postgres: PostgresStorage, clean_database_url: str) -> None:
    ids = [await created(postgres) for _ in range(4)]
    with psycopg.connect(clean_database_url) as claim:
        claim.execute("SELECT FROM timers WHERE id = ANY(%s) FOR NO KEY UPDATE", [ids[:2]])
        # A wait would end in an error, after the second that a session waits for a lock.
        reply = await page_of(postgres, asked_for(BulkAction.CANCEL))
        assert (reply.matched, reply.done) == (4, 2)
        claim.rollback()


async def test_row_that_changes_between_being_read_and_locked_is_judged_again(
    postgres: PostgresStorage, clean_database_url: str, sql: psycopg.Connection
) -> None:
    """A page reads a timer, which is claimed before it locks it."""
    timer_id = await created(postgres)
    await postgres.join(ALICE, NOW)
    page = BulkPage(bulk=asked_for(BulkAction.CANCEL, as_of=WHEN), after=None, size=4, due_at=WHEN)
    sql.execute("SELECT pg_advisory_lock(7)")
    with psycopg.connect(clean_database_url, autocommit=True) as bulk:
        bulk.execute("SET lock_timeout TO '5s'")
        text = _statement(page, WHEN).as_string(bulk)
        # Stands still once its rows are read.
        waiting = text.replace(
            "FROM looked WHERE matches LIMIT 4",
            "FROM looked WHERE matches AND pg_advisory_lock_shared(7)::text = '' LIMIT 4",
        )
        assert waiting != text
        async with trio.open_nursery() as nursery:
            rows: list[Any] = []
            nursery.start_soon(_run, bulk, waiting, rows)
            await wait_until_waiting(sql)
            assert (await ask(postgres, [timer_id])).claimed
            sql.execute("SELECT pg_advisory_unlock(7)")
    assert rows[0][:2] == (1, 0)
    assert (await postgres.get(timer_id)).status is Status.EXECUTING


async def _run(connection: psycopg.Connection, text: str, rows: list[Any]) -> None:
    rows += await run_in_thread(
        lambda: connection.execute(text.encode()).fetchall(), limiter=trio.CapacityLimiter(1)
    )


async def wait_until_waiting(sql: psycopg.Connection) -> None:
    while not sql.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():  # noqa: ASYNC110 - the database's event
        await trio.sleep(0.01)


async def test_page_reads_on_in_steps_where_little_matches(
    postgres: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_bulk, "LOOK_ROWS", 10)
    await make(postgres, 35)
    last = new_timer(created_at=NOW, metadata={"a": 1})
    await postgres.create([last], NOW)
    bulk = asked_for(BulkAction.CANCEL, wanted=TimerQuery(metadata={"a": [1]}))
    progress, replies = BulkProgress(bulk), []
    while page := progress.next_page(WHEN):
        replies.append(await postgres.bulk(page, WHEN))
        progress.add(replies[-1])
    assert [(reply.matched, reply.next is None) for reply in replies] == [
        *[(0, False)] * 3,
        (1, True),
    ]
    assert (await postgres.get(last.id)).status is Status.CANCELED


async def test_full_page_reads_no_further(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    await make(postgres, 300)
    sql.execute("REINDEX TABLE timers")  # which other tests have left dead entries in
    sql.execute("ANALYZE timers")
    for setting in ("enable_seqscan", "enable_bitmapscan"):
        sql.execute(f"SET {setting} TO off")
    page = BulkPage(bulk=asked_for(BulkAction.CANCEL), after=None, size=5, due_at=WHEN)
    text = _statement(page, WHEN).as_string(sql)
    rows = sql.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {text}").fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "Index Scan using timers_project_created on timers (actual rows=5" in plan.replace(
        ".00", ""
    )
    assert "Seq Scan on timers" not in plan


@ACTIONS
async def test_each_action_is_planned_by_indexes_and_places(
    postgres: PostgresStorage, sql: psycopg.Connection, action: BulkAction
) -> None:
    await make(postgres, 300)
    sql.execute("REINDEX TABLE timers")  # which other tests have left dead entries in
    for setting in ("enable_seqscan", "enable_bitmapscan"):
        sql.execute(f"SET {setting} TO off")
    page = BulkPage(bulk=asked_for(action), after=None, size=500, due_at=WHEN)
    text = _statement(page, WHEN).as_string(sql)
    for statistics in (False, True):
        if statistics:
            sql.execute("ANALYZE timers")
        rows = sql.execute(f"EXPLAIN {text}").fetchall()
        plan = "\n".join(row[0] for row in rows)
        assert "Index Scan using timers_project_created on timers" in plan
        assert "Seq Scan on timers" not in plan
        assert "Index Scan using timers_pkey on timers" not in plan or action is BulkAction.REDRIVE


async def test_sessions_of_the_service_plan_it_so(postgres: PostgresStorage) -> None:
    async def setting(name: str) -> str:
        row = await postgres._bulk.run(
            lambda connection: connection.execute(f"SHOW {name}").fetchone()
        )
        return str((row or {})[name])

    assert await setting("enable_seqscan") == "off"
    assert await setting("enable_bitmapscan") == "off"


async def test_deleted_timers_leave_no_attempts_behind(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    (timer_id, other) = await make(postgres, 2)
    for each in (timer_id, other):
        sql.execute(
            "INSERT INTO attempts (shard, timer_id, attempt, ended_at, outcome)"
            " VALUES (0, %s, 1, %s, 'rejected')",
            [each, NOW],
        )
    sql.execute("UPDATE timers SET status = 'canceled', due_at = NULL WHERE id = %s", [timer_id])
    reply = await page_of(postgres, asked_for(BulkAction.DELETE, as_of=AS_OF))
    assert reply == BulkReply(matched=2, done=1, next=None)
    left = sql.execute("SELECT timer_id FROM attempts").fetchall()
    assert [str(row[0]) for row in left] == [other]


async def test_nothing_is_both_claimed_and_counted_as_canceled(
    postgres: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain_bulk, "PAGE_ROWS", 7)
    timers = [new_timer(created_at=NOW - seconds(place)) for place in range(300)]
    await postgres.create(timers, NOW)
    await postgres.join(ALICE, NOW)
    ids = [timer.id for timer in timers]
    progress = BulkProgress(asked_for(BulkAction.CANCEL))
    taken: set[TimerId] = set()

    async def claim_all() -> None:
        for start in range(0, len(ids), 10):
            some = ids[start : start + 10]
            reply = await postgres.claim(ALICE, SECOND, some, SOON, SOON, skip_locked=True)
            taken.update(timer.id for timer in reply.claimed)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim_all)
        while page := progress.next_page(WHEN):
            progress.add(await postgres.bulk(page, WHEN))
    found = {timer_id: (await postgres.get(timer_id)).status for timer_id in ids}
    canceled = {timer_id for timer_id, status in found.items() if status is Status.CANCELED}
    assert len(canceled) == progress.done
    assert taken == {timer_id for timer_id in ids if found[timer_id] is Status.EXECUTING}
    assert taken
    assert canceled
