"""The last shards of a database are moved to another one, beside the work."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from tests.command import run_command
from tests.replicas import API_KEY
from tests.several_servers import Server, Servers
from timer_trio.domain.cells import Cell, KeptMap
from timer_trio.domain.flow import FlowKey, flow_shard
from timer_trio.domain.keys import key_shard
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.storage.migrations import moving, replication, splitting
from timer_trio.storage.migrations.division import CellDatabase, find, kept_of
from timer_trio.storage.migrations.errors import BuildPutOffError, MigrationError
from timer_trio.storage.migrations.handover import ALIKE
from timer_trio.storage.migrations.migrate import migrate
from timer_trio.storage.migrations.partitioning import partition
from timer_trio.storage.migrations.partitioning import plan as plan_partition
from timer_trio.storage.postgres.connections import connect

Connection = psycopg.Connection[Any]
Databases = Sequence[CellDatabase]

FIRST: Final = Cell(0, 127)
SECOND: Final = Cell(128, 255)
MAP: Final = f"{FIRST};{SECOND}"
SETTINGS: Final = {
    "wal_level": "logical",
    "max_connections": "40",
    # What fails is tried again as soon.
    "wal_retrieve_retry_interval": "50ms",
    "fsync": "off",
}
_NUMBERS: Final = itertools.count()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no replica that must notice anything, and little to wait for."""
    monkeypatch.setattr(moving, "NOTICE_S", 0)
    monkeypatch.setattr(replication, "LOOK_S", 0.01)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two servers that know nothing of each other."""
    both = Servers(tmp_path_factory.mktemp("servers"))

    async def make() -> list[Server]:
        return [await both.make_primary(name, **SETTINGS) for name in ("a", "b")]

    async def end() -> None:
        for server in both.all:
            await server.end()

    first, second = trio.run(make)
    yield first, second
    trio.run(end)


@pytest.fixture(scope="module")
def divisible(servers: tuple[Server, Server]) -> Iterator[str]:
    """The name of a database at the first server that can be divided, to be copied."""
    with made(servers[0], "template0") as url:
        with connect(url) as connection:
            migrate(connection)
            to_the_end(partition(connection, 4, silent))
        yield str(conninfo_to_dict(url)["dbname"])


@pytest.fixture(scope="module")
def migrated(servers: tuple[Server, Server]) -> Iterator[str]:
    """The name of a database at the second server that has the schema, and no row."""
    with made(servers[1], "template0") as url:
        with connect(url) as connection:
            migrate(connection)
        yield str(conninfo_to_dict(url)["dbname"])


@pytest.fixture
def databases(servers: tuple[Server, Server], divisible: str, migrated: str) -> Iterator[Databases]:
    """One that has all shards, in partitions, and an empty one of another server."""
    with (
        made(servers[0], divisible) as source,
        made(servers[1], migrated) as target,
        told(source, target) as databases,
    ):
        yield databases


@contextmanager
def made(server: Server, template: str) -> Iterator[str]:
    """Make a database for the length of the block; yields its URL."""
    name = f"test_{next(_NUMBERS)}"
    create = SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template))
    with psycopg.connect(server.url, autocommit=True) as owner:
        owner.execute(create)
        url = f"{server.url.rpartition('/')[0]}/{name}"
        try:
            yield url
        finally:
            unsubscribe(url)
            owner.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def unsubscribe(url: str) -> None:
    """Drop a subscription that a test has left: no database can be dropped that has one."""
    with connect(url) as connection, suppress(psycopg.errors.UndefinedObject):
        connection.execute("ALTER SUBSCRIPTION timer_trio_split DISABLE")
        connection.execute("ALTER SUBSCRIPTION timer_trio_split SET (slot_name = NONE)")
        connection.execute("DROP SUBSCRIPTION timer_trio_split")


@contextmanager
def told(*urls: str, cells: Sequence[Cell] = (FIRST, SECOND)) -> Iterator[Databases]:
    """Connect to the databases of cells, as the command does."""
    with ExitStack() as stack:
        yield [
            CellDatabase(cell, url, stack.enter_context(connect(url)))
            for cell, url in zip(cells, urls, strict=True)
        ]


def silent(_: str) -> None:
    pass


def to_the_end(steps: Iterable[object]) -> None:
    for _ in steps:
        pass


def divide(databases: Databases, **options: Any) -> list[str]:
    """Divide them to the end; returns what the command says."""
    said: list[str] = []
    to_the_end(splitting.split(databases, said.append, **options))
    return said


def fill(connection: Connection, count: int = 2_000) -> None:
    """Write some rows of all kinds, in all shards."""
    connection.execute(
        "INSERT INTO timers (shard, id, status, due_at, execute_at, created_at, updated_at,"
        " requested_at, destination, callback_url, callback_method, callback_headers, metadata,"
        " timeout_s, delivery)"
        " SELECT get_byte(uuid_send(id), 15), id, 'pending', now(), now(), now(), now(), now(),"
        " 'http://a.test', 'http://a.test/x', 'POST', '{}', jsonb_build_object('n', n), 30,"
        " 'at_least_once'"
        " FROM (SELECT n, md5(n::text)::uuid AS id FROM generate_series(1, %s) AS n) AS new",
        [count],
    )
    connection.execute(
        "INSERT INTO attempts (shard, timer_id, attempt, ended_at, outcome)"
        " SELECT shard, id, 1, now(), 'delivered' FROM timers WHERE shard % 3 = 0"
    )
    for number in range(200):
        name(connection, f"name-{number}", key_shard(DEFAULT_PROJECT, f"name-{number}"))
        connection.execute(
            "INSERT INTO flows (project, flow_key, max_in_flight, changed, created_at, updated_at)"
            " VALUES (0, %s, 1, 1, now(), now())",
            [f"flow-{number}"],
        )
    connection.execute(
        "INSERT INTO timer_keys (project, kind, key, timer_ids, fingerprint, status, answer,"
        " expires_at) SELECT 0, 'idempotency', id::text, ARRAY[id], 'x', 201, '{}',"
        " now() + interval '1 day' FROM timers WHERE shard % 5 = 0"
    )
    connection.execute(
        "INSERT INTO schedules (shard, id, status, version, created_at, updated_at, rule, catch_up,"
        " overlap, jitter_s, template, planned_to)"
        " SELECT shard, id, 'active', 1, now(), now(), '{}', 'all', 'allow', 0, '{}', now()"
        " FROM timers WHERE shard % 7 = 0"
    )
    connection.execute(
        "INSERT INTO flow_terms SELECT n, gen_random_uuid(), n + 1"
        " FROM generate_series(0, 255) AS n"
    )
    connection.execute(
        "INSERT INTO projects (name, created_at) SELECT 'p-' || n, now()"
        " FROM generate_series(1, 5) AS n"
    )
    connection.execute(
        "INSERT INTO api_keys (id, project, name, scopes, secret_sha256, created_at)"
        " SELECT substr(md5(id::text), 1, 24), id, 'key', '{read}', sha256('x'), now()"
        " FROM projects"
    )
    connection.execute(
        "INSERT INTO signing_secrets SELECT gen_random_uuid(), id, 'whsec_x', now() FROM projects"
    )
    connection.execute(
        "INSERT INTO paused_destinations VALUES (0, 'http://a.test', now(), NULL, 7)"
    )
    connection.execute("UPDATE rule_changes SET version = 7")
    connection.execute("INSERT INTO project_quotas VALUES (0, 100, now(), true)")


def name(connection: Connection, key: str, shard: int, **columns: Any) -> UUID:
    """Write a timer of this shard that has a name."""
    timer_id = UUID(bytes=uuid4().bytes[:15] + bytes([shard]))
    connection.execute(
        "INSERT INTO timers (shard, id, status, due_at, execute_at, created_at, updated_at,"
        " requested_at, destination, callback_url, callback_method, callback_headers, timeout_s,"
        " delivery, key, flow_key)"
        " VALUES (%(shard)s, %(id)s, 'pending', now(), now(), now(), now(), now(), 'http://a.test',"
        " 'http://a.test/x', 'POST', '{}', 30, 'at_least_once', %(key)s, %(flow_key)s)",
        {"shard": shard, "id": timer_id, "key": key, "flow_key": None} | columns,
    )
    connection.execute(
        "INSERT INTO timer_keys (project, kind, key, timer_ids) VALUES (0, 'name', %s, %s)",
        [key, [timer_id]],
    )
    return timer_id


class KilledError(BaseException):
    """Ends a run where it stands."""


def killed_at(words: str) -> Callable[[str], None]:
    """Return what ends a run once it says this."""

    def tell(said: str) -> None:
        if words in said:
            raise KilledError

    return tell


def rows(connection: Connection, table: str, where: str = "true") -> AbstractSet[str]:
    found = connection.execute(f"SELECT t::text FROM {table} AS t WHERE {where}".encode())  # noqa: S608 - ours
    return {row for (row,) in found}


def everything(connection: Connection) -> dict[str, AbstractSet[str]]:
    """Read all rows of all tables that have any."""
    tables = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'timer_trio_migrations'"
    ).fetchall()
    found = {table: rows(connection, table) for (table,) in tables}
    return {table: there for table, there in found.items() if there}


def of_replication(connection: Connection) -> int:
    """Count what there is for replication in a database."""
    (count,) = connection.execute(
        "SELECT (SELECT count(*) FROM pg_publication)"
        " + (SELECT count(*) FROM pg_subscription AS s"
        "    JOIN pg_database ON pg_database.oid = s.subdbid WHERE datname = current_database())"
        " + (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())"
    ).fetchone() or (0,)
    return int(count)


def check_divided(databases: Databases, before: dict[str, AbstractSet[str]]) -> None:
    """Check that each has its own of what was in the first, and that nothing else is left."""
    first, second = (each.connection for each in databases)
    (now, then), of_first = (everything(first), everything(second)), "shard BETWEEN 0 AND 127"
    for table in ("timers", "attempts", "schedules", "flow_terms"):
        assert now[table] == rows(first, table, of_first)
        assert not rows(second, table, of_first)
        assert (now[table] | then[table], now[table] & then[table]) == (before[table], set())
    for table in ALIKE:
        assert now[table] == then[table] == before[table]
    last_byte = "get_byte(uuid_send(timer_ids[1]), 15)"
    for connection, cell in ((first, FIRST), (second, SECOND)):
        foreign = f"kind = 'name' AND {last_byte} NOT BETWEEN {cell.first} AND {cell.last}"
        assert not rows(connection, "timer_keys", foreign)
        flows = connection.execute("SELECT flow_key FROM flows").fetchall()
        assert {flow_shard(DEFAULT_PROJECT, FlowKey(key)) in cell.shards for (key,) in flows} == {
            True
        }
        assert kept_of(connection) == KeptMap(MAP, str(cell))
        assert of_replication(connection) == 0
        repeated = rows(connection, "timer_keys", "kind = 'idempotency'")
        assert repeated == {key for key in before["timer_keys"] if ",idempotency," in key}
    for table in ("timer_keys", "flows"):
        assert now[table] | then[table] == before[table]
    assert not rows(first, "project_quotas", "counted_at IS NOT NULL")
    assert {*now} <= {*before, "cell_map"}


def test_each_has_its_own_afterwards_and_nothing_else_is_left(databases: Databases) -> None:
    fill(databases[0].connection)
    before = everything(databases[0].connection)
    said = divide(databases)
    check_divided(databases, before)
    assert any("they were closed for " in words for words in said)
    assert divide(databases) == [
        "nothing to split: no database has shards of others than its own, of 0-127;128-255"
    ]


def test_two_databases_of_one_server_are_as_good(
    servers: tuple[Server, Server], divisible: str
) -> None:
    with (
        made(servers[0], divisible) as source,
        made(servers[0], "template0") as target,
        told(source, target) as databases,
    ):
        fill(databases[0].connection, 500)
        before = everything(databases[0].connection)
        divide(databases)
        check_divided(databases, before)


def test_what_is_written_meanwhile_is_in_it(databases: Databases) -> None:
    fill(databases[0].connection)
    writer = Writer(databases[0].url)
    thread = threading.Thread(target=writer.write)
    thread.start()
    try:
        divide(databases, drain_s=20)
    finally:
        writer.is_to_end = True
        thread.join()
    assert writer.failure is None or "no partition" in str(writer.failure)
    assert min(writer.inserted, writer.updated, writer.deleted) > 5
    written: dict[UUID, Any] = {}
    for each in databases:
        written |= dict(
            each.connection.execute(
                "SELECT id, metadata ->> 'by' FROM timers WHERE metadata ? 'by'"
            ).fetchall()
        )
        known = [timer_id for timer_id in writer.timers if timer_id.bytes[-1] in each.cell.shards]
        assert {*known} <= {*written}
    assert written == writer.timers


class Writer:
    """Writes timers, changes and deletes them, until it is told to end or may not any more."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.is_to_end = False
        self.failure: psycopg.Error | None = None
        self.timers: dict[UUID, str] = {}
        self.inserted = self.updated = self.deleted = 0

    def write(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            for number in itertools.count():
                if self.is_to_end:
                    return
                try:
                    self._write(connection, number)
                except psycopg.Error as error:
                    self.failure = error
                    return

    def _write(self, connection: Connection, number: int) -> None:
        timer_id = uuid4()
        connection.execute(
            "INSERT INTO timers (shard, id, status, due_at, execute_at, created_at, updated_at,"
            " requested_at, destination, callback_url, callback_method, callback_headers, metadata,"
            " timeout_s, delivery)"
            " VALUES (%s, %s, 'pending', now(), now(), now(), now(), now(), 'http://a.test',"
            " 'http://a.test/x', 'POST', '{}', %s, 30, 'at_least_once')",
            [timer_id.bytes[-1], timer_id, json.dumps({"by": str(number)})],
        )
        self.timers[timer_id] = str(number)
        self.inserted += 1
        if number % 3 == 1:
            changed = [*self.timers][number // 2 % len(self.timers)]
            done = connection.execute(
                "UPDATE timers SET metadata = %s WHERE id = %s",
                [json.dumps({"by": f"{number} again"}), changed],
            )
            if done.rowcount:
                self.timers[changed] = f"{number} again"
                self.updated += 1
        if number % 5 == 4:
            gone = [*self.timers][number // 3 % len(self.timers)]
            if connection.execute("DELETE FROM timers WHERE id = %s", [gone]).rowcount:
                del self.timers[gone]
                self.deleted += 1


BOUNDARIES: Final = (
    "is being filled",
    "copying",
    "all is copied",
    "closing",
    "they have left",
    "all has arrived",
    "in their own database now",
    "deleting",
    "nothing is left",
)


@pytest.fixture
def _killed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is killed reopens nothing."""
    monkeypatch.setattr(moving, "_reopen_surely", lambda _: None)


@pytest.mark.usefixtures("_killed_at_once")
def test_run_that_is_killed_after_a_step_is_gone_on_with(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(databases[0].connection, 500)
    before = everything(databases[0].connection)

    def die(_: object) -> None:
        raise KilledError

    for words in BOUNDARIES:
        with told(*(each.url for each in databases)) as again, pytest.raises(KilledError):
            to_the_end(splitting.split(again, killed_at(words)))
        if words == "all has arrived":
            with monkeypatch.context() as patch:
                patch.setattr(splitting, "open_target", die)
                with pytest.raises(KilledError):
                    divide(databases)
    divide(databases)
    check_divided(databases, before)


@pytest.mark.usefixtures("_killed_at_once")
@pytest.mark.parametrize("stride", [7, 11])
def test_run_that_is_killed_at_any_statement_is_gone_on_with(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    fill(databases[0].connection, 500)
    before = everything(databases[0].connection)
    execute = psycopg.Connection.execute
    left = 0

    def execute_or_die(self: Connection, *args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise KilledError
        return execute(self, *args, **kwargs)

    monkeypatch.setattr(psycopg.Connection, "execute", execute_or_die)
    for run in itertools.count(1):
        with told(*(each.url for each in databases)) as again:
            left = run * stride
            try:
                to_the_end(splitting.split(again, silent))
            except KilledError:
                continue
            finally:
                left = 0
        break
    check_divided(databases, before)


@pytest.mark.usefixtures("_killed_at_once")
def test_undo_leaves_the_first_as_it_was(databases: Databases) -> None:
    fill(databases[0].connection, 500)
    before = everything(databases[0].connection)
    for words in BOUNDARIES[:5]:
        with told(*(each.url for each in databases)) as again, pytest.raises(KilledError):
            to_the_end(splitting.split(again, killed_at(words)))
        assert splitting.undo(databases, silent)
        assert not splitting.undo(databases, silent)
        assert everything(databases[0].connection) == before
        assert [of_replication(each.connection) for each in databases] == [0, 0]
    with pytest.raises(KilledError):
        to_the_end(splitting.split(databases, killed_at("all has arrived")))
    with pytest.raises(MigrationError, match=r"all of the shards 128-255 has arrived .* already"):
        splitting.undo(databases, silent)
    divide(databases)
    check_divided(databases, before)


def test_nothing_of_the_moved_is_written_to_the_first_any_more(databases: Databases) -> None:
    connection = databases[0].connection
    fill(connection, 500)
    # Each schedule of the tests has the id of a timer.
    of_moved = connection.execute("SELECT shard, id FROM schedules WHERE shard > 127").fetchone()
    with pytest.raises(KilledError):
        to_the_end(splitting.split(databases, killed_at("they have left")))
    with pytest.raises(psycopg.errors.CheckViolation, match="no partition"):
        name(connection, "new", 200)
    with pytest.raises(psycopg.errors.CheckViolation, match="schedules_of_this_cell"):
        connection.execute(
            "UPDATE schedules SET version = 2 WHERE (shard, id) = (%s, %s)", of_moved
        )
    changed = "UPDATE timers SET attempt = 1 WHERE (shard, id) = (%s, %s)"
    assert connection.execute(changed, of_moved).rowcount == 0
    name(connection, "new", 100)


def name_in(cell: Cell) -> str:
    """Return a name whose timer is in a cell."""
    names = (f"name-in-{number}" for number in itertools.count())
    return next(key for key in names if key_shard(DEFAULT_PROJECT, key) in cell.shards)


def test_shards_are_reopened_while_a_callback_is_under_way(databases: Databases) -> None:
    connection = databases[0].connection
    fill(connection, 10)
    claimed = name(connection, name_in(SECOND), 130)
    claim = "UPDATE timers SET claimed_by = %s, claim = 1, attempt = 1, status = 'executing'"
    connection.execute(f"{claim}, due_at = NULL WHERE id = %s".encode(), [uuid4(), claimed])
    with pytest.raises(MigrationError, match=f"1 callbacks .* under way \\({claimed}\\)"):
        divide(databases, drain_s=0)
    assert kept_of(connection) is None
    connection.execute(
        "UPDATE timers SET claimed_by = NULL, due_at = now() WHERE id = %s", [claimed]
    )
    divide(databases)
    assert rows(databases[1].connection, "timers", f"id = '{claimed}'")


def test_shards_are_reopened_while_somebody_holds_the_table(databases: Databases) -> None:
    fill(databases[0].connection, 10)
    with psycopg.connect(databases[0].url) as other:
        other.execute("SELECT FROM timers")
        with pytest.raises(BuildPutOffError, match="the oldest is that of pid"):
            divide(databases, drain_s=0.2)
    assert kept_of(databases[0].connection) is None
    divide(databases)


def test_replica_that_comes_meanwhile_must_have_been_told(databases: Databases) -> None:
    connection = databases[0].connection
    fill(connection, 10)

    def tell(words: str) -> None:
        if "closing" in words:
            join(connection, "1-2")

    with pytest.raises(MigrationError, match=r"other CELLS, .* \(h:7\): restart them"):
        to_the_end(splitting.split(databases, tell))
    assert kept_of(connection) is None
    connection.execute("UPDATE replicas SET map = %s", [MAP])
    divide(databases)


def join(connection: Connection, cells: str | None) -> None:
    connection.execute(
        "INSERT INTO replicas (id, started_at, host, pid, map) VALUES (%s, now(), 'h', 7, %s)",
        [uuid4(), cells],
    )


def test_lost_slot_is_told_and_can_be_taken_back(databases: Databases) -> None:
    fill(databases[0].connection, 100)
    before = everything(databases[0].connection)
    with pytest.raises(KilledError):
        to_the_end(splitting.split(databases, killed_at("all is copied")))
    databases[1].connection.execute("ALTER SUBSCRIPTION timer_trio_split DISABLE")
    connection = databases[0].connection
    connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_replication")
    connection.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        " WHERE database = current_database()"
    )
    with pytest.raises(MigrationError, match="no more, as after a failover"):
        divide(databases)
    assert splitting.undo(databases, silent)
    divide(databases)
    check_divided(databases, before)


def test_server_that_took_the_place_of_another_is_not_trusted(databases: Databases) -> None:
    fill(databases[0].connection, 10)
    with pytest.raises(KilledError):
        to_the_end(splitting.split(databases, killed_at("all is copied")))
    databases[1].connection.execute("COMMENT ON SUBSCRIPTION timer_trio_split IS '7/1'")
    with pytest.raises(MigrationError, match="may lack what had arrived at the one before"):
        divide(databases)
    assert splitting.undo(databases, silent)
    divide(databases)


def test_leftovers_are_of_deleted_timers_as_well_and_forbid_partitions(
    databases: Databases,
) -> None:
    first, second = (each.connection for each in databases)
    fill(first, 100)
    with pytest.raises(KilledError):
        to_the_end(splitting.split(databases, killed_at("all is copied")))
    query = "SELECT timer_id FROM attempts WHERE shard > 127 LIMIT 1"
    (gone,) = first.execute(query).fetchone() or (None,)
    assert rows(second, "attempts", f"timer_id = '{gone}'")
    for table, key in (("attempts", "timer_id"), ("timers", "id")):
        first.execute(f"DELETE FROM {table} WHERE {key} = %s".encode(), [gone])  # noqa: S608 - ours
    with pytest.raises(KilledError):
        to_the_end(splitting.split(databases, killed_at("deleting")))
    with pytest.raises(MigrationError, match="still there: timer-trio cells split drops them"):
        plan_partition(first, 8)
    divide(databases)
    assert not rows(second, "attempts", f"timer_id = '{gone}'")
    plan_partition(first, 8)


def test_copy_that_fails_is_told(databases: Databases) -> None:
    fill(databases[0].connection, 100)
    with pytest.raises(KilledError):
        to_the_end(splitting.split(databases, killed_at("is being filled")))
    fill(databases[1].connection, 100)
    with pytest.raises(MigrationError, match=r"has failed \d+ times: the log"):
        divide(databases)
    assert splitting.undo(databases, silent)
    divide(databases)


def untold(databases: Databases) -> None:
    join(databases[0].connection, None)


def older(databases: Databases) -> None:
    databases[0].connection.execute(
        "ALTER TABLE replicas DROP COLUMN map; ALTER TABLE cell_map DROP COLUMN moving;"
        " DELETE FROM timer_trio_migrations WHERE version = 35"
    )


def not_empty(databases: Databases) -> None:
    databases[1].connection.execute(
        "INSERT INTO flows (project, flow_key, changed, created_at, updated_at)"
        " VALUES (0, 'x', 1, now(), now())"
    )


def foreign(databases: Databases) -> None:
    databases[1].connection.execute(
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE theirs ()"
    )


def other_cell(databases: Databases) -> None:
    databases[1].connection.execute(
        "INSERT INTO cell_map (map, own) VALUES ('0-63;64-255', '64-255')"
    )


def indivisible(databases: Databases) -> None:
    shard = key_shard(DEFAULT_PROJECT, "one") ^ 128
    for key in ("one", "two"):
        name(databases[0].connection, key, shard, flow_key="flow")
    databases[0].connection.execute(
        "UPDATE timers SET status = 'canceled', due_at = NULL WHERE key = 'two'"
    )


def indivisible_schedule(databases: Databases) -> None:
    shard = key_shard(DEFAULT_PROJECT, "one") ^ 128
    databases[0].connection.execute(
        "INSERT INTO schedules (shard, id, name, status, version, created_at, updated_at, rule,"
        " catch_up, overlap, jitter_s, template, planned_to)"
        " VALUES (%s, %s, 'one', 'active', 1, now(), now(), '{}', 'all', 'allow', 0, '{}', now())",
        [shard, UUID(bytes=uuid4().bytes[:15] + bytes([shard]))],
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (untold, r"other CELLS, or are of an older release \(h:7\): restart"),
        (older, r"lacks steps of the schema \(0035 cell_moves\): timer-trio db --cell 0-127 mig"),
        (not_empty, "has rows already, and was never told to be a cell"),
        (foreign, r"holds tables of others \(`theirs`\)"),
        (other_cell, "this database is cell 64-255 of 0-63;64-255, and not 128-255"),
        (indivisible_schedule, "1 schedules have a name whose cell is another .* such as 'one' of"),
        (indivisible, "1 timers have a name whose cell is another .* such as 'one' of"),
    ],
)
def test_what_cannot_be_divided_stays_as_it_is(
    databases: Databases, make: Callable[[Databases], None], words: str
) -> None:
    fill(databases[0].connection, 10)
    make(databases)
    before = everything(databases[0].connection)
    with pytest.raises(MigrationError, match=words):
        divide(databases)
    assert everything(databases[0].connection) == before
    assert of_replication(databases[0].connection) == 0


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ((Cell(0, 99), Cell(100, 255)), "db --cell 0-99 partition --by 64 first"),
        ((Cell(0, 100), Cell(101, 255)), "does not begin and end at a multiple of 4"),
    ],
)
def test_cells_begin_where_partitions_do(
    databases: Databases, cells: Sequence[Cell], words: str
) -> None:
    fill(databases[0].connection, 10)
    urls = [each.url for each in databases]
    with told(*urls, cells=cells) as others, pytest.raises(MigrationError, match=words):
        divide(others)


def test_database_that_is_divided_comes_first(databases: Databases) -> None:
    fill(databases[0].connection, 10)
    urls = [each.url for each in databases]
    with (
        told(*reversed(urls)) as exchanged,
        pytest.raises(MigrationError, match="is that of the first part"),
    ):
        divide(exchanged)


def test_plan_names_all_that_is_missing(database_url: str, empty_database_url: str) -> None:
    with told(database_url, empty_database_url) as databases:
        name(databases[0].connection, "one", 1)
        join(databases[0].connection, None)
        lines = splitting.plan(databases)
    missing = [line for line in lines if line.startswith("Missing: ")]
    assert [
        any(words in line for line in missing)
        for words in ("wal_level = replica", "partition --by 2 first", "older release (h:7)")
    ] == [True] * 3


def test_parts_leave_one_after_the_other(
    servers: tuple[Server, Server], divisible: str, migrated: str
) -> None:
    cells = (Cell(0, 127), Cell(128, 191), Cell(192, 255))
    with (
        made(servers[0], divisible) as source,
        made(servers[1], migrated) as second,
        made(servers[1], migrated) as third,
        told(source, second, third, cells=cells) as databases,
    ):
        fill(databases[0].connection, 500)
        timers = rows(databases[0].connection, "timers")
        assert divide(databases)[-1] == "call it again to move the shards 128-191"
        kept = KeptMap("0-127;128-191;192-255", "0-191")
        assert kept_of(databases[0].connection) == kept
        divide(databases)
        assert find(databases) is None
        own = [rows(each.connection, "timers") for each in databases]
        assert own[0] | own[1] | own[2] == timers
        assert sum(map(len, own)) == len(timers)


def test_command_says_how_far_it_is_and_no_password(databases: Databases, tmp_path: Path) -> None:
    fill(databases[0].connection, 100)
    urls = [each.url.replace("@", ":hunter2@") for each in databases]
    cells = ";".join(f"{cell}={url}" for cell, url in zip((FIRST, SECOND), urls, strict=True))

    def run(*arguments: str) -> tuple[int, str]:
        code, out, err = run_command(tmp_path, "cells", *arguments, CELLS=cells, API_KEY=API_KEY)
        assert "hunter2" not in out + err
        return code, out + err

    code, said = run("status")
    assert code == 2
    assert "its shards are in the database of 0-127: timer-trio cells split" in said
    code, said = run("split", "--dry-run")
    assert code == 0
    assert "Missing" not in said
    assert run("split", "--undo") == (0, "nothing to undo: nothing is begun\n")
    code, said = run("split", "--source-url", "postgres//timers:hunter2@a")
    assert (code, "not a PostgreSQL connection string" in said) == (2, True)
    with told(*urls) as again, pytest.raises(KilledError):
        to_the_end(splitting.split(again, killed_at("all is copied")))
    databases[0].connection.execute(
        "INSERT INTO cell_map VALUES (true, '0-255', '0-255', '128-255')"
    )
    code, said = run("status")
    assert "128-255 moves to the next cell, and is closed until then" in said
    assert "it is being filled from the database of 0-127: timer-trio cells split" in said
    code, said = run("split")
    assert (code, "they were closed for" in said) == (0, True)
    code, said = run("status")
    assert (code, said.count("well")) == (0, 2)
