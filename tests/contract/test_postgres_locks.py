"""Who locks our rows is named in the log, as far as the role may see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from structlog.testing import capture_logs

from tests.contract.timers import ALICE, FIRST, NOW, SOON, created, new_timer
from timer_trio.domain.errors import ContentionError
from timer_trio.domain.timer import TimerId
from timer_trio.storage import ClaimReply
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.locks import SPELL_S

Connection = psycopg.Connection[Any]
LOCK = "SELECT FROM timers WHERE id = %s FOR UPDATE"


@pytest.fixture
def psql(clean_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    monkeypatch.setattr("timer_trio.storage.postgres.locks.HELD_S", 0.0)
    monkeypatch.setattr("timer_trio.storage.postgres.locks.LOOK_S", 0.0)
    conninfo = make_conninfo(clean_database_url, application_name="psql")
    with psycopg.connect(conninfo) as connection:
        yield connection


async def skipping(storage: PostgresStorage, *timer_ids: TimerId) -> ClaimReply:
    return await storage.claim(ALICE, FIRST, timer_ids, SOON, SOON, skip_locked=True)


async def test_the_session_that_locks_a_row_is_named_once(
    postgres: PostgresStorage, psql: Connection
) -> None:
    await postgres.join(ALICE, NOW)
    timer_id = await created(postgres)
    psql.execute(LOCK, [timer_id])
    with capture_logs() as lines:
        for _ in range(3):
            await skipping(postgres, timer_id)
    (line,) = [line for line in lines if line["event"] == "rows_locked"]
    (holder,) = line["holders"]
    assert (line["verb"], line["rows"], line["timer_id"]) == ("claim", 1, str(timer_id))
    assert (holder["pid"], holder["application_name"]) == (psql.info.backend_pid, "psql")
    assert holder["state"] == "idle in transaction"
    assert {"user", "since", "mode"} <= holder.keys()
    assert "SELECT" not in str(line)


async def test_a_new_spell_is_told_anew(postgres: PostgresStorage, psql: Connection) -> None:
    await postgres.join(ALICE, NOW)
    timer_id = await created(postgres)
    psql.execute(LOCK, [timer_id])
    with capture_logs() as lines:
        for _ in range(2):
            await skipping(postgres, timer_id)
            postgres._locks._noticed_s -= SPELL_S
    assert [line["event"] for line in lines].count("rows_locked") == 2


@pytest.mark.parametrize("verb", ["create", "create_many", "claim", "beat", "cancel"])
async def test_whoever_locks_a_table_is_named_whatever_waits_for_it(
    postgres: PostgresStorage, psql: Connection, verb: str
) -> None:
    timer = new_timer()
    await postgres.create([timer], NOW)
    await postgres.join(ALICE, NOW)
    psql.execute("LOCK TABLE timers, replicas")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "create": lambda: postgres.create([new_timer()], NOW),
        "create_many": lambda: postgres.create_many([new_timer()], NOW),
        "claim": lambda: skipping(postgres, timer.id),
        "beat": lambda: postgres.beat(ALICE),
        "cancel": lambda: postgres.cancel(timer.id, NOW),
    }
    with capture_logs() as lines, pytest.raises(ContentionError):
        await calls[verb]()
    (line,) = [line for line in lines if line["event"] == "rows_locked"]
    assert line["verb"] == verb
    assert line["holders"][0]["mode"] == "AccessExclusiveLock"


async def test_a_locked_row_of_a_replica_is_told_of_its_beat(
    postgres: PostgresStorage, psql: Connection
) -> None:
    await postgres.join(ALICE, NOW)
    psql.execute("SELECT FROM replicas FOR UPDATE")
    with capture_logs() as lines, pytest.raises(ContentionError):
        await postgres.beat(ALICE)
    assert [line["verb"] for line in lines if line["event"] == "rows_locked"] == ["beat"]


async def test_a_role_that_may_not_see_others_goes_on_all_the_same(
    clean_database_url: str, psql: Connection
) -> None:
    with psycopg.connect(clean_database_url, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS modest")
        owner.execute("CREATE ROLE modest LOGIN")
        owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON timers, replicas TO modest")
        try:
            url = make_conninfo(clean_database_url, user="modest")
            with closing(PostgresStorage(url, pool_size=1)) as storage:
                await storage.join(ALICE, NOW)
                timer_id = await created(storage)
                psql.execute(LOCK, [timer_id])
                with capture_logs() as lines:
                    assert (await skipping(storage, timer_id)).locked == [timer_id]
            (line,) = [line for line in lines if line["event"] == "rows_locked"]
            assert line["holders"][0]["pid"] == psql.info.backend_pid
            assert "state" not in line["holders"][0]
        finally:
            psql.rollback()
            owner.execute("DROP OWNED BY modest")
            owner.execute("DROP ROLE modest")


async def test_a_look_that_fails_stops_nobody(
    postgres: PostgresStorage, psql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "timer_trio.storage.postgres.locks.QUERIES", {"lock_holders": b"SELECT 1 FROM nothing"}
    )
    await postgres.join(ALICE, NOW)
    locked, free = await created(postgres), await created(postgres)
    psql.execute(LOCK, [locked])
    reply = await skipping(postgres, locked, free)
    assert [timer.id for timer in reply.claimed] == [free]
