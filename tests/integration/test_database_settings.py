"""Settings of a role or a database, and rights, under which the service must mean the same."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from tests.command import run_command
from tests.contract.timers import ALICE, LATER, NOW, SOON, ask, created, flow_rules, new_timer
from tests.integration.test_cli import ended
from tests.integration.test_pooler import pooler
from tests.roles import documented_role
from timer_trio.domain.errors import RowRefusedError, StorageUnavailableError
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.query import TimerQuery
from timer_trio.domain.settlement import unreadable
from timer_trio.domain.timer import Claim, Destination
from timer_trio.storage.migrations.errors import MigrationError
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.sqlstate import words_of

KEY = "k3y-" * 8
STRANGE = {
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
    "array_nulls": "off",
    "row_security": "on",
    "default_transaction_isolation": "serializable",
    "plan_cache_mode": "force_custom_plan",
    "search_path": '"odd one", public',
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tt-") as name:
        yield Path(name)


def as_url(conninfo: str) -> str:
    parameters = conninfo_to_dict(conninfo).items()
    return "postgresql://?" + "&".join(f"{name}={value}" for name, value in parameters)


def make_strange(url: str, whose: str) -> None:
    database = Identifier(str(conninfo_to_dict(url)["dbname"]))
    subject = {"database": SQL("DATABASE {}"), "role": SQL("ROLE CURRENT_USER IN DATABASE {}")}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "odd one"')
        for name, value in STRANGE.items():
            # The only one whose value is a list.
            written = SQL(value) if name == "search_path" else Literal(value)
            connection.execute(
                SQL("ALTER {} SET {} = {}").format(
                    subject[whose].format(database), Identifier(name), written
                )
            )


@asynccontextmanager
async def reached(url: str, way: str) -> AsyncIterator[str]:
    if way == "straight":
        yield url
        return
    async with pooler(url) as here:
        yield here


@pytest.mark.parametrize("way", ["straight", "through a pooler"])
@pytest.mark.parametrize("whose", ["database", "role"])
async def test_strange_settings_change_nothing(
    empty_database_url: str, whose: str, way: str
) -> None:
    make_strange(empty_database_url, whose)
    async with reached(empty_database_url, way) as url:
        await migrate_database(url)
        await migrate_database(url)
        async with PostgresStorage(url, pool_size=2) as storage:
            await use(storage)
            for connections in (storage._api, storage._stages, storage._heartbeat):
                await connections.run(assert_as_ever)


async def use(storage: PostgresStorage) -> None:
    await storage.join(ALICE, NOW)
    await storage.beat(ALICE)
    timer_id = await created(storage, metadata={"smile": "☺\\'"}, timeout_s=0.1 + 0.2)
    await storage.create_many([new_timer(execute_at=LATER, metadata={"a": ["\\"]})], NOW)
    timer = await storage.get(timer_id)
    assert timer.spec.metadata == {"smile": "☺\\'"}
    assert timer.spec.callback.timeout_s == 0.1 + 0.2
    page = await storage.list(TimerQuery(metadata={"smile": ["☺\\'"]}, execute_before=SOON))
    assert [(each.id, each.execute_at) for each in page.timers] == [(timer_id, NOW)]
    (claimed,) = (await ask(storage, [timer_id])).claimed
    assert claimed.spec.metadata == {"smile": "☺\\'"}
    assert await storage.settle([unreadable(timer_id, claimed.claim, "☺")], SOON) == [True]
    assert (await storage.prune(LATER, None, 10)).count == 1
    flow = FlowId(DEFAULT_PROJECT, FlowKey("☺"))
    await storage.put_flow(flow, {"max_in_flight": 1}, NOW)
    assert [*await flow_rules(storage, [flow])] == [flow]
    await storage.pause_destination(DEFAULT_PROJECT, Destination("https://☺.example:443"), NOW)
    assert len((await storage.rules_since(0)).destinations) == 1
    await storage.delete_flow(flow, NOW)
    assert await storage.prune_rules(LATER, 10) == 1
    assert [each.id for each in await storage.replicas()] == [ALICE]
    assert (await storage.sweep(ALICE, None, NOW)) is not None


def assert_as_ever(connection: psycopg.Connection[dict[str, str]]) -> None:
    shown = {name: connection.execute(f"SHOW {name}".encode()).fetchone() for name in STRANGE}
    values = {name: next(iter(row.values())) for name, row in shown.items() if row}
    assert values == {
        "datestyle": "ISO, YMD",
        "intervalstyle": "postgres",
        "timezone": "UTC",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "standard_conforming_strings": "on",
        "client_encoding": "UTF8",
        "array_nulls": "on",
        "row_security": "off",
        "default_transaction_isolation": "read committed",
        "plan_cache_mode": "force_generic_plan",
        "search_path": '"odd one", public',
    }


async def test_citus_plans_with_the_values_of_a_statement(database_url: str) -> None:
    async def mode() -> object:
        async with PostgresStorage(database_url, pool_size=1) as storage:
            return await storage._stages.run(
                lambda connection: connection.execute("SHOW plan_cache_mode").fetchone()
            )

    assert await mode() == {"plan_cache_mode": "force_generic_plan"}
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO pg_extension"
            " (oid, extname, extowner, extnamespace, extrelocatable, extversion)"
            " VALUES (99999, 'citus', 10, 11, false, '13.2')"
        )
    assert await mode() == {"plan_cache_mode": "auto"}


@pytest.mark.parametrize("whose", ["database", "role"])
def test_commands_work_under_strange_settings(database_url: str, folder: Path, whose: str) -> None:
    make_strange(database_url, whose)
    environ = {"DATABASE_URL": as_url(database_url), "API_KEY": KEY}
    for command in ("db migrate", "db status", "db prune --older-than 1d --dry-run"):
        code, out, err = run_command(folder, *command.split(), **environ)
        assert (code, err) == (0, ""), command
        assert out


async def test_all_sessions_look_for_tables_where_the_first_one_did(database_url: str) -> None:
    name = Identifier(str(conninfo_to_dict(database_url)["dbname"]))
    async with PostgresStorage(database_url, pool_size=1) as storage:
        await storage.join(ALICE, NOW)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(SQL("ALTER DATABASE {} SET search_path = 'elsewhere'").format(name))
        timer_id = await created(storage)
        assert (await storage.get(timer_id)).id == timer_id


async def test_what_another_client_of_a_pooler_has_set_is_set_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = psycopg.connect

    def connect_used(*args: Any, **kwargs: Any) -> Any:
        connection = connect(*args, **kwargs)
        for setting in ("search_path = 'elsewhere'", "datestyle = 'German'"):
            connection.execute(f"SET {setting}".encode(), prepare=False)
        return connection

    monkeypatch.setattr(psycopg, "connect", connect_used)
    await migrate_database(database_url)
    async with PostgresStorage(database_url, pool_size=1) as storage:
        await use(storage)


@pytest.mark.parametrize("role", ["timers_serve", "timers"])
async def test_role_with_the_documented_grants_serves(
    database_url: str, empty_database_url: str, role: str
) -> None:
    database = empty_database_url if role == "timers" else database_url
    with documented_role(database, role) as url:
        await migrate_database(url)
        async with PostgresStorage(url, pool_size=1) as storage:
            await use(storage)


async def test_each_documented_grant_is_missed(database_url: str) -> None:
    revoked = [
        *(
            f"{verb} ON {table}"
            for verb in ("SELECT", "INSERT", "UPDATE", "DELETE")
            for table in (
                "timers",
                "attempts",
                "timer_keys",
                "schedules",
                "replicas",
                "signing_secrets",
                "destination_outcomes",
                "destination_now",
                "breaker_probes",
                "flows",
                "flow_terms",
                "paused_destinations",
            )
        ),
        *(f"{verb} ON rule_changes" for verb in ("SELECT", "UPDATE")),
        "SELECT ON timer_trio_migrations",
    ]
    with documented_role(database_url, "timers_serve") as url:
        role = conninfo_to_dict(url)["user"]
        with psycopg.connect(database_url, autocommit=True) as owner:
            for right in revoked:
                owner.execute(f"REVOKE {right} FROM {role}".encode())
                with pytest.raises(MigrationError, match=f'GRANT {right} TO "{role}"'):
                    await migrate_database(url)
                owner.execute(f"GRANT {right} TO {role}".encode())


def test_start_of_a_role_without_grants_ends_in_words(database_url: str, folder: Path) -> None:
    with documented_role(database_url, "timers_serve") as url:
        role = conninfo_to_dict(url)["user"]
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute(f"REVOKE ALL ON timers, timer_trio_migrations FROM {role}".encode())
        (folder / ".env").write_text(
            f"TIMER_TRIO_DATABASE_URL={as_url(url)}\nAPI_KEY={KEY}\nPORT=0\n"
        )
        code, _, err = ended(folder, "serve")
    assert code == 2
    assert "Traceback" not in err
    assert f'GRANT SELECT, INSERT, UPDATE, DELETE ON timers TO "{role}"' in err


async def test_role_that_may_make_no_tables_is_told_who_shall(empty_database_url: str) -> None:
    with documented_role(empty_database_url, "timers") as url:
        with psycopg.connect(empty_database_url, autocommit=True) as owner:
            role = conninfo_to_dict(url)["user"]
            owner.execute(f"REVOKE CREATE ON SCHEMA public FROM {role}".encode())
        with pytest.raises(MigrationError, match="run `timer-trio db migrate`"):
            await migrate_database(url)


def test_database_that_does_not_exist_is_waited_for_in_words(
    database_url: str, folder: Path
) -> None:
    url = make_conninfo(database_url, dbname="test_nowhere")
    with pytest.raises(
        StorageUnavailableError, match=r'"test_nowhere" does not exist: .*db create'
    ):
        trio.run(migrate_database, url)
    environ = {"DATABASE_URL": as_url(url), "API_KEY": KEY}
    code, _, err = run_command(folder, "db", "status", **environ)
    assert code == 2
    assert "timer-trio db create" in err


async def test_role_that_does_not_exist_is_named(database_url: str) -> None:
    with pytest.raises(StorageUnavailableError, match="look at the user and the password"):
        await migrate_database(make_conninfo(database_url, user="test_nobody_here"))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ('FATAL:  password authentication failed for user "me"', "the password in DATABASE_URL"),
        ("fe_sendauth: no password supplied", "the password in DATABASE_URL"),
        ('FATAL:  permission denied for database "timers"', "GRANT CONNECT"),
        ("FATAL:  no such database: timers", "timer-trio db create"),
        ("Connection refused", "Connection refused"),
    ],
)
def test_refused_connection_says_what_to_do(words: str, hint: str) -> None:
    told = words_of(psycopg.OperationalError(f"connection failed: {words}\nand more"))
    assert told.startswith("connection failed: ")
    assert hint in told
    assert "\n" not in told


async def test_altered_column_costs_no_call(database_url: str) -> None:
    async with PostgresStorage(database_url, pool_size=2) as storage:
        await storage.join(ALICE, NOW)
        ids = [await created(storage) for _ in range(3)]
        with psycopg.connect(database_url, autocommit=True) as owner:
            for number, kind in enumerate(("varchar", "text", "varchar")):
                await storage.get(ids[0])
                await ask(storage, [ids[number]], claim=Claim(number + 1))
                owner.execute(f"ALTER TABLE timers ALTER callback_url TYPE {kind}".encode())
                assert (await storage.get(ids[0])).id == ids[0]
                again = await ask(storage, [ids[number]], claim=Claim(number + 1))
                assert [timer.id for timer in again.claimed] == [ids[number]]
        assert storage.trouble() is None


async def test_value_that_the_database_refuses_is_no_trouble_of_the_database(
    database_url: str,
) -> None:
    async with PostgresStorage(database_url, pool_size=2) as storage:
        await storage.join(ALICE, NOW)
        ids = [await created(storage) for _ in range(7)]
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute("UPDATE timers SET attempt = 2147483647 WHERE id = %s", [ids[4]])
        with pytest.raises(RowRefusedError):
            await ask(storage, ids)
        assert len((await ask(storage, ids[:4])).claimed) == 4
        with pytest.raises(RowRefusedError):
            await created(storage, timeout_s=-1.0)
        assert storage.trouble() is None
