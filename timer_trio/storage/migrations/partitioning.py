"""Puts `timers` into partitions by ranges of `shard`, or back into one table, beside the work.

The command `db partition` does it, in steps of which each can be the last of a run: the next run
goes on from there, and `undo` drops what is begun.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg.sql import SQL, Identifier

from timer_trio.domain.releases import listed
from timer_trio.domain.timer import SHARDS
from timer_trio.storage.migrations import copying
from timer_trio.storage.migrations.builds import alone
from timer_trio.storage.migrations.checks import COPY, older_replicas
from timer_trio.storage.migrations.division import detached_tables
from timer_trio.storage.migrations.errors import BuildPutOffError, MigrationError
from timer_trio.storage.migrations.indexes import build, partition_names
from timer_trio.storage.migrations.paging import Paged
from timer_trio.storage.migrations.shape import (
    Table,
    columns_of,
    foreign_parts,
    indexes_of_copy,
    read_table,
)
from timer_trio.storage.migrations.steps import PARTITIONS, load_migrations
from timer_trio.storage.migrations.taken import Connection, taken_steps

COUNTS: Final = (1, 2, 4, 8, 16, 32, 64)
"""Into how many; 1: one table."""

_STEPS: Final = (
    f"""\
1. An empty copy, {COPY}, is made, and triggers that write to it what is written to `timers`.
   Creating them locks out writers for some milliseconds.""",
    """\
2. All rows are copied, by pages of 25 ms, half of the time. This takes as much disk again, and
   twice as much WAL.""",
    """\
3. The indexes are built beside the work; then all rows of both are compared in one snapshot, which
   locks nothing.""",
    """\
4. The copy takes the name of `timers`, and that is dropped. This locks everybody out for some ten
   milliseconds. No such lock is waited for longer than 50 ms at a time.""",
    "It can be stopped at any time and called again; --undo drops the copy.",
)

Tell = Callable[[str], object]


def plan(connection: Connection, count: int) -> Sequence[str]:
    """Say what `partition` would do; raises as that does."""
    table = _checked(connection, count)
    if not table.has_copy and table.partitions == _tables(count):
        return [f"`timers` is {_named(count)} already: nothing to do"]
    begun = "A copy is begun: it goes on with that. " if table.has_copy else ""
    takes = f"{table.size / 1e9:.1f} GB as {_named(table.partitions or 1)}"
    what = f"{begun}`timers` has about {table.rows} rows and takes {takes}."
    return [f"{what} It becomes {_named(count)}:", *_STEPS]


def partition(connection: Connection, count: int, tell: Tell) -> Generator[Paged, None, None]:
    """Divide `timers` into so many partitions, or make it one table; yields while it copies.

    The connection must be in autocommit mode, and is the owner's.

    Raises:
        BuildBusyError: somebody else is at it, or builds an index.
        BuildPutOffError: not now.
        MigrationError: it cannot be done, and why. What is begun stays, and can be gone on with.
    """
    table = _checked(connection, count)
    if not table.has_copy and table.partitions == _tables(count):
        tell(f"`timers` is {_named(count)} already")
        return
    with _as_owner(connection, table):
        if not table.has_copy:
            copying.begin(connection, table, count)
        tell("copying; what is written meanwhile is written to the copy as well")
        yield from copying.fill(connection, table)
        for name, index in indexes_of_copy(connection, table).items():
            tell(f"building what is {name} there")
            build(connection, index)
        connection.execute(SQL("ANALYZE {}").format(Identifier(table.schema, COPY)))
        rows = copying.compare(connection, table)
        tell(f"{rows} rows are the same in both")
        held_s = copying.swap(connection, table, is_divided=count > 1)
        tell(
            f"`timers` is {_named(count)} now; everybody was locked out for {1000 * held_s:.0f} ms"
        )


def undo(connection: Connection) -> bool:
    """Drop a copy that is begun; False: there is none. Raises as `partition`."""
    table = read_table(connection)
    _check_owner(table)
    if not table.has_copy:
        return False
    with _as_owner(connection, table):
        copying.drop(connection, table)
    return True


@contextmanager
def _as_owner(connection: Connection, table: Table) -> Iterator[None]:
    """Be alone, and make what is made the owner's own."""
    with alone(connection):
        # All that is named without a schema is where `timers` is.
        connection.execute(SQL("SET search_path = {}").format(Identifier(table.schema)))
        connection.execute(SQL("SET ROLE {}").format(Identifier(table.owner)))
        try:
            yield
        except psycopg.errors.QueryCanceled as error:
            raise BuildPutOffError(
                "it was cancelled, by hand or for a step of the schema: run this again to go on"
            ) from error


def _checked(connection: Connection, count: int) -> Table:
    """Read the table; raises MigrationError if it cannot become what it shall."""
    known = load_migrations()
    taken = taken_steps(connection, known)
    if missing := [str(step) for step in known if step.version not in taken]:
        raise MigrationError(
            f"the database lacks steps of the schema ({listed(missing)}): timer-trio db migrate"
        )
    table = read_table(connection)
    _check_owner(table)
    if foreign := foreign_parts(connection, table):
        raise MigrationError(
            f"others have made what hangs on the table `timers` ({listed(foreign)}), which would be"
            " lost: drop it first, and make it again afterwards"
        )
    if count > 1 and (older := older_replicas(connection, PARTITIONS)):
        raise MigrationError(
            f"replicas of older releases ({older}) cannot work with partitions: stop them first"
        )
    if detached_tables(connection):
        raise MigrationError(
            "partitions that were moved to another cell are still there: timer-trio cells split"
            " drops them"
        )
    if table.has_copy:
        _check_copy(connection, table, count)
    return table


def _check_owner(table: Table) -> None:
    if not table.may_alter:
        raise MigrationError(
            f"the table `timers` belongs to the role {table.owner}: let DATABASE_URL name that one"
            " for this command"
        )


def _check_copy(connection: Connection, table: Table, count: int) -> None:
    begun = len(partition_names(connection, COPY))
    if begun != _tables(count):
        raise MigrationError(
            f"a copy as {_named(begun or 1)} is begun: call it with --by {begun or 1} to go on with"
            " that, or drop it with --undo"
        )
    if columns_of(connection, table) != columns_of(connection, table, COPY):
        raise MigrationError(
            "`timers` has changed since its copy was begun: drop it with --undo, and begin again"
        )


def _tables(count: int) -> int:
    return count if count > 1 else 0


def _named(count: int) -> str:
    if count == 1:
        return "one table"
    return f"{count} partitions of {SHARDS // count} shards"
