"""Concurrent steps: indexes that are built and dropped beside the work."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
import pytest
import trio
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from structlog.testing import capture_logs

from tests.acceptance.conftest import as_url
from tests.command import run_command
from tests.integration.test_pooler import pooler
from tests.replicas import api_client
from tests.roles import documented_role
from timer_trio.config import CellUrl, Settings
from timer_trio.domain.cells import ALL
from timer_trio.maintenance import index_builds
from timer_trio.maintenance.index_builds import build_indexes
from timer_trio.run.open_files import Shares
from timer_trio.run.process import replica_on
from timer_trio.storage.migrations import builds
from timer_trio.storage.migrations.builds import build_next
from timer_trio.storage.migrations.errors import BuildBusyError, BuildPutOffError, MigrationError
from timer_trio.storage.migrations.migrate import migrate, migrate_database, revert, status
from timer_trio.storage.migrations.steps import Migration, load_migrations
from timer_trio.storage.postgres.connections import connect
from timer_trio.threads import run_in_thread

Connection = psycopg.Connection[Any]
T = TypeVar("T")

PATIENCE_S: Final = 20
INDEX: Final = "timers_by_host"
FILES: Final = {
    "9001_host_index.up.sql": "-- concurrently\nCREATE INDEX CONCURRENTLY timers_by_host"
    "\n    ON timers (destination);\n",
    "9001_host_index.down.sql": "DROP INDEX CONCURRENTLY timers_by_host;\n",
    "9002_notes.up.sql": "CREATE TABLE notes (n integer);\nALTER TABLE timers ADD COLUMN n integer",
    "9002_notes.down.sql": "DROP TABLE notes; ALTER TABLE timers DROP COLUMN n",
}


@pytest.fixture
def schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The schema of a later version: a concurrent step, and one after it that code needs."""
    folder = tmp_path / "schema"
    shutil.copytree(Path(__file__).parents[2] / "schema", folder)
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    monkeypatch.setattr("timer_trio.storage.migrations.steps._schema_folder", lambda: folder)
    return folder


@pytest.fixture
def steps(schema: Path) -> Sequence[Migration]:
    return load_migrations(schema)


@pytest.fixture
def build(steps: Sequence[Migration]) -> Migration:
    return steps[-2]


@pytest.fixture
def without_notes(steps: Sequence[Migration]) -> Sequence[Migration]:
    return steps[:-1]


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with connect(url) as connection:
        yield connection


@pytest.fixture
def watcher(url: str) -> Iterator[Connection]:
    with connect(url) as connection:
        yield connection


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_builds, "FIRST_LOOK_S", 0)
    monkeypatch.setattr(index_builds, "RETRY_S", 0.05)


def index_of(connection: Connection) -> tuple[int, bool] | None:
    """Return the index's number and whether it is whole."""
    query = "SELECT indexrelid, indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
    return connection.execute(query, [INDEX]).fetchone()


def is_whole(connection: Connection) -> bool:
    index = index_of(connection)
    return index is not None and index[1]


def missing(connection: Connection) -> list[str]:
    return [state.name for state in status(connection) if not state.applied_at]


async def in_thread(function: Callable[[], T]) -> T:
    return await run_in_thread(function, limiter=trio.CapacityLimiter(1))


async def wait_until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - a probe
            await trio.sleep(0.01)


def builder(connection: Connection) -> int | None:
    """Return who waits for an older transaction in the middle of a build."""
    row = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event = 'virtualxid'"
    ).fetchone()
    return row[0] if row else None


@asynccontextmanager
async def held_up(url: str) -> AsyncIterator[Connection]:
    """Hold up whoever builds an index, by a transaction that has written."""
    with psycopg.connect(url) as old:
        old.execute("UPDATE timers SET attempt = 0; SELECT pg_current_xact_id()")
        yield old


@asynccontextmanager
async def building(
    url: str, steps: Sequence[Migration], watcher: Connection
) -> AsyncIterator[list[MigrationError]]:
    """Build in another session until it is held up; ends when that has ended. Yields its errors."""
    errors: list[MigrationError] = []

    def migrate_there() -> None:
        with connect(url) as there:
            try:
                migrate(there, steps)
            except MigrationError as error:
                errors.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, migrate_there)
        await wait_until(lambda: builder(watcher) is not None)
        yield errors


def test_concurrent_step_is_taken_last_and_once(
    connection: Connection, steps: Sequence[Migration], build: Migration
) -> None:
    words: list[str] = []
    assert list(migrate(connection, tell=words.append)) == [steps[-1], build]
    assert words == ["taking 9001 host_index, which may take minutes"]
    assert is_whole(connection)
    assert [state.kind for state in status(connection)][-2:] == ["concurrent", "before"]
    assert missing(connection) == []
    assert list(migrate(connection, tell=words.append)) == []
    assert len(words) == 1


@pytest.mark.usefixtures("schema")
async def test_start_leaves_it_out_and_works_without(url: str, connection: Connection) -> None:
    await migrate_database(url)
    assert missing(connection) == ["9001 host_index"]
    assert not any(state.is_lacking for state in status(connection))
    assert index_of(connection) is None


