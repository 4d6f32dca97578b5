"""What a new cell is given once its timers have arrived, and what its shards leave behind.

All of it lies between closing and opening, and is little: what all cells know alike, and settings
of flows. What is much is left for later: see `leftovers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from psycopg.sql import SQL, Identifier

from timer_trio.domain.cells import Cell
from timer_trio.domain.flow import FlowKey, flow_shard
from timer_trio.domain.project import ProjectId
from timer_trio.storage.migrations.division import CellDatabase, Division, kept_of
from timer_trio.storage.migrations.patience import execute_patiently
from timer_trio.storage.migrations.taken import Connection

ALIKE: Final = (
    "projects",
    "api_keys",
    "key_seal",
    "signing_secrets",
    "paused_destinations",
    "rule_changes",
)
"""What all cells know alike, in the order in which it can be written."""

PAGE: Final = 10_000

_COLUMNS: Final = """
    SELECT attname FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_DELETE_FLOWS: Final = """
    DELETE FROM flows USING unnest(%s::integer[], %s::text[]) AS gone (project, flow_key)
    WHERE flows.project = gone.project AND flows.flow_key = gone.flow_key
"""


def hand_over(division: Division) -> None:
    """Give the target what it needs beside timers, and delete in both what is the other's.

    The subscription must have ended: what is deleted here would else be deleted there.
    """
    source, target = division.source.connection, division.target.connection
    _copy_alike(source, target)
    _copy_terms(division)
    _keep_flows(target, division.moved)
    _keep_flows(source, division.stays)
    for table in ("schedules", "flow_terms"):
        execute_patiently(
            source,
            SQL("DELETE FROM {} WHERE shard BETWEEN {} AND {}").format(
                Identifier(table), *division.moved
            ),
        )
    # There are fewer of them now: whoever asks next counts them.
    execute_patiently(source, SQL("UPDATE project_quotas SET counted_at = NULL").format())


def open_target(division: Division) -> None:
    """Have the target served."""
    division.target.connection.execute("UPDATE cell_map SET moving = NULL")


def tell_map(databases: Sequence[CellDatabase], cells: str) -> None:
    """Tell this map to those that know an older one, and have their cell of it."""
    query = "UPDATE cell_map SET map = %s WHERE own = %s AND map <> %s AND moving IS NULL"
    for each in databases:
        if kept_of(each.connection) is not None:
            each.connection.execute(query, [cells, str(each.cell), cells])


def _copy_alike(source: Connection, target: Connection) -> None:
    """Replace what the target has by what the source has, in one snapshot."""
    with source.transaction(), target.transaction():
        source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for table in reversed(ALIKE):
            target.execute(SQL("DELETE FROM {}").format(Identifier(table)))
        for table in ALIKE:
            _copy(source, target, table)


def _copy_terms(division: Division) -> None:
    source, target = division.source.connection, division.target.connection
    # An earlier run may have copied them, and deleted them in the source.
    if target.execute("SELECT FROM flow_terms LIMIT 1").fetchone() is None:
        _copy(source, target, "flow_terms", division.moved)


def _copy(source: Connection, target: Connection, table: str, shards: Cell | None = None) -> None:
    names = [name for (name,) in target.execute(_COLUMNS, [table])]
    columns = SQL(", ").join(map(Identifier, names))
    which = SQL("" if shards is None else "WHERE shard BETWEEN {} AND {}").format(*shards or ())
    reading = SQL("COPY (SELECT {} FROM {} {}) TO STDOUT").format(columns, Identifier(table), which)
    writing = SQL("COPY {} ({}) FROM STDIN").format(Identifier(table), columns)
    with source.cursor().copy(reading) as rows, target.cursor().copy(writing) as written:
        for data in rows:
            written.write(data)


def _keep_flows(connection: Connection, own: Cell) -> None:
    """Delete the settings of flows of other shards."""
    flows = connection.execute("SELECT project, flow_key FROM flows").fetchall()
    others = (
        (project, key)
        for project, key in flows
        if flow_shard(ProjectId(project), FlowKey(key)) not in own.shards
    )
    for page in _pages(others):
        projects, keys = zip(*page, strict=True)
        connection.execute(_DELETE_FLOWS, [[*projects], [*keys]])


def _pages(rows: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    while page := list(islice(rows, PAGE)):
        yield page
