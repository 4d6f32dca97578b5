"""What must hold before a database is divided: all that is missing, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from timer_trio.domain.cells import Cell, CellMap, read_map
from timer_trio.domain.keys import key_shard
from timer_trio.domain.project import ProjectId
from timer_trio.domain.releases import listed
from timer_trio.domain.timer import SHARDS, TimerId, shard_of
from timer_trio.storage.migrations import moving
from timer_trio.storage.migrations.checks import OLDEST_POSTGRESQL, check_is_ours
from timer_trio.storage.migrations.division import CellDatabase, Division, holds_anything, kept_of
from timer_trio.storage.migrations.partitioning import COUNTS
from timer_trio.storage.migrations.shape import read_table
from timer_trio.storage.migrations.steps import load_migrations
from timer_trio.storage.migrations.taken import Connection, has_table, taken_steps

SLOTS: Final = 3
"""Of ours one, and of the tables that are being copied two at a time."""
PAGE: Final = 10_000

_SERVER: Final = """
    SELECT
        current_setting('wal_level'),
        current_setting('max_replication_slots')::integer
            - (SELECT count(*) FROM pg_replication_slots),
        current_setting('max_wal_senders')::integer - (SELECT count(*) FROM pg_stat_replication),
        rolsuper OR rolreplication,
        has_database_privilege(current_database(), 'CREATE'),
        current_setting('synchronous_standby_names')
    FROM pg_roles WHERE rolname = current_user
"""
_CUTTING: Final = """
    SELECT name, reset_val FROM pg_settings
    WHERE name IN ('statement_timeout', 'transaction_timeout') AND reset_val <> '0'
"""
_MAY_SUBSCRIBE: Final = """
    SELECT rolsuper OR (
        EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = 'pg_create_subscription')
        AND (
            SELECT bool_and(pg_has_role(r.oid, 'USAGE')) FROM pg_roles AS r
            WHERE r.rolname = 'pg_create_subscription'
        )
        AND has_database_privilege(current_database(), 'CREATE')
    )
    FROM pg_roles WHERE rolname = current_user
"""
_NAMES: Final = """
    SELECT project, key, timer_ids[1] FROM timer_keys WHERE kind = 'name'
"""
_SCHEDULE_NAMES: Final = """
    SELECT project, name, id FROM schedules WHERE name IS NOT NULL AND status <> 'ended'
"""
_LIVE: Final = """
    SELECT id FROM unnest(%s::uuid[]) AS asked (id) JOIN timers USING (id)
    WHERE shard = get_byte(uuid_send(id), 15) AND status IN ('pending', 'executing', 'retrying')
