"""A copy of `timers` in another shape: kept up to date, filled, compared, and swapped in.

Triggers write to the copy whatever is written to `timers`, in the same transaction; what was there
before them is copied in the order in which it lies. So once that is done both are the same in any
one snapshot. All that is waited for under a lock which holds others up is waited for a moment, and
then again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from psycopg.sql import SQL, Composed, Identifier, Literal

from timer_trio.domain.releases import listed
from timer_trio.domain.timer import SHARDS
from timer_trio.storage.migrations.checks import COPY, excluded_replicas
from timer_trio.storage.migrations.errors import MigrationError
from timer_trio.storage.migrations.indexes import is_valid
from timer_trio.storage.migrations.paging import Paged, Pager
from timer_trio.storage.migrations.patience import LOCK_WAIT, execute_patiently, patiently
from timer_trio.storage.migrations.shape import (
    DELETE,
    POSITION,
    PRIMARY_KEY,
    TURN,
    WRITE,
    Table,
    columns_of,
    identifiers,
    indexes_of_copy,
    make_copy,
    trigger_functions,
    triggers,
)
from timer_trio.storage.migrations.steps import PARTITIONS
from timer_trio.storage.migrations.taken import Connection, forget, record


def begin(connection: Connection, table: Table, count: int) -> None:
    """Make the copy, and have it written to from now on; nothing is in it yet."""
    columns = columns_of(connection, table)
    timers, position = (Identifier(table.schema, name) for name in ("timers", POSITION))
    with connection.transaction():
        make_copy(connection, table, count)
        for function in trigger_functions(table, columns):
            connection.execute(function)
        execute_patiently(
            connection, SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(timers)
        )
        for trigger in triggers(table):
            connection.execute(trigger)
        # What is there now is in these blocks; what comes, the triggers write.
        connection.execute(
            SQL(
                "CREATE TABLE {} AS SELECT oid AS part, 0::bigint AS next,"
                " pg_relation_size(oid) / current_setting('block_size')::bigint AS blocks"
                " FROM pg_class WHERE relkind = 'r' AND {} IN ("
                "  SELECT oid UNION ALL SELECT inhparent FROM pg_inherits WHERE inhrelid = oid)"
            ).format(position, Literal(table.oid))
        )


def fill(connection: Connection, table: Table) -> Iterator[Paged]:
    """Copy what was there before the copy was, from where an earlier run has ended."""
    copy_page = _page_copier(connection, table)
    query = SQL("SELECT part, part::regclass::text, next, blocks FROM {} ORDER BY 1")
    parts = connection.execute(query.format(Identifier(table.schema, POSITION))).fetchall()
    done, blocks = (sum(part[place] for part in parts) for place in (2, 3))
    pager = Pager(connection)
    for oid, part, first, end in parts:
        before = done - first
        for at in pager.work(first, end, partial(copy_page, oid, part)):
            done = before + at
            yield Paged(done, blocks)


def _page_copier(connection: Connection, table: Table) -> Callable[[int, str, int, int], None]:
    """Return what copies some blocks of a table that has rows, by its oid and its name."""
    columns = identifiers(columns_of(connection, table))
    copy, position = (Identifier(table.schema, name) for name in (COPY, POSITION))

    # What a crash loses of the copy it loses of the position as well. The lock is a statement of
    # its own: the next one sees what those have deleted for whom it has waited.
    copying = SQL(
        "SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = {wait};"
        " SET LOCAL enable_seqscan = off; SELECT pg_advisory_xact_lock({turn});"
        " INSERT INTO {copy} ({columns}) SELECT {columns} FROM ONLY {part}"
        " WHERE ctid >= {first}::tid AND ctid < {last}::tid ON CONFLICT (shard, id) DO NOTHING;"
        " UPDATE {position} SET next = {next} WHERE part = {oid}"
    )

    def copy_page(oid: int, part: str, first: int, end: int) -> None:
        connection.execute(
            copying.format(
                wait=Literal(LOCK_WAIT),
                turn=Literal(TURN),
                copy=copy,
                columns=columns,
                part=SQL(part),
                first=Literal(f"({first},0)"),
                last=Literal(f"({end},0)"),
                position=position,
                next=Literal(end),
                oid=Literal(oid),
            )
        )

    return copy_page


def compare(connection: Connection, table: Table) -> int:
    """Compare all rows of both in one snapshot, and answer how many there are.

    Raises:
        MigrationError: they differ.
    """
    columns = identifiers(columns_of(connection, table))
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        ours, theirs = (
            _summed(connection, Identifier(table.schema, name), columns)
            for name in ("timers", COPY)
        )
    if ours != theirs:
        shards = [each for each in range(SHARDS) if ours.get(each) != theirs.get(each)]
        raise MigrationError(
            f"the copy is not what `timers` is, in shards {', '.join(map(str, shards[:8]))}:"
            " somebody has written to one of them by hand, or has rewritten the table (VACUUM FULL,"
            " CLUSTER) meanwhile. Drop it with `timer-trio db partition --undo`, and begin again"
        )
    return sum(count for count, _ in ours.values())


def _summed(
    connection: Connection, table: Identifier, columns: Composed
) -> Mapping[int, tuple[int, int]]:
    query = SQL(
        "SELECT shard, count(*), sum(hashtextextended(ROW({})::text, 0)) FROM {} GROUP BY shard"
    ).format(columns, table)
    return {shard: (count, hashed) for shard, count, hashed in connection.execute(query)}


def swap(connection: Connection, table: Table, *, is_divided: bool) -> float:
    """Put the copy in the place of `timers`, which is dropped.

    Answers how long all others were locked out, but for the commit: in the end that unlinks the
    files of the table, when nobody waits any more.

    Raises:
        MigrationError: not now, or not with this copy; nothing has changed.
    """
    held_s = 0.0

    def act() -> None:
        nonlocal held_s
        held_s = _swap(connection, table, is_divided=is_divided)

    patiently(connection, act)
    return held_s


def _swap(connection: Connection, table: Table, *, is_divided: bool) -> float:
    timers, copy = (Identifier(table.schema, name) for name in ("timers", COPY))
    _hold_still(connection, timers)
    changes = [
        SQL("DROP TABLE {}").format(timers),
        SQL("ALTER TABLE {} RENAME TO timers").format(copy),
        *_renamings(connection, table),
        *_tool_drops(table),
    ]
    locks = SQL(
        "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE; LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE"
    ).format(timers, copy)
    execute_patiently(connection, locks)
    began = time.monotonic()
    # In one message: each answer that is waited for is waited for by everybody.
    connection.execute(SQL("; ").join(changes))
    if is_divided and (older := excluded_replicas(connection, PARTITIONS)):
        raise MigrationError(f"replicas of older releases have come ({older}): stop them first")
    forget(connection, PARTITIONS)
    if is_divided:
        record(connection, PARTITIONS)
    return time.monotonic() - began


def _renamings(connection: Connection, table: Table) -> Sequence[Composed]:
    """Return what gives each index of the copy the name that its like has."""
    indexes = indexes_of_copy(connection, table)
    if lacking := [name for name, own in indexes.items() if not is_valid(connection, own.name)]:
        raise MigrationError(
            f"`timers` has indexes that its copy lacks ({listed(lacking)}): run this again"
        )
    names = {PRIMARY_KEY: "timers_pkey"} | {own.name: name for name, own in indexes.items()}
    return [
        SQL("ALTER INDEX {} RENAME TO {}").format(Identifier(table.schema, now), Identifier(name))
        for now, name in names.items()
    ]


def drop(connection: Connection, table: Table) -> None:
    """Forget the copy: `timers` stays as it is."""
    timers, copy = (Identifier(table.schema, name) for name in ("timers", COPY))
    changes = [
        *(
            SQL("DROP TRIGGER {} ON {}").format(Identifier(f"{COPY}_{verb}"), timers)
            for verb in ("insert", "update", "delete")
        ),
        SQL("DROP TABLE {}").format(copy),
        *_tool_drops(table),
    ]
    with connection.transaction():
        _hold_still(connection, timers)
        execute_patiently(connection, SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(timers))
        connection.execute(SQL("; ").join(changes))


def _hold_still(connection: Connection, timers: Identifier) -> None:
    """Have autovacuum yield, which it does to who waits for long, and nobody else notices."""
    connection.execute(SQL("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE").format(timers))


def _tool_drops(table: Table) -> Sequence[Composed]:
    functions = (Identifier(table.schema, name) for name in (WRITE, DELETE))
    return [
        *(SQL("DROP FUNCTION {}()").format(name) for name in functions),
        SQL("DROP TABLE {}").format(Identifier(table.schema, POSITION)),
    ]
