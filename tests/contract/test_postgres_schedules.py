"""What only PostgreSQL has of schedules: rows edited by hand, locks, and the statements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import trio
from psycopg.sql import SQL, Identifier

from tests.contract.timers import ALICE, FIRST, NOW
from tests.schedules import CALENDAR, FIRST_ID, SECOND_ID, schedule_of, schedule_spec
from timer_trio.domain.errors import ContentionError, StorageError
from timer_trio.domain.planning import ended, plan
from timer_trio.domain.query import TimerQuery
from timer_trio.domain.schedule import (
    Overlap,
    Schedule,
    ScheduleId,
    ScheduleQuery,
    UnreadableSchedule,
)
from timer_trio.domain.timer import SHARDS, Status, TimerId
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.queries import QUERIES

Connection = psycopg.Connection[Any]
MINUTE = timedelta(minutes=1)
EVERYWHERE = range(SHARDS)
TEMPLATE = (
    '{"callback_url": %s, "callback_method": "POST", "callback_headers": {}, "timeout_s": 30,'
    ' "delivery": "at_least_once"}'
)


@pytest.fixture
def other(clean_database_url: str) -> Iterator[Connection]:
    """A session in a transaction, whose locks stay until it is rolled back."""
    with psycopg.connect(clean_database_url) as connection:
        yield connection


async def written(
    storage: PostgresStorage, schedule_id: ScheduleId = FIRST_ID, overlap: Overlap = Overlap.SKIP
) -> list[TimerId]:
    made = plan(schedule_of(schedule_spec(overlap=overlap), schedule_id), CALENDAR, NOW)
    await storage.create_schedule(made.schedule, made.occurrences, NOW)
    await storage.join(ALICE, NOW)
    return [each.timer.id for each in made.occurrences]


# --- rows that make no schedule ---------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        ("rule", '{"lunar": 1}'),
        ("rule", '{"every": "often"}'),
        ("template", TEMPLATE % '"nowhere"'),
        ("template", TEMPLATE % "1"),
        ("template", "{}"),
    ],
)
async def test_a_row_that_makes_no_schedule_hurts_no_other(
    postgres: PostgresStorage, sql: Connection, change: tuple[str, str]
) -> None:
    await written(postgres)
    await postgres.create_schedule(schedule_of(schedule_spec(), SECOND_ID), [], NOW)
    column, value = change
    statement = SQL("UPDATE schedules SET {} = %s WHERE id = %s").format(Identifier(column))
    sql.execute(statement, [value, FIRST_ID])
    found = await postgres.due_schedules(EVERYWHERE, NOW + timedelta(days=1), 10)
    (bad,) = [each for each in found if isinstance(each, UnreadableSchedule)]
    assert (bad.id, bad.version) == (FIRST_ID, 1)
    assert [each.id for each in found if isinstance(each, Schedule)] == [SECOND_ID]
    with pytest.raises(StorageError, match=f"the row of schedule {FIRST_ID} makes no schedule: "):
        await postgres.schedule(FIRST_ID)
    page = await postgres.schedules(ScheduleQuery())
    assert [each.id for each in page.schedules] == [SECOND_ID]


# --- locks ------------------------------------------------------------------------------------


async def test_what_a_locked_schedule_keeps_out_is_told_as_locked(
    postgres: PostgresStorage, other: Connection
) -> None:
    first, *_ = await written(postgres)
    free, *_ = await written(postgres, SECOND_ID)
    other.execute("SELECT FROM schedules WHERE id = %s FOR UPDATE", [FIRST_ID])
    now = NOW + MINUTE
    with pytest.raises(ContentionError):
        await postgres.claim_exclusive(ALICE, FIRST, [first, free], now, now)
    reply = await postgres.claim_exclusive(ALICE, FIRST, [first, free], now, now, skip_locked=True)
    assert [each.id for each in reply.claimed] == [free]
    assert ([*reply.locked], [*reply.moved], [*reply.skipped]) == ([first], [], [])
    other.rollback()
    reply = await postgres.claim_exclusive(ALICE, FIRST, [first], now, now)
    assert [each.id for each in reply.claimed] == [first]


async def test_claims_of_what_may_overlap_do_not_wait_for_the_schedule(
    postgres: PostgresStorage, other: Connection
) -> None:
    first, *_ = await written(postgres, overlap=Overlap.ALLOW)
    other.execute("SELECT FROM schedules FOR UPDATE")
    now = NOW + MINUTE
    reply = await postgres.claim_occurrences(ALICE, FIRST, [first], now, now)
    assert [each.id for each in reply.claimed] == [first]


async def test_a_plan_passes_over_what_somebody_locks(
    postgres: PostgresStorage, other: Connection
) -> None:
    plans = []
    for schedule_id in (FIRST_ID, SECOND_ID):
        schedule = schedule_of(schedule_spec(), schedule_id)
        await postgres.create_schedule(schedule, [], NOW)
        plans.append(plan(schedule, CALENDAR, NOW))
    other.execute("SELECT FROM schedules WHERE id = %s FOR UPDATE", [FIRST_ID])
    assert [*await postgres.plan(plans, NOW)] == [False, True]
    other.rollback()
    assert [*await postgres.plan(plans, NOW)] == [True, False]


async def test_a_change_waits_for_what_is_being_claimed_and_leaves_it(
    postgres: PostgresStorage, other: Connection, sql: Connection
) -> None:
    first, second, *_ = await written(postgres)
    other.execute(
        "UPDATE timers SET status = 'executing', due_at = NULL, claim = 1, claimed_by = %s,"
        " attempt = 1 WHERE id = %s",
        [ALICE, first],
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            postgres.change_schedule, FIRST_ID, lambda known, _: ended(known, NOW), NOW
        )
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while sql.execute(waiting).fetchone() == (0,):  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(0.01)
        other.commit()
    assert (await postgres.get(first)).status is Status.EXECUTING
    assert (await postgres.get(second)).status is Status.CANCELED


async def test_what_has_begun_is_not_written_again(
    postgres: PostgresStorage, sql: Connection
) -> None:
    schedule = schedule_of(schedule_spec(overlap=Overlap.ALLOW))
    await postgres.create_schedule(schedule, [], NOW)
    await postgres.join(ALICE, NOW)
    first, second, *_ = plan(schedule, CALENDAR, NOW).occurrences
    await postgres.add_occurrences(FIRST_ID, [first, second], NOW)
    now = NOW + MINUTE
    await postgres.claim_occurrences(ALICE, FIRST, [first.timer.id], now, now)
    later = [replace(each, superseded_at=NOW + 9 * MINUTE) for each in (first, second)]
    assert not await postgres.add_occurrences(FIRST_ID, later, NOW)
    rows = sql.execute("SELECT superseded_at FROM timers ORDER BY occurs_at").fetchall()
    assert rows == [(first.superseded_at,), (NOW + 9 * MINUTE,)]


# --- statements -------------------------------------------------------------------------------


def test_the_claim_of_a_plain_timer_knows_nothing_of_schedules() -> None:
    for query in ("claim", "claim_unlocked", "create", "load", "settle"):
        for column in (b"schedule", b"occurs_at", b"superseded_at", b"may_be_skipped"):
            assert column not in QUERIES[query], query


def test_claims_of_occurrences_return_what_they_are() -> None:
    told = b",\n    taken.schedule_id, taken.occurs_at, taken.is_superseded\nFROM me"
    for query in ("claim_occurrences", "claim_occurrences_unlocked"):
        assert QUERIES[query].count(told) == 1
        assert QUERIES[query].count(b"AS is_superseded") == 1
    for query in ("claim_occurrences_unlocked", "claim_exclusive_unlocked"):
        assert QUERIES[query].count(b"SKIP LOCKED") == QUERIES[query].count(b"FOR NO KEY UPDATE")


async def test_timers_of_a_schedule_are_found_by_their_index(
    postgres: PostgresStorage, sql: Connection
) -> None:
    await written(postgres)
    sql.execute("SET enable_seqscan = off")
    plan_of = sql.execute(
        "EXPLAIN SELECT occurs_at FROM timers WHERE schedule_id = %s AND status = 'pending'"
        " ORDER BY occurs_at DESC LIMIT 1",
        [FIRST_ID],
    ).fetchall()
    assert any("timers_schedule" in line for (line,) in plan_of), plan_of
    found = await postgres.list(TimerQuery(schedule_id=FIRST_ID))
    assert {each.schedule_id for each in found.timers} == {FIRST_ID}
