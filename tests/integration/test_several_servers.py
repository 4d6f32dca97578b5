"""A database with standbys: which server is used, and what is said of how it commits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.contract.timers import ALICE
from tests.receivers import open_files
from timer_trio.embedded.postgres_server import PostgresServer
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.connections import connect

LOCAL = "-c synchronous_commit=local"


@pytest.fixture
async def standby(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Yield the URL of another server, from which can only be read, as from a standby."""
    server = PostgresServer(tmp_path_factory.mktemp("standby") / "data")
    url = await server.start()
    set_on(url, "default_transaction_read_only", "on")
    yield url
    await server.stop()


def set_on(url: str, setting: str, value: str) -> None:
    """Have a server use another setting; returns once new sessions do."""
    options = f"{LOCAL} -c default_transaction_read_only=off"
    with psycopg.connect(url, autocommit=True, options=options) as owner:
        owner.execute(f"ALTER SYSTEM SET {setting} = '{value}'")
        owner.execute("SELECT pg_reload_conf()")
    shown = ""
    while shown != value:
        with psycopg.connect(url, autocommit=True) as other:
            (shown,) = other.execute(f"SHOW {setting}").fetchone() or ("",)


def both(first: str, second: str, **more: Any) -> str:
    """Name two servers in one URL, and what of the rest they have in common."""
    one, other = conninfo_to_dict(first), conninfo_to_dict(second)
    named = {
        name: f"{one.get(name) or default},{other.get(name) or default}"
        for name, default in (("host", ""), ("port", "5432"))
    }
    return make_conninfo("", **{**other, **named, **more})


async def test_of_several_servers_the_one_is_used_that_can_be_written_to(
    standby: str, database_url: str
) -> None:
    own = conninfo_to_dict(database_url)
    with psycopg.connect(standby, autocommit=True, options=f"{LOCAL}") as owner:
        owner.execute("SET default_transaction_read_only = off")
        owner.execute(f'CREATE DATABASE "{own["dbname"]}"')
        if own.get("user") not in {None, owner.info.user}:
            owner.execute(f'CREATE ROLE "{own["user"]}" LOGIN SUPERUSER')
    url = both(standby, database_url)
    with connect(url) as connection:
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("off",)
    with closing(PostgresStorage(url, pool_size=1)) as storage:
        await storage.join(ALICE, (await storage.beat(ALICE)).now)
    anybody = both(standby, database_url, target_session_attrs="any")
    with connect(anybody) as connection:
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("on",)


async def test_commit_that_waits_for_no_standby_is_warned_of_where_there_is_one(
    standby: str,
) -> None:
    set_on(standby, "default_transaction_read_only", "off")
    local = make_conninfo(standby, options=LOCAL)
    await migrate_database(local)
    for names, warned in (("", False), ("other", True)):
        set_on(standby, "synchronous_standby_names", names)
        with closing(PostgresStorage(local, pool_size=1)) as storage:
            await storage.beat(ALICE)
            said = [each for each in storage.warnings() if "synchronous_commit = local" in each]
        assert bool(said) is warned


def ended_by_the_server(url: str) -> bool:
    try:
        with connect(url) as connection:
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    except psycopg.errors.AdminShutdown:
        return True
    return False


def test_session_that_the_server_has_ended_leaves_no_file_behind(database_url: str) -> None:
    assert ended_by_the_server(database_url)
    before = open_files()
    assert all(ended_by_the_server(database_url) for _ in range(3))
    assert open_files() == before