"""


@dataclass(frozen=True, slots=True)
class _Named:
    """What a name stands for."""

    project: ProjectId
    name: str
    id: TimerId


def lacking(division: Division, *, is_own_url: bool = True) -> Iterator[str]:
    """Say what is missing before the division can begin, or go on.

    `is_own_url`: the target's server reaches the source as we do.
    """
    if steps := [*_lacking_schema(division)]:
        yield from steps  # what else is asked may need them
        return
    yield from _lacking_at_source(division)
    if is_own_url:
        yield from _cut_off(division)
    yield from _lacking_at_target(division)
    if untold := moving.untold_replicas(division):
        yield untold
    elif not division.is_begun:
        # From then on replicas refuse what cannot be divided.
        yield from _indivisible(division)


def partition_count(moved: Cell) -> int | None:
    """Return in how few partitions these shards have some of their own; None: in none."""
    return next(
        (
            count
            for count in COUNTS
            if count > 1
            and moved.first % (SHARDS // count) == 0
            and (moved.last + 1) % (SHARDS // count) == 0
        ),
        None,
    )


def _lacking_schema(division: Division) -> Iterator[str]:
    known = load_migrations()
    source = division.source
    taken = taken_steps(source.connection, known)
    if missing := [str(step) for step in known if step.version not in taken]:
        yield (
            f"the database of {source.cell} lacks steps of the schema ({listed(missing)}):"
            f" timer-trio db --cell {source.cell} migrate"
        )


def _lacking_at_source(division: Division) -> Iterator[str]:
    source, connection = division.source, division.source.connection
    if connection.info.server_version < OLDEST_POSTGRESQL * 10_000:
        yield f"the database of {source.cell} needs PostgreSQL {OLDEST_POSTGRESQL} or newer"
    row = connection.execute(_SERVER).fetchone()
    level, slots, senders, may_replicate, may_publish, standbys = row or ("", 0, 0, 0, 0, "")
    if level != "logical":
        yield (
            f"the server of {source.cell} has wal_level = {level}: set it to logical, and start the"
            " server again"
        )
    if not division.is_begun and min(slots, senders) < SLOTS:
        yield (
            f"the server of {source.cell} has {slots} replication slots and {senders} WAL senders"
            f" free, and {SLOTS} are needed: raise max_replication_slots or max_wal_senders"
        )
    if "*" in standbys:
        yield (
            f"the server of {source.cell} has synchronous_standby_names = {standbys}, so that its"
            " commits might wait for the new database in place of a standby: name the standbys"
        )
    if not may_replicate:
        yield f"ALTER ROLE {connection.info.user} REPLICATION, by an administrator of {source.cell}"
    if not may_publish:
        yield (
            f"GRANT CREATE ON DATABASE {connection.info.dbname} TO {connection.info.user}, by an"
            f" administrator of {source.cell}"
        )
    yield from _lacking_table(division)


def _cut_off(division: Division) -> Iterator[str]:
    """Say which settings of the role would cut the copying off: it is one statement for a table."""
    connection, cell = division.source.connection, division.source.cell
    for name, value in connection.execute(_CUTTING):
        yield (
            f"the role {connection.info.user} has {name} = {value} ms in the database of {cell},"
            f" which ends the copying of a table: ALTER ROLE {connection.info.user} RESET {name}"
            " meanwhile, or let --source-url name another role that owns the tables"
        )


def _lacking_table(division: Division) -> Iterator[str]:
    cell = division.source.cell
    table = read_table(division.source.connection)
    if not table.may_alter:
        yield (
            f"the tables of {cell} belong to the role {table.owner}: let its URL name that one for"
            " this command"
        )
    if table.has_copy:
        yield (
            f"`timers` of {cell} is being put into partitions: let that end, timer-trio db --cell"
            f" {cell} partition"
        )
    elif not division.is_switched and not _has_bounds(division):
        yield _partition_first(division)


def _has_bounds(division: Division) -> bool:
    """Whether the moved shards have partitions of their own."""
    moved = division.moved
    crossed = [
        shards
        for _, shards in moving.partitions(division.source.connection)
        if shards.first <= moved.last and moved.first <= shards.last
    ]
    return bool(crossed) and all(
        moved.first <= shards.first and shards.last <= moved.last for shards in crossed
    )


def _partition_first(division: Division) -> str:
    count = partition_count(division.moved)
    if count is None:
        return (
            f"cell {division.moved} does not begin and end at a multiple of {SHARDS // COUNTS[-1]},"
            " as partitions do: choose other CELLS"
        )
    cell = division.source.cell
    return (
        f"`timers` has no partitions of {division.moved}, which could be moved as a whole:"
        f" timer-trio db --cell {cell} partition --by {count} first, or with more"
    )


def _lacking_at_target(division: Division) -> Iterator[str]:
    target, connection = division.target, division.target.connection
    if connection.info.server_version < OLDEST_POSTGRESQL * 10_000:
        yield f"the database of {target.cell} needs PostgreSQL {OLDEST_POSTGRESQL} or newer"
    check_is_ours(connection)
    row = connection.execute(_MAY_SUBSCRIBE).fetchone()
    if row is None or not row[0]:
        yield (
            f"the role {connection.info.user} may not create subscriptions in the database of"
            f" {target.cell}: from PostgreSQL 16 on GRANT pg_create_subscription and CREATE ON"
            " DATABASE to it, or let the URL name a superuser for this command"
        )
    if not division.is_begun:
        yield from _lacking_emptiness(target)
    if not has_table(connection, "timers"):
        return
    schemas = [read_table(each.connection).schema for each in (division.source, target)]
    if len({*schemas}) > 1:
        yield f"the tables are in the schemas {' and '.join(schemas)}: they must be in one alike"


def _lacking_emptiness(target: CellDatabase) -> Iterator[str]:
    if kept := kept_of(target.connection):
        yield f"the database of {target.cell} has been told already that it is {kept.own}"
    elif holds_anything(target.connection):
        yield f"the database of {target.cell} is not empty: a cell begins without a row"


def _indivisible(division: Division) -> Iterator[str]:
    connection = division.source.connection
    if not has_table(connection, "timer_keys"):
        return
    with connection.transaction():
        timers = _live(connection, _mismatched(connection, _NAMES, division.cells))
        yield from _told_indivisible("timers", timers)
    with connection.transaction():
        schedules = _mismatched(connection, _SCHEDULE_NAMES, division.cells)
        yield from _told_indivisible("schedules", schedules)


def _told_indivisible(things: str, found: Iterator[_Named]) -> Iterator[str]:
    first = next(found, None)
    if first is not None:
        count = 1 + sum(1 for _ in found)
        yield (
            f"{count} {things} have a name whose cell is another than that of their flow, such as"
            f" {first.name!r} of {first.id}: they would not be found by it any more. Wait until"
            " they have ended, cancel them, or choose CELLS that keep them together"
        )


def _mismatched(connection: Connection, query: str, cells: CellMap) -> Iterator[_Named]:
    """Yield what is of another cell than its name says."""
    told = read_map(str(cells))  # nobody has held anything in it
    with connection.cursor(name="names") as rows:
        rows.itersize = PAGE
        for project, name, told_id in rows.execute(query.encode()):
            by_name = told.of_shard(key_shard(ProjectId(project), name))
            if by_name != told.of_shard(shard_of(TimerId(told_id))):
                yield _Named(ProjectId(project), name, TimerId(told_id))


def _live(connection: Connection, found: Iterator[_Named]) -> Iterator[_Named]:
    while page := list(islice(found, PAGE)):
        ids = _ids(connection, page)
        yield from (each for each in page if each.id in ids)


def _ids(connection: Connection, page: Sequence[_Named]) -> set[Any]:
    rows = connection.execute(_LIVE, [[each.id for each in page]])
    return {timer_id for (timer_id,) in rows}
