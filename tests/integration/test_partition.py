"""The table of timers is put into partitions beside the work, and back into one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from typing import Any, Final, TypeVar

import psycopg
import pytest
import trio

from tests.contract.timers import ALICE, LATER, NOW, SOON, ask, completed, created, new_timer
from tests.integration.test_migrate import catalog
from tests.roles import documented_role
from timer_trio import __version__
from timer_trio.domain.membership import Identity
from timer_trio.domain.timer import Status, TimerId
from timer_trio.storage.migrations import copying, paging, patience, taken
from timer_trio.storage.migrations.builds import alone
from timer_trio.storage.migrations.errors import BuildBusyError, BuildPutOffError, MigrationError
from timer_trio.storage.migrations.migrate import migrate, revert, status
from timer_trio.storage.migrations.paging import Paged
from timer_trio.storage.migrations.partitioning import partition, plan, undo
from timer_trio.storage.migrations.steps import Migration, load_migrations
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.connections import connect
from timer_trio.threads import run_in_thread

Connection = psycopg.Connection[Any]
T = TypeVar("T")

PATIENCE_S: Final = 20
NEW: Final = Identity(host="h", pid=1, version=__version__)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MIN_BLOCKS", 1)
    monkeypatch.setattr(paging, "MAX_BLOCKS", 1)
    monkeypatch.setattr(patience, "LOCK_PAUSE_S", 0.05)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url) as connection:
        yield connection


@pytest.fixture
def storage(database_url: str) -> Iterator[PostgresStorage]:
    with closing(PostgresStorage(database_url, pool_size=4)) as storage:
        yield storage


def silent(_: str) -> None:
    pass


def to_the_end(copied: Iterable[Paged]) -> None:
    for _ in copied:
        pass


def stopped_after_a_page(connection: Connection, count: int) -> Paged:
    """Begin, and end as a run does that is stopped by hand."""
    with closing(partition(connection, count, silent)) as copied:
        return next(copied)


async def in_thread(function: Callable[[T], None], argument: T) -> None:
    await run_in_thread(function, argument, limiter=trio.CapacityLimiter(1))


async def wait_until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - a probe
        await trio.sleep(0.001)


def is_waited_for(watcher: Connection, lock: str) -> bool:
    query = f"SELECT FROM pg_locks WHERE {lock} AND NOT granted".encode()
    return watcher.execute(query).fetchone() is not None


def partitions(connection: Connection) -> Sequence[str]:
    rows = connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'timers'::regclass ORDER BY 1"
    )
    return [name for (name,) in rows]


def status_of(connection: Connection, timer_id: TimerId) -> str | None:
    row = connection.execute("SELECT status FROM timers WHERE id = %s", [timer_id]).fetchone()
    return row[0] if row else None


def pending(connection: Connection) -> AbstractSet[TimerId]:
    rows = connection.execute("SELECT id FROM timers WHERE status = 'pending'")
    return {timer_id for (timer_id,) in rows}


async def some_pages(storage: PostgresStorage) -> list[TimerId]:
    timers = [new_timer(shard=n % 256, metadata={"n": str(n)}) for n in range(400)]
    await storage.create_many(timers, NOW)
    return [timer.id for timer in timers]


async def test_it_becomes_partitions_and_one_table_again_and_lacks_nothing(
    connection: Connection, storage: PostgresStorage
) -> None:
    timer_ids = await some_pages(storage)
    before = catalog(connection)
    to_the_end(partition(connection, 16, silent))
    names = partitions(connection)
    assert (names[0], names[-1], len(names)) == ("timers_000_015", "timers_240_255", 16)
    assert pending(connection) == set(timer_ids)
    (of_parent,) = connection.execute(
        "SELECT array_agg(indexrelid::regclass::text ORDER BY 1) FROM pg_index"
        " WHERE indrelid = 'timers'::regclass AND indisvalid"
    ).fetchone() or ([],)
    assert set(of_parent) == {name for kind, name, *_ in before if kind == "relation"} & {
        *of_parent
    }
    assert {"timers_pkey", "timers_due", "timers_metadata"} <= {*of_parent}
    (settings,) = connection.execute(
        "SELECT reloptions::text FROM pg_class WHERE relname = 'timers_240_255'"
    ).fetchone() or ("",)
    assert "autovacuum_vacuum_scale_factor=0.02" in settings
    to_the_end(partition(connection, 4, silent))
    assert len(partitions(connection)) == 4
    to_the_end(partition(connection, 1, silent))
    assert catalog(connection) == before
    assert pending(connection) == set(timer_ids)


async def test_what_is_written_meanwhile_is_in_it(
    connection: Connection, storage: PostgresStorage
) -> None:
    timer_ids = await some_pages(storage)
    await storage.cancel(timer_ids[7], NOW)
    await storage.join(ALICE, NOW, NEW)
    copied = partition(connection, 4, silent)
    next(copied)
    # Some of each have been copied, and some have not.
    await ask(storage, timer_ids[::5])
    await storage.settle([completed(timer_ids[0]), completed(timer_ids[395])], SOON)
    for timer_id in (timer_ids[1], timer_ids[399]):
        await storage.cancel(timer_id, SOON)
    await storage.update(timer_ids[2], {"metadata": {"is": "changed"}}, SOON)
    new = await created(storage)
    next(copied)
    assert (await storage.prune(LATER, None, 1_000)).count == 5
    last = await created(storage)
    to_the_end(copied)
    assert [status_of(connection, timer_ids[n]) for n in (0, 1, 7, 399)] == [None] * 4
    assert status_of(connection, timer_ids[5]) == "executing"
    assert (await storage.get(timer_ids[2])).spec.metadata == {"is": "changed"}
    assert [status_of(connection, each) for each in (new, last)] == ["pending"] * 2
    (count,) = connection.execute("SELECT count(*) FROM timers").fetchone() or (0,)
    assert count == 400 - 5 + 2


async def test_a_page_waits_for_what_is_being_deleted(
    connection: Connection, storage: PostgresStorage, database_url: str
) -> None:
    timer_ids = await some_pages(storage)
    copied = partition(connection, 2, silent)
    next(copied)
    with psycopg.connect(database_url) as other:
        other.execute("DELETE FROM timers WHERE id = %s", [timer_ids[-1]])
        with connect(database_url) as watcher, trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(in_thread, to_the_end, copied)
                await wait_until(
                    lambda: is_waited_for(watcher, "locktype = 'advisory' AND objsubid = 1")
                )
                other.commit()
    assert status_of(connection, timer_ids[-1]) is None


async def test_a_stopped_run_is_gone_on_with(
    connection: Connection, storage: PostgresStorage
) -> None:
    timer_ids = await some_pages(storage)
    done = stopped_after_a_page(connection, 2).done
    assert plan(connection, 2)[0].startswith("A copy is begun: it goes on with that.")
    with pytest.raises(MigrationError, match=r"a copy as 2 partitions .* --by 2 to go on"):
        next(partition(connection, 8, silent))
    second = partition(connection, 2, silent)
    assert next(second).done == done + 1
    to_the_end(second)
    assert pending(connection) == set(timer_ids)


async def test_undo_leaves_the_table_as_it_was(
    connection: Connection, storage: PostgresStorage
) -> None:
    timer_ids = await some_pages(storage)
    before = catalog(connection)
    stopped_after_a_page(connection, 2)
    assert undo(connection)
    assert catalog(connection) == before
    await storage.cancel(timer_ids[0], NOW)
    assert not undo(connection)


async def test_sessions_go_on_over_the_swap(
    connection: Connection,
    storage: PostgresStorage,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timer_ids = await some_pages(storage)
    await storage.join(ALICE, NOW, NEW)
    # Each of the sessions has planned its statement for the table that is dropped.
    (first, *_) = (await ask(storage, timer_ids[:10])).claimed
    replies: list[int] = []

    async def claim() -> None:
        replies.append(len((await ask(storage, timer_ids[10:20])).claimed))

    watcher = connect(database_url)
    (old,) = connection.execute("SELECT 'timers'::regclass::oid").fetchone() or (0,)

    def record_while_somebody_waits(connection: Connection, step: Migration) -> None:
        taken.record(connection, step)
        trio.from_thread.run_sync(nursery.start_soon, claim)
        while not is_waited_for(watcher, f"relation = {old}"):
            pass

    monkeypatch.setattr(copying, "record", record_while_somebody_waits)
    with closing(watcher), trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            await in_thread(to_the_end, partition(connection, 2, silent))
    assert replies == [10]
    await storage.settle([completed(first.id)], SOON)
    assert (await storage.get(first.id)).status is Status.COMPLETED


async def test_the_service_may_do_the_same_afterwards(
    connection: Connection, database_url: str
) -> None:
    with documented_role(database_url, "timers_serve") as url:
        copied = partition(connection, 2, silent)
        with closing(PostgresStorage(url, pool_size=4)) as storage:
            timer_id = await created(storage)
            to_the_end(copied)
            await storage.cancel(timer_id, NOW)
            assert (await storage.prune(LATER, None, 10)).count == 1


def test_what_hangs_on_the_table_is_not_lost(connection: Connection) -> None:
    connection.execute(b"CREATE VIEW mine AS SELECT id FROM timers")
    with pytest.raises(MigrationError, match=r"others have made what hangs on .* view mine"):
        plan(connection, 16)


def test_others_than_the_owner_are_refused(database_url: str) -> None:
    with documented_role(database_url, "timers_serve") as url, connect(url) as other:
        for act in (lambda: plan(other, 16), lambda: undo(other)):
            with pytest.raises(MigrationError, match="belongs to the role"):
                act()


def test_one_at_a_time(connection: Connection, database_url: str) -> None:
    with connect(database_url) as other, alone(other), pytest.raises(BuildBusyError):
        next(partition(connection, 2, silent), None)


async def test_the_schema_does_not_change_while_it_is_copied(
    connection: Connection, storage: PostgresStorage
) -> None:
    await some_pages(storage)
    stopped_after_a_page(connection, 2)
    known = load_migrations()
    note = Migration(9001, "note", "ALTER TABLE timers ADD note text", "SELECT 1")
    index = Migration(
        9001,
        "index",
        "-- concurrently\nCREATE INDEX CONCURRENTLY i ON timers (attempt)",
        "-- concurrently\nDROP INDEX CONCURRENTLY i",
    )
    for step in (note, index):
        with pytest.raises(BuildPutOffError, match="is being put into partitions"):
            migrate(connection, [*known, step])
    with pytest.raises(MigrationError, match="is being put into partitions"):
        revert(connection)
    to_the_end(partition(connection, 2, silent))
    assert list(migrate(connection, [*known, note])) == [note]


def test_an_index_is_built_on_each_partition(connection: Connection) -> None:
    to_the_end(partition(connection, 4, silent))
    make = "CREATE INDEX CONCURRENTLY timers_by_host ON timers (destination)"
    step = Migration(
        9001, "host", f"-- concurrently\n{make}", "DROP INDEX CONCURRENTLY timers_by_host"
    )
    known = [*load_migrations(), step]
    # As a crash leaves it: the first partition's is attached, and the second one's is not whole.
    connection.execute("CREATE INDEX timers_by_host ON ONLY timers (destination)")
    connection.execute("CREATE INDEX timers_000_063_by_host ON timers_000_063 (destination)")
    connection.execute("ALTER INDEX timers_by_host ATTACH PARTITION timers_000_063_by_host")
    connection.execute("CREATE INDEX timers_064_127_by_host ON timers_064_127 (destination)")
    connection.execute(
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'timers_064_127_by_host'::regclass"
    )
    assert list(migrate(connection, known)) == [step]
    assert indexes_by_host(connection) == [
        *((f"timers_{low:03}_{low + 63:03}_by_host", True) for low in (0, 64, 128, 192)),
        ("timers_by_host", True),
    ]
    assert list(revert(connection, 1, known)) == [step]
    assert indexes_by_host(connection) == []


def indexes_by_host(connection: Connection) -> list[tuple[str, bool]]:
    return connection.execute(
        "SELECT indexrelid::regclass::text, indisvalid FROM pg_index"
        " WHERE indexrelid::regclass::text LIKE '%by_host' ORDER BY 1"
    ).fetchall()


async def test_a_copy_that_is_not_the_same_takes_no_place(
    connection: Connection, storage: PostgresStorage
) -> None:
    timer_ids = await some_pages(storage)
    copied = partition(connection, 2, silent)
    next(copied)
    connection.execute("UPDATE timers_copy SET attempt = 7 WHERE id = %s", [timer_ids[0]])
    with pytest.raises(MigrationError, match="is not what `timers` is, in shards 0:"):
        to_the_end(copied)
    assert partitions(connection) == []
    assert status_of(connection, timer_ids[0]) == "pending"


def test_older_releases_and_partitions_exclude_each_other(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(
        "INSERT INTO replicas (id, started_at, version) VALUES (%s, now(), '0.1.0')", [ALICE]
    )
    with pytest.raises(MigrationError, match=r"replicas of older releases .* of 0\.1\.0"):
        plan(connection, 16)
    connection.execute("DELETE FROM replicas")
    to_the_end(partition(connection, 2, silent))
    (state, *_) = status(connection)
    assert (state.name, state.kind) == ("0000 partitions", "after 0.2.0")
    monkeypatch.setattr(taken, "__version__", "0.1.0")
    with pytest.raises(MigrationError, match=r"no release before 0\.2\.0 can work"):
        taken.taken_steps(connection, [])
    monkeypatch.undo()
    to_the_end(partition(connection, 1, silent))
    assert status(connection)[0].name == "0001 timers"


def test_somebody_who_keeps_the_table_is_named(
    connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LOCK_TRIES", 2)
    with psycopg.connect(database_url) as other:
        other.execute("UPDATE timers SET attempt = 0")
        with pytest.raises(BuildPutOffError, match="the oldest is that of pid"):
            next(partition(connection, 2, silent), None)
    assert not undo(connection)


@pytest.mark.parametrize(
    ("size", "took", "following"),
    [(1, 0.001, 2), (64, 0.025, 64), (64, 0.1, 16), (1, 10.0, 1), (128, 0.001, 128)],
)
def test_pages_are_of_a_time(
    size: int, took: float, following: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MAX_BLOCKS", 128)
    assert paging.next_size(size, took) == following
