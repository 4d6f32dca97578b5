from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier
from structlog.testing import capture_logs

from timer_trio import __version__
from timer_trio.domain.releases import is_older
from timer_trio.storage.migrations.checks import excluded_replicas
from timer_trio.storage.migrations.create import create_database
from timer_trio.storage.migrations.errors import MigrationError
from timer_trio.storage.migrations.migrate import migrate, migrate_database, revert, status
from timer_trio.storage.migrations.steps import Migration, commands_of, load_migrations

Connection = psycopg.Connection[Any]

NOTES = Migration(9001, "notes", "CREATE TABLE notes (n integer)", "DROP TABLE notes")
BROKEN = Migration(9002, "broken", "CREATE TABLE half (n integer); SELECT 1/0", "DROP TABLE half")

RELEASE = __version__.partition(".dev")[0]
JOIN = """
    INSERT INTO replicas (id, started_at, host, pid, version)
    VALUES (gen_random_uuid(), now(), %s, %s, %s)
"""


def after(release: str, version: int = 9001) -> Migration:
    """Make a step that excludes what is older than a release."""
    return Migration(version, "tidy", f"-- after {release}\nSELECT 1", "SELECT 1")


# What a schema consists of, as the server prints it.
CATALOG = """
    SELECT 'column', attrelid::regclass::text, attname::text,
        concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid))
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
        AND attnum > 0
    UNION ALL
    SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'relation', relname::text, relkind::text,
        concat_ws(' ', reloptions::text, CASE relkind WHEN 'i' THEN pg_get_indexdef(oid) END)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'function', proname::text, '', pg_get_functiondef(oid)
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    ORDER BY 1, 2, 3, 4
"""


@pytest.fixture
def connection(empty_database_url: str) -> Iterator[Connection]:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def steps() -> Sequence[Migration]:
    """All steps, in the order in which an empty database takes them."""
    return sorted(load_migrations(), key=lambda step: (step.is_concurrent, step.version))


def catalog(connection: Connection) -> list[tuple[str, ...]]:
    return connection.execute(CATALOG).fetchall()


def test_migrations_make_what_schema_sql_says(connection: Connection, template: str) -> None:
    whole = Path(__file__).parents[2].joinpath("schema", "schema.sql").read_text("utf-8")
    connection.execute(whole.encode())
    by_schema = catalog(connection)
    host = {"dbname": template}
    with psycopg.connect(make_conninfo(**{**parameters(connection), **host})) as migrated:
        assert catalog(migrated) == by_schema
    assert len(by_schema) > 40


def parameters(connection: Connection) -> dict[str, Any]:
    return conninfo_to_dict(connection.info.dsn)


def test_migrating_takes_each_step_once(connection: Connection, steps: Sequence[Migration]) -> None:
    assert all(state.applied_at is None for state in status(connection))
    assert list(migrate(connection)) == list(steps)
    assert list(migrate(connection)) == []
    assert not any(state.is_lacking for state in status(connection))