def test_it_waits_for_the_steps_before_it(
    connection: Connection, steps: Sequence[Migration], build: Migration
) -> None:
    lacking = [*steps[:-2], Migration(9000, "first", "SELECT 1", "SELECT 1"), build]
    with pytest.raises(BuildPutOffError, match="9001 host_index waits for step 9000 first"):
        build_next(connection, lacking, lambda _: None)
    assert index_of(connection) is None


async def test_what_a_crash_left_is_built_anew(
    url: str, connection: Connection, watcher: Connection, without_notes: Sequence[Migration]
) -> None:
    def crash() -> None:
        with pytest.raises(psycopg.OperationalError), connect(url) as there:
            migrate(there, without_notes)

    async with held_up(url), trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, crash)
        await wait_until(lambda: builder(watcher) is not None)
        connection.execute("SELECT pg_terminate_backend(%s)", [builder(watcher)])
    left = index_of(connection)
    assert left is not None
    assert not left[1]
    assert missing(connection) == ["9001 host_index", "9002 notes"]
    assert [str(step) for step in migrate(connection, without_notes)] == ["9001 host_index"]
    assert is_whole(connection)
    assert index_of(connection) != (left[0], True)


def test_index_that_was_built_and_not_written_down_is_kept(
    connection: Connection, without_notes: Sequence[Migration], build: Migration
) -> None:
    connection.execute(b"CREATE INDEX timers_by_host ON timers (destination)")
    before = index_of(connection)
    assert list(migrate(connection, without_notes)) == [build]
    assert index_of(connection) == before


async def test_only_one_builds_and_others_start_meanwhile(
    url: str, connection: Connection, watcher: Connection, without_notes: Sequence[Migration]
) -> None:
    words: list[str] = []
    wait = partial(migrate, connection, without_notes, tell=words.append)
    async with (
        trio.open_nursery() as nursery,
        held_up(url) as old,
        building(url, without_notes, watcher) as errors,
    ):
        with pytest.raises(BuildBusyError):
            build_next(connection, without_notes, str)
        assert list(migrate(connection, without_notes, builds=False)) == []
        nursery.start_soon(in_thread, wait)
        await wait_until(lambda: bool(words))
        old.rollback()
    assert words == ["waiting for another process, which builds an index or changes tables"]
    assert errors == []
    assert is_whole(connection)


async def test_step_that_code_needs_goes_before_a_build(
    url: str, connection: Connection, watcher: Connection, without_notes: Sequence[Migration]
) -> None:
    take = partial(migrate, connection, [*without_notes, NEEDED], builds=False)
    async with held_up(url), building(url, without_notes, watcher) as errors:
        assert list(await in_thread(take)) == [NEEDED]
    assert "9001 host_index was cancelled" in str(errors[0])
    assert [str(step) for step in migrate(connection)] == ["9002 notes", "9001 host_index"]
    assert is_whole(connection)


NEEDED: Final = Migration(9003, "needed", "CREATE TABLE needed ()", "DROP TABLE needed")


async def test_transaction_that_does_not_end_is_named(
    url: str,
    connection: Connection,
    without_notes: Sequence[Migration],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(builds, "WAIT", "50ms")
    async with held_up(make_conninfo(url, application_name="a dump")) as old:
        with pytest.raises(BuildPutOffError) as raised:
            migrate(connection, without_notes)
        pid = old.info.backend_pid
    assert f"the oldest is that of pid {pid} (user" in str(raised.value)
    assert "application a dump, idle in transaction), since 20" in str(raised.value)
    assert migrate(connection, without_notes)
    assert is_whole(connection)


def test_build_has_no_limit_of_time_and_leaves_cores_to_others(
    url: str, without_notes: Sequence[Migration]
) -> None:
    options = "-c statement_timeout=1s -c idle_session_timeout=1s -c lock_timeout=1s"
    shown: list[Any] = []
    names = ("statement_timeout", "idle_session_timeout", "lock_timeout")
    with connect(make_conninfo(url, options=options)) as connection:

        def look(_: Migration) -> None:
            rows = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in names]
            shown.extend(row[0] for row in rows if row)
            row = connection.execute("SHOW max_parallel_maintenance_workers").fetchone()
            shown.append(row and row[0])

        build_next(connection, without_notes, look)
    assert shown == ["0", "0", builds.WAIT, "0"]


def test_concurrent_step_is_taken_back(
    connection: Connection, without_notes: Sequence[Migration], build: Migration
) -> None:
    migrate(connection, without_notes)
    assert list(revert(connection, 1, without_notes)) == [build]
    assert index_of(connection) is None
    assert missing(connection) == ["9001 host_index", "9002 notes"]
    migrate(connection, without_notes)
    # The process ended before it could write down what it had done.
    connection.execute(b"DROP INDEX timers_by_host")
    assert list(revert(connection, 1, without_notes)) == [build]
    assert list(migrate(connection, without_notes)) == [build]


