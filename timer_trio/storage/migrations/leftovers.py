"""What a division has left behind in both databases, deleted beside the work.

The detached partitions are dropped last: as long as one is there, it is known that more may be.

Rows of `timer_keys` that stand for an idempotent request stay in both until they expire: the timers
of a batch that was written while there was one cell are in any, and its request is repeated where
the key says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from timer_trio.domain.cells import Cell
from timer_trio.storage.migrations.division import CellDatabase, detached_tables, shards_of
from timer_trio.storage.migrations.indexes import partition_names
from timer_trio.storage.migrations.paging import Paged, Pager
from timer_trio.storage.migrations.patience import LOCK_WAIT, execute_patiently
from timer_trio.storage.migrations.taken import Connection

_BLOCKS: Final = """
    SELECT pg_relation_size(c) / current_setting('block_size')::bigint
    FROM (SELECT to_regclass(%s)) AS t (c) WHERE c IS NOT NULL
"""
_OTHERS: Final = {
    # Of timers that were deleted during the copy as well: no deletion of attempts is replicated.
    # They are looked for one by one: an EXISTS might read all timers for each page.
    "attempts": """
        shard NOT BETWEEN {} AND {}
        OR (SELECT id FROM timers AS t WHERE t.shard = part.shard AND t.id = part.timer_id) IS NULL
    """,
    "timer_keys": "kind = 'name' AND get_byte(uuid_send(timer_ids[1]), 15) NOT BETWEEN {} AND {}",
}


def cells_with_leftovers(databases: Sequence[CellDatabase]) -> Sequence[CellDatabase]:
    """Return the databases that have something of others, or may have."""
    gone = [shards_of(name) for each in databases for name in detached_tables(each.connection)]
    return [
        each
        for each in databases
        if detached_tables(each.connection)
        or any(shards.first in each.cell.shards for shards in gone)
    ]


def clean(connection: Connection, own: Cell) -> Iterator[Paged]:
    """Delete what is of other shards, by pages, half of the time; yields how far it is."""
    names = [("timer_keys", "timer_keys")]
    names += [("attempts", name) for name in partition_names(connection, "attempts")]
    parts = [_Part(table, name, _blocks(connection, name)) for table, name in names]
    blocks, before = sum(part.blocks for part in parts), 0
    pager = Pager(connection)
    for part in parts:
        # A replica may have dropped a partition of old attempts.
        with suppress(psycopg.errors.UndefinedTable):
            for done in pager.work(0, part.blocks, partial(_clean_page, connection, part, own)):
                yield Paged(before + done, blocks)
        before += part.blocks


@dataclass(frozen=True, slots=True)
class _Part:
    """A table, or a partition of it that has rows."""

    table: str
    name: str
    blocks: int


def _clean_page(connection: Connection, part: _Part, own: Cell, at: int, end: int) -> None:
    connection.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(LOCK_WAIT)))
    connection.execute(
        SQL("DELETE FROM ONLY {} AS part WHERE ctid >= {}::tid AND ctid < {}::tid AND ({})").format(
            Identifier(part.name),
            Literal(f"({at},0)"),
            Literal(f"({end},0)"),
            SQL(_OTHERS[part.table]).format(*map(Literal, own)),
        )
    )


def _blocks(connection: Connection, table: str) -> int:
    row = connection.execute(_BLOCKS, [table]).fetchone()
    return int(row[0]) if row and row[0] else 0


def drop_detached(connection: Connection) -> int:
    """Drop what has been moved away, and answer how many tables that were."""
    names = detached_tables(connection)
    for name in names:
        execute_patiently(connection, SQL("DROP TABLE {}").format(Identifier(name)))
    return len(names)