def test_reverting_all_leaves_nothing_behind(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    migrate(connection)
    versions = sorted((step.version for step in steps), reverse=True)
    assert [step.version for step in revert(connection, len(steps))] == versions
    assert catalog(connection) == []
    assert list(revert(connection)) == []
    assert list(migrate(connection)) == list(steps)


def test_reverting_takes_back_the_newest_step_first(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    both = [*steps, NOTES]
    migrate(connection, both)
    assert list(revert(connection, 1, both)) == [NOTES]
    assert [state.name for state in status(connection, both) if not state.applied_at] == [
        str(NOTES)
    ]


def test_a_failing_step_leaves_no_trace_and_the_ones_before_it(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    with pytest.raises(MigrationError, match=r"9002 broken failed.*division by zero"):
        migrate(connection, [*steps, NOTES, BROKEN])
    assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)
    states = status(connection, [*steps, NOTES])
    assert all(state.applied_at for state in states if state.kind != "concurrent")


def test_a_step_may_take_longer_than_a_role_has_for_statements(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    migrate(connection)
    check = "DO $$ BEGIN ASSERT current_setting('statement_timeout') = '0'; END $$"
    both = [*steps, Migration(9001, "long", check, check)]
    connection.execute("SET statement_timeout = '10s'")
    assert list(migrate(connection, both)) == both[-1:]
    assert list(revert(connection, 1, both)) == both[-1:]
    assert connection.execute("SHOW statement_timeout").fetchone() == ("10s",)


def test_each_command_is_sent_by_itself(connection: Connection, steps: Sequence[Migration]) -> None:
    seen = "CREATE TABLE seen AS SELECT current_query() AS query"
    migrate(connection, [*steps, Migration(9001, "seen", f"{seen};\nSELECT 1;", "SELECT 1")])
    assert connection.execute("SELECT query FROM seen").fetchone() == (seen,)


def test_what_is_sent_of_each_step_is_one_command(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    for text in (*(step.up for step in steps), *(step.down for step in reversed(steps))):
        for command in commands_of(text):
            # In this way the server takes one command and no more.
            connection.execute(command.encode(), binary=True)
    assert catalog(connection) == []


def test_constraints_are_checked_by_one_look_at_the_table(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    (checking,) = (step for step in steps if step.name == "retries_checked")
    migrate(connection, [step for step in steps if step.version < checking.version])
    before = looks_at_timers(connection)
    connection.execute(checking.up.encode())
    assert looks_at_timers(connection) - before == 1


def looks_at_timers(connection: Connection) -> int:
    """How often the table has been read as a whole."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    query = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'timers'"
    (looks,) = connection.execute(query).fetchone() or (0,)
    return int(looks)


def test_a_step_that_was_changed_afterwards_is_refused(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    migrate(connection)
    changed = [replace(steps[0], up=steps[0].up + " "), *steps[1:]]
    with pytest.raises(MigrationError, match="0001 timers has changed since it was applied"):
        migrate(connection, changed)


async def test_service_starts_on_a_newer_database_that_leaves_it_room(
    connection: Connection, empty_database_url: str, steps: Sequence[Migration]
) -> None:
    just_fits = after(RELEASE, 9002)
    migrate(connection, [*steps, NOTES, just_fits])
    await migrate_database(empty_database_url)
    assert list(migrate(connection)) == []
    states = status(connection)
    assert all(state.applied_at for state in states)
    assert [(state.name, state.kind, state.is_known) for state in states[-2:]] == [
        ("9001 notes", "before", False),
        ("9002 tidy", f"after {RELEASE}", False),
    ]


def test_steps_of_a_newer_version_are_not_taken_back(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    migrate(connection, [*steps, NOTES])
    with pytest.raises(MigrationError, match=r"newer than this version.*9001 notes"):
        revert(connection)


def test_newer_database_that_excludes_this_version_is_refused(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    migrate(connection, [*steps, after("999.0.0")])
    for attempt in (migrate, revert, status):
        with pytest.raises(MigrationError, match=r"newer than this version.*9001 tidy.*999\.0\.0"):
            attempt(connection)
    with pytest.raises(MigrationError, match="newer than this version"):
        migrate(connection, spare_older=True)


@pytest.mark.parametrize("version", ["", "0.1.0", "998.9.9"])
def test_what_excludes_a_replica_is_not_taken_while_it_lives(
    version: str, connection: Connection, steps: Sequence[Migration]
) -> None:
    tidy = after("999.0.0")
    newer = [*steps, tidy, replace(NOTES, version=9002)]
    migrate(connection)
    connection.execute(JOIN, ["node-1", 7, version])
    connection.execute(JOIN, ["node-2", 8, "999.0.0.dev0"])
    with pytest.raises(
        MigrationError, match=r"9001 tidy.*older than 999\.0\.0.*node-1:7 of"
    ) as raised:
        migrate(connection, newer)
    assert "node-2" not in str(raised.value)
    # What only adds has been taken all the same, although it comes later.
    assert [state.name for state in status(connection, newer) if not state.applied_at] == [
        "9001 tidy"
    ]
    with capture_logs() as log:
        assert list(migrate(connection, newer, spare_older=True)) == []
    assert [line["event"] for line in log] == ["migration_put_off"]
    connection.execute("DELETE FROM replicas WHERE host = 'node-1'")
    assert list(migrate(connection, newer, spare_older=True)) == [tidy]
    assert all(state.applied_at for state in status(connection, newer))


def test_no_replica_joins_while_a_step_is_taken_that_would_exclude_it(
    connection: Connection, empty_database_url: str
) -> None:
    migrate(connection)
    with psycopg.connect(empty_database_url, autocommit=True) as other:
        other.execute("SET lock_timeout = '50ms'")
        with connection.transaction():
            assert excluded_replicas(connection, after("999.0.0")) is None
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(JOIN, ["node-1", 7, "0.1.0"])
        other.execute(JOIN, ["node-1", 7, "0.1.0"])


def test_no_step_excludes_the_version_that_brings_it(steps: Sequence[Migration]) -> None:
    releases = [step.oldest_release for step in steps if step.oldest_release]
    assert not [release for release in releases if is_older(__version__, release)]


def test_a_timers_table_of_another_making_is_refused_and_kept(connection: Connection) -> None:
    connection.execute("CREATE TABLE timers (mine text)")
    for attempt in (migrate, revert, status):
        with pytest.raises(MigrationError, match="of another making"):
            attempt(connection)
    assert connection.execute("SELECT mine FROM timers").fetchall() == []


SHOPS = "CREATE TABLE orders (); CREATE TABLE customers (); CREATE MATERIALIZED VIEW sums AS SELECT"


def test_database_of_others_is_refused_until_somebody_says_that_it_shall_be(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    connection.execute(SHOPS.encode())
    before = catalog(connection)
    with pytest.raises(MigrationError) as raised:
        migrate(connection)
    assert f"{connection.info.dbname} holds tables of others (`customers`, `orders`, `sums`):" in (
        str(raised.value)
    )
    assert "timer-trio db migrate --into-existing" in str(raised.value)
    assert catalog(connection) == before
    assert list(migrate(connection, into_existing=True)) == list(steps)
    assert list(migrate(connection)) == []
    connection.execute(
        "DROP TABLE timer_trio_migrations, timers, attempts, timer_keys, schedules,"
        " projects, project_quotas, api_keys, key_seal, signing_secrets, rule_changes, flows,"
        " paused_destinations, flow_terms, destination_outcomes, destination_now,"
        " breaker_probes, cell_map, audit CASCADE;"
        "CREATE TABLE a ()"
    )
    with pytest.raises(MigrationError, match=r"\(`a`, `customers`, `orders` and 2 more\)"):
        migrate(connection)


def test_step_is_taken_in_a_database_in_which_we_have_been(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    migrate(connection)
    connection.execute(SHOPS.encode())
    assert list(migrate(connection, [*steps, NOTES])) == [NOTES]


def test_tables_in_a_schema_that_is_not_searched_first_are_no_matter(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    connection.execute(SHOPS.encode())
    connection.execute('CREATE SCHEMA "my timers"; SET search_path = "my timers", public')
    assert list(migrate(connection)) == list(steps)
    kept = connection.execute("SELECT to_regclass('\"my timers\".timers') IS NOT NULL")
    assert kept.fetchone() == (True,)


def test_tables_views_and_other_things_of_no_people_are_no_matter(
    connection: Connection, steps: Sequence[Migration]
) -> None:
    connection.execute(
        b"CREATE VIEW statements AS SELECT 1 AS n; CREATE SEQUENCE numbers;"
        b"CREATE TYPE pair AS (a int, b int); CREATE TEMPORARY TABLE scratch ();"
        b"CREATE TABLE spatial_ref_sys (); ALTER EXTENSION plpgsql ADD TABLE spatial_ref_sys"
    )
    assert list(migrate(connection)) == list(steps)


def test_many_may_start_at_once(empty_database_url: str, steps: Sequence[Migration]) -> None:
    taken: list[Migration] = []

    def start() -> None:
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            taken.extend(migrate(connection))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Each is taken by whoever comes to it first, who may tell of it after others.
    assert sorted(taken, key=lambda step: (step.is_concurrent, step.version)) == list(steps)


def test_the_lock_is_free_after_a_failure(connection: Connection, empty_database_url: str) -> None:
    with pytest.raises(MigrationError):
        migrate(connection, [BROKEN])
    with psycopg.connect(empty_database_url, autocommit=True) as other:
        assert migrate(other)


async def test_a_service_migrates_as_it_starts(
    empty_database_url: str, connection: Connection
) -> None:
    await migrate_database(empty_database_url)
    assert not any(state.is_lacking for state in status(connection))


def test_a_database_in_another_encoding_is_refused(postgres_url: str) -> None:
    name = Identifier("test_latin1")
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(
            SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'").format(name)
        )
        try:
            with (
                psycopg.connect(postgres_url, dbname="test_latin1", autocommit=True) as connection,
                pytest.raises(MigrationError, match="LATIN1, and timers need UTF8"),
            ):
                migrate(connection)
        finally:
            server.execute(SQL("DROP DATABASE {}").format(name))


def test_a_database_is_created_once(postgres_url: str) -> None:
    url = make_conninfo(postgres_url, dbname='test "odd" name')
    try:
        assert create_database(url)
        assert not create_database(url)
        with psycopg.connect(url, autocommit=True) as connection:
            assert migrate(connection)
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as server:
            server.execute(SQL("DROP DATABASE {}").format(Identifier('test "odd" name')))


def test_an_account_without_the_right_to_create_is_told_what_to_do(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("CREATE ROLE test_nobody LOGIN")
        try:
            url = make_conninfo(postgres_url, user="test_nobody", dbname="test_never")
            with pytest.raises(MigrationError, match="CREATEDB"):
                create_database(url)
        finally:
            server.execute("DROP ROLE test_nobody")
