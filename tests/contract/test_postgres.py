"""What only the storage in PostgreSQL can meet: hand-edited rows, lost sessions, settings."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg.conninfo import make_conninfo

from tests.contract.timers import ALICE, NOW, SOON, ask, created, failed
from timer_trio.domain.errors import StorageError, StorageUnavailableError
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.query import TimerQuery
from timer_trio.domain.settlement import unreadable
from timer_trio.domain.timer import Claim, Status
from timer_trio.embedded.postgres_server import PostgresServer
from timer_trio.storage import Beat
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage, connections
from timer_trio.storage.postgres.connections import Connections
from timer_trio.storage.postgres.dialing import Dialer

SEALED = [
    "callback_payload = 'fernet:gAAAAA'",
    """callback_headers = '{"encrypted:": "fernet:"}'""",
    """callback_headers = '{"encrypted:": "nonsense"}'""",
    """on_failed = '{"url": "https://example.org/", "headers": {"encrypted:": "[1]"}}'""",
]
DAMAGE = [
    ("callback_url = 'nonsense'", "its callback_url is no URL that can be called"),
    ("callback_url = 'http://a:b'", "its callback_url is no URL that can be called"),
    ("""callback_headers = '{"a": 1}'""", "its callback_headers hold something else than text"),
    ("callback_headers = ('{' || repeat('\"a\":{', 5000) || repeat('}', 5001))::json", ""),
    (
        "metadata = jsonb_build_object('n', repeat('9', 5000)::numeric)",
        "its metadata cannot be read",
    ),
    *((damage, "add that key to ENCRYPTION_KEYS") for damage in SEALED),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE)
async def test_a_damaged_row_fails_alone(
    postgres: PostgresStorage, sql: psycopg.Connection, damage: str, words: str
) -> None:
    await postgres.join(ALICE, NOW)
    first, bad, last = [await created(postgres) for _ in range(3)]
    sql.execute(f"UPDATE timers SET {damage} WHERE id = %s", [bad])  # noqa: S608 - from the table above
    reply = await ask(postgres, [first, bad, last], claim=Claim(9))
    assert sorted(timer.id for timer in reply.claimed) == sorted([first, last])
    assert list(reply.unreadable) == [bad]
    assert words in reply.unreadable[bad]
    again = await ask(postgres, [first, bad, last], claim=Claim(9))
    assert again.unreadable == reply.unreadable
    settlement = unreadable(bad, Claim(9), reply.unreadable[bad])
    assert await postgres.settle([settlement], SOON) == [True]
    if damage not in SEALED:
        with pytest.raises(StorageError, match=str(bad)):
            await postgres.get(bad)
    page = await postgres.list(TimerQuery())
    assert {timer.id: timer.status for timer in page.timers}[bad] is Status.FAILED


async def test_attempts_before_a_settled_one_are_not_unknown(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    await postgres.join(ALICE, NOW)
    timer_id = await created(postgres)
    await ask(postgres, [timer_id])
    await postgres.settle([failed(timer_id)], SOON)
    sql.execute("UPDATE timers SET status = 'pending', claim = -claim, due_at = execute_at")
    (timer,) = (await ask(postgres, [timer_id], claim=Claim(9))).claimed
    assert (timer.attempt, timer.unknown_attempts) == (2, 0)


async def test_attempts_of_a_release_that_settles_none_of_them_are_unknown(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    """0.1.0 writes `attempt` alone, also beside this release."""
    await postgres.join(ALICE, NOW)
    timer_id = await created(postgres)
    await ask(postgres, [timer_id])
    sql.execute(
        "UPDATE timers SET claimed_by = NULL, due_at = execute_at, claim = 7, attempt = attempt + 1"
    )
    (timer,) = (await ask(postgres, [timer_id], claim=Claim(9))).claimed
    assert (timer.attempt, timer.unknown_attempts) == (3, 2)


@pytest.mark.parametrize(
    "impossible",
    [
        "due_at = NULL",
        "status = 'completed'",
        "status = 'waiting'",
        "claimed_by = id",
        "shard = 1",
        "execute_at = 'infinity', due_at = 'infinity'",
        "updated_at = '0044-03-15 BC'",
        "timeout_s = 'NaN'",
        "metadata = '[]'",
        "callback_headers = '[]'",
        "claim = 7",
        "attempt = -1",
    ],
)
async def test_the_table_refuses_impossible_rows(
    postgres: PostgresStorage, sql: psycopg.Connection, impossible: str
) -> None:
    await created(postgres)
    with pytest.raises(psycopg.errors.CheckViolation):
        sql.execute(f"UPDATE timers SET {impossible}")  # noqa: S608 - from the list above


async def test_sessions_that_the_server_ended_are_not_used_again(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    await postgres.join(ALICE, NOW)
    timer_id = await created(postgres)
    await postgres.get(timer_id)
    sql.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'timer-trio' AND datname = current_database()"
    )
    assert (await postgres.get(timer_id)).status is Status.PENDING
    assert len((await ask(postgres, [timer_id])).claimed) == 1
    assert (await postgres.beat(ALICE)).counters[ALICE] == 1


async def test_heartbeat_stages_and_api_have_sessions_of_their_own(database_url: str) -> None:
    with closing(PostgresStorage(database_url, pool_size=4)) as storage:
        await storage.beat(ALICE)
        await created(storage)
        await storage.list(TimerQuery())
        with psycopg.connect(database_url) as connection:
            names = connection.execute(
                "SELECT application_name FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchall()
    assert names == [("timer-trio",)] * 3


async def test_an_unreachable_database_is_said_in_words_without_the_password() -> None:
    url = "postgresql://me:s3cret@127.0.0.1:1/timers"
    with (
        closing(PostgresStorage(url, pool_size=1)) as storage,
        pytest.raises(StorageUnavailableError, match="refused") as failure,
    ):
        await storage.beat(ALICE)
    assert "s3cret" not in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_wrong_url_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="not a PostgreSQL connection string") as refusal:
        PostgresStorage("postgresql://me:s3cret@host:port:nonsense/x?y=z", pool_size=1)
    assert refusal.value.__cause__ is None


async def test_a_server_that_may_forget_is_warned_of(
    clean_database_url: str, postgres: PostgresStorage
) -> None:
    assert not postgres.durability_warnings()
    await postgres.beat(ALICE)
    assert not postgres.durability_warnings()
    careless = make_conninfo(clean_database_url, options="-c synchronous_commit=off")
    with closing(PostgresStorage(careless, pool_size=1)) as storage:
        await storage.beat(ALICE)
        (warning,) = storage.durability_warnings()
    assert "synchronous_commit" in warning


async def test_a_caller_waits_only_so_long_for_a_connection(
    clean_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WAIT_S", 0.02)
    few = Connections(
        Dialer(connections.bounded(clean_database_url)),
        size=1,
        settings={},
        on_connect=lambda _: None,
    )
    is_taken, may_end = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def hold(_: object) -> None:
        token.run_sync_soon(is_taken.set)
        may_end.wait(5)

    with closing(few):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(few.run, hold)
            await is_taken.wait()
            with pytest.raises(StorageUnavailableError, match="free"):
                await few.run(hold)
            may_end.set()


async def test_a_reader_of_a_standby_is_told_that_the_database_is_away(
    clean_database_url: str, postgres: PostgresStorage
) -> None:
    standby = make_conninfo(clean_database_url, options="-c default_transaction_read_only=on")
    with (
        closing(PostgresStorage(standby, pool_size=1)) as storage,
        pytest.raises(StorageUnavailableError),
    ):
        await storage.join(ALICE, NOW)
    await postgres.join(ALICE, NOW)


async def test_the_storage_serves_again_as_soon_as_the_server_does(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "data")
    url = await server.start()
    await migrate_database(url)
    with closing(PostgresStorage(url, pool_size=2)) as storage:
        await storage.join(ALICE, NOW)
        timer_id = await created(storage)
        await server.stop()
        for _ in range(20):
            with pytest.raises(StorageUnavailableError):
                await storage.beat(ALICE)
            with pytest.raises(StorageUnavailableError):
                await storage.get(timer_id)
        await server.start()
        assert (await storage.beat(ALICE)).counters[ALICE] == 1
        assert (await storage.get(timer_id)).id == timer_id
    await server.stop()


async def test_rules_whose_version_somebody_has_deleted_are_read_all_the_same(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    await postgres.pause_project(DEFAULT_PROJECT, NOW)
    flow = FlowId(DEFAULT_PROJECT, FlowKey("a"))
    with sql.transaction(force_rollback=False):
        (version,) = sql.execute("DELETE FROM rule_changes RETURNING version").fetchone() or (1,)
    try:
        assert (await postgres.beat(ALICE)).rules_version == 0
        changes = await postgres.rules_since(0)
        assert (changes.version, [each.pause.paused_at for each in changes.projects]) == (0, [NOW])
        assert (await postgres.flow_readings([flow], NOW)).version == 0
    finally:
        sql.execute("INSERT INTO rule_changes VALUES (%s)", [version])


async def test_a_heartbeat_reads_the_clock_as_it_begins(
    postgres: PostgresStorage, clean_database_url: str, sql: psycopg.Connection
) -> None:
    await postgres.join(ALICE, NOW)
    beats: list[Beat] = []

    async def beat() -> None:
        beats.append(await postgres.beat(ALICE))

    async with trio.open_nursery() as nursery:
        with psycopg.connect(clean_database_url) as other:
            other.execute("SELECT FROM replicas FOR UPDATE")
            nursery.start_soon(beat)
            waits = "SELECT FROM pg_locks WHERE NOT granted"
            while sql.execute(waits).fetchone() is None:  # noqa: ASYNC110 - a probe
                await trio.sleep(0.001)
            (while_it_waits,) = sql.execute("SELECT clock_timestamp()").fetchone() or (NOW,)
    assert beats[0].now < while_it_waits
