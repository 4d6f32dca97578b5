"""Which database is to be divided, and between which cells: as all of them say by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from psycopg.sql import SQL, Identifier

from timer_trio.domain.cells import (
    UNTOLD,
    Cell,
    CellMap,
    KeptMap,
    difference,
)
from timer_trio.storage.migrations.errors import MigrationError
from timer_trio.storage.migrations.taken import Connection, has_table

REPLICATED: Final = ("timers", "schedules", "timer_keys", "flows", "attempts")
"""What goes from one database to the other by replication."""

DETACHED: Final = "timers_moved_"
"""So begin the names of what has been moved away, until it is dropped."""

# By way of JSON: a database that lacks the last step of the schema has no such column.
_KEPT: Final = """
    SELECT kept ->> 'map', kept ->> 'own', kept ->> 'moving'
    FROM (SELECT to_jsonb(cell_map) AS kept FROM cell_map) AS rows
"""

_DETACHED: Final = """
    SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE n.nspname = current_schema() AND relkind = 'r' AND relname ~ %s ORDER BY relname
"""


class CellDatabase(NamedTuple):
    """The database that CELLS names for a cell, on a connection in autocommit mode."""

    cell: Cell
    url: str
    connection: Connection


@dataclass(frozen=True, slots=True)
class Division:
    """The last shards of what one database has are moved to that of the cell which they are."""

    cells: CellMap
    source: CellDatabase
    target: CellDatabase

    @property
    def moved(self) -> Cell:
        return self.target.cell

    @property
    def stays(self) -> Cell:
        """What the source has afterwards; it may be divided once more."""
        return Cell(self.source.cell.first, self.moved.first - 1)

    @property
    def is_begun(self) -> bool:
        """Whether the target is being filled."""
        kept = kept_of(self.target.connection)
        return kept is not None and kept.moving is not None

    @property
    def is_switched(self) -> bool:
        """Whether the source has the moved shards no more."""
        kept = kept_of(self.source.connection)
        return kept is not None and kept.held == self.stays


def kept_of(connection: Connection) -> KeptMap | None:
    """Read what a database was told of cells; None: nothing."""
    if not has_table(connection, "cell_map"):
        return None
    row = connection.execute(_KEPT).fetchone()
    return KeptMap(*row) if row else None


def find(databases: Sequence[CellDatabase]) -> Division | None:
    """Choose what is to be divided next: what is begun, else the last part of the first such.

    Raises:
        MigrationError: the databases cannot be those of these cells.
    """
    cells = CellMap([each.cell for each in databases])
    begun = [each for each in databases if _is_being_filled(each, str(cells))]
    for target in begun:
        return Division(cells, _source_of(target, databases), target)
    held = {each.cell: _held(each, str(cells)) for each in databases}
    for source in databases:
        of_source = held[source.cell]
        if of_source is not None and of_source.last > source.cell.last:
            target = next(each for each in databases if each.cell.last == of_source.last)
            return Division(cells, source, target)
    return None


def holds_anything(connection: Connection) -> bool:
    """Whether a database has anything that belongs to a cell."""
    tables = [table for table in REPLICATED if has_table(connection, table)]
    if not tables:
        return False
    each = SQL(" OR ").join(
        SQL("EXISTS (SELECT FROM {})").format(Identifier(table)) for table in tables
    )
    row = connection.execute(SQL("SELECT {}").format(each)).fetchone()
    return row is not None and bool(row[0])


def detached_tables(connection: Connection) -> Sequence[str]:
    """Name what has been moved away from a database, and lies there still."""
    rows = connection.execute(_DETACHED, [rf"^{DETACHED}\d{{3}}_\d{{3}}$"])
    return [name for (name,) in rows]


def shards_of(detached: str) -> Cell:
    """Read which shards such a table has."""
    first, last = detached.removeprefix(DETACHED).split("_")
    return Cell(int(first), int(last))


def _is_being_filled(database: CellDatabase, told: str) -> bool:
    kept = kept_of(database.connection)
    if kept is None or kept.moving != kept.own:
        return False
    if (kept.map, kept.own) != (told, str(database.cell)):
        raise MigrationError(
            f"the database of {database.cell} is being filled as {kept.own} of {kept.map}: go on"
            " with the CELLS of then, or take it back with them and --undo"
        )
    return True


def _source_of(target: CellDatabase, databases: Sequence[CellDatabase]) -> CellDatabase:
    """Find who has the shards that a cell is being given, or has just given them away."""
    for each in databases:
        kept = kept_of(each.connection)
        if kept is None and each.cell.first > 0:
            continue  # it is to be filled later
        held = (kept or UNTOLD).held
        if each is not target and held.first < target.cell.first <= held.last + 1:
            return each
    raise MigrationError(
        f"no other database has the shards {target.cell}, with which that of {target.cell} is being"
        " filled: CELLS names another one than it did then"
    )


def _held(database: CellDatabase, told: str) -> Cell | None:
    """Return what a database has; None: nothing yet."""
    kept = kept_of(database.connection)
    if kept is None and not holds_anything(database.connection):
        return None
    if kept is None and database.cell.first > 0:
        raise MigrationError(
            f"the database of {database.cell} has rows already, and was never told to be a cell: a"
            " new cell begins empty, and the database that is to be divided is that of the first"
            " part"
        )
    if wrong := difference(kept, KeptMap(told, str(database.cell))):
        raise MigrationError(f"{database.cell}: {wrong}")
    return (kept or UNTOLD).held