def test_step_that_drops_an_index_is_its_mirror(
    connection: Connection, steps: Sequence[Migration], build: Migration
) -> None:
    drop = Migration(9003, "no_index", f"-- concurrently\n{build.down}", build.up)
    both = [*steps[:-2], build, drop]
    assert list(migrate(connection, both)) == [build, drop]
    assert index_of(connection) is None
    assert list(revert(connection, 1, both)) == [drop]
    assert is_whole(connection)


def test_lock_is_free_after_a_failure(
    connection: Connection, watcher: Connection, steps: Sequence[Migration]
) -> None:
    text = "-- concurrently\nCREATE INDEX CONCURRENTLY broken ON timers (nothing)"
    broken = Migration(9001, "broken", text, "DROP INDEX CONCURRENTLY broken")
    with pytest.raises(MigrationError, match=r"9001 broken failed and is not taken: .*nothing"):
        migrate(connection, [*steps[:-2], broken])
    assert migrate(watcher)


@pytest.mark.usefixtures("impatient")
async def test_service_builds_what_is_missing_once_the_other_steps_are_taken(
    empty_database_url: str, without_notes: Sequence[Migration]
) -> None:
    with connect(empty_database_url) as connection, capture_logs() as log:
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(build_indexes, empty_database_url, without_notes)
                await wait_until(lambda: bool(log))
                migrate(connection, without_notes, builds=False)
        assert log[0]["reason"].endswith(" waits for step 0001 timers")
        events = [line["event"] for line in log]
        built = 2 * sum(step.is_concurrent for step in without_notes)
        assert set(events[:-built]) == {"index_build_put_off"}
        assert events[-built:] == ["index_build_started", "migrated"] * (built // 2)
        assert is_whole(connection)


@pytest.mark.usefixtures("schema", "impatient")
async def test_role_that_may_not_build_leaves_it_to_one_that_may(
    url: str, connection: Connection
) -> None:
    await migrate_database(url)
    with documented_role(url, "timers_serve") as theirs, capture_logs() as log:
        with trio.fail_after(PATIENCE_S):
            await build_indexes(theirs)
    assert [line["event"] for line in log] == ["index_build_started", "index_build_refused"]
    assert "Let a role that may make tables run `timer-trio db migrate`" in log[-1]["reason"]
    assert missing(connection) == ["9001 host_index"]


@pytest.mark.usefixtures("schema", "impatient")
async def test_nothing_is_built_through_a_pooler(url: str, connection: Connection) -> None:
    await migrate_database(url)
    async with pooler(url) as through:
        with capture_logs() as log, trio.fail_after(PATIENCE_S):
            await build_indexes(through)
    assert [line["event"] for line in log] == ["index_build_refused"]
    assert "let DATABASE_URL lead straight to PostgreSQL" in log[0]["reason"]
    assert missing(connection) == ["9001 host_index"]


@pytest.mark.usefixtures("impatient")
async def test_database_that_is_away_is_waited_for(url: str, steps: Sequence[Migration]) -> None:
    nowhere = make_conninfo(url, dbname="test_never")
    with capture_logs() as log:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(build_indexes, nowhere, steps)
            await wait_until(lambda: bool(log))
            await trio.sleep(0.2)
            nursery.cancel_scope.cancel()
    assert [line["event"] for line in log] == ["index_build_put_off"]


@pytest.mark.usefixtures("schema", "impatient")
async def test_service_starts_serves_and_stops_while_an_index_is_built(
    url: str, watcher: Connection
) -> None:
    await migrate_database(url)
    shares = Shares(clients=16, callbacks=16, idle=16)
    async with held_up(url):
        with trio.fail_after(PATIENCE_S):
            async with (
                replica_on(
                    [CellUrl(ALL, SecretStr(url))], Settings(), shares=shares, alone=True
                ) as replica,
                trio.open_nursery() as nursery,
            ):
                await nursery.start(replica.run)
                await wait_until(lambda: builder(watcher) is not None)
                async with api_client(replica) as client:
                    timer = {"delay": 0, "callback_url": "http://callbacks.invalid/"}
                    created = (await client.post("/timers", json=timer)).json()["data"]["id"]
                    query = "SELECT status FROM timers WHERE id = %s"
                    await wait_until(
                        lambda: watcher.execute(query, [created]).fetchone() == ("failed",)
                    )
                assert builder(watcher) is not None
                replica.stop()
    # The stop has not waited for it, and the server ends what it has begun.
    await wait_until(lambda: is_whole(watcher))


@pytest.mark.usefixtures("schema")
def test_commands_know_it(url: str, tmp_path: Path) -> None:
    run = partial(run_command, tmp_path, DATABASE_URL=as_url(url), API_KEY="k" * 32)
    assert "9001 host_index  concurrent  missing" in run("db", "status")[1]
    _, out, err = run("db", "migrate")
    assert out.splitlines() == ["applied 9002 notes", "applied 9001 host_index"]
    assert err == "taking 9001 host_index, which may take minutes\n"
    assert "9001 host_index  concurrent  applied 20" in run("db", "status")[1]
    assert run("db", "revert", "--yes", "--steps", "2")[1].splitlines() == [
        "reverted 9002 notes",
        "reverted 9001 host_index",
    ]
    assert "9001 host_index  concurrent  missing" in run("db", "status")[1]
