"""Indexes built beside the work: of a table that is whole, or of each of its partitions.

PostgreSQL builds none CONCURRENTLY on a table in partitions. So it is declared there, which takes a
moment, built on each partition, and attached; once the last one is, it is whole. All of this can be
begun anew after a crash, and what is there stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.sql import SQL, Composed, Identifier

from timer_trio.storage.migrations.patience import execute_patiently
from timer_trio.storage.migrations.taken import Connection

_PARTITIONS: Final = """
    SELECT c.relname FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
    WHERE inhparent = to_regclass(%s) ORDER BY c.relname
"""
_IS_VALID: Final = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
_IS_ATTACHED: Final = "SELECT FROM pg_inherits WHERE inhrelid = to_regclass(%s)"
_IS_DIVIDED: Final = "SELECT relkind IN ('p', 'I') FROM pg_class WHERE oid = to_regclass(%s)"


@dataclass(frozen=True, slots=True)
class Index:
    """An index by its name, the table it is of, and what is said of it behind that."""

    name: str
    table: str
    definition: str
    is_unique: bool = False

    def statement(self, *, how: str = "", only: str = "") -> Composed:
        """Return what builds it: `how` is CONCURRENTLY, `only` is ONLY."""
        unique = "UNIQUE " if self.is_unique else ""
        return SQL(f"CREATE {unique}INDEX {how} {{}} ON {only} {{}} {{}}").format(
            Identifier(self.name), Identifier(self.table), SQL(self.definition)
        )


def build(connection: Connection, index: Index) -> None:
    """Build an index that is not there, or not whole; the connection is in autocommit mode."""
    if is_valid(connection, index.name):
        return
    if not is_divided(connection, index.table):
        _build_whole(connection, index)
        return
    if is_valid(connection, index.name) is None:
        execute_patiently(connection, index.statement(only="ONLY"))
    for partition in partition_names(connection, index.table):
        own = Index(_name_in(partition, index), partition, index.definition, index.is_unique)
        if connection.execute(_IS_ATTACHED, [own.name]).fetchone() is None:
            _build_whole(connection, own)
            attach = SQL("ALTER INDEX {} ATTACH PARTITION {}").format(
                Identifier(index.name), Identifier(own.name)
            )
            execute_patiently(connection, attach)


def drop(connection: Connection, name: str) -> None:
    """Drop an index that may be there; the connection is in autocommit mode."""
    if is_valid(connection, name) is None:
        return
    if is_divided(connection, name):
        execute_patiently(connection, SQL("DROP INDEX {}").format(Identifier(name)))
    else:
        connection.execute(_dropping(name), prepare=False)


def is_valid(connection: Connection, name: str) -> bool | None:
    """Whether an index is whole; False: it is being built or dropped; None: there is none."""
    row = connection.execute(_IS_VALID, [name]).fetchone()
    return row[0] if row else None


def is_divided(connection: Connection, name: str) -> bool:
    """Whether a table or an index is in partitions."""
    row = connection.execute(_IS_DIVIDED, [name]).fetchone()
    return row is not None and bool(row[0])


def partition_names(connection: Connection, table: str) -> Sequence[str]:
    """Name the partitions of a table."""
    return [name for (name,) in connection.execute(_PARTITIONS, [table])]


def _build_whole(connection: Connection, index: Index) -> None:
    state = is_valid(connection, index.name)
    if state is False:
        connection.execute(_dropping(index.name), prepare=False)
    if not state:
        connection.execute(index.statement(how="CONCURRENTLY"), prepare=False)


def _dropping(name: str) -> Composed:
    return SQL("DROP INDEX CONCURRENTLY {}").format(Identifier(name))


def _name_in(partition: str, index: Index) -> str:
    told = index.name.removeprefix(f"{index.table}_").removeprefix("timers_")
    return f"{partition}_{told}"
