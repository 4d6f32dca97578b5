"""The databases among which the timers are divided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict

from timer_trio.cli.errors import DatabaseFailedError
from timer_trio.cli.group import read_settings, version
from timer_trio.cli.table import aligned, in_columns
from timer_trio.config import CellUrl
from timer_trio.domain.cells import CellMap, KeptMap, difference
from timer_trio.storage.migrations import migrate
from timer_trio.storage.migrations.taken import Connection
from timer_trio.storage.postgres import cell_map
from timer_trio.storage.postgres.connections import bounded, connect
from timer_trio.storage.postgres.servers import servers_of
from timer_trio.storage.postgres.sqlstate import words_of

_HEADINGS: Final = ("cell", "database", "replicas", "timers", "state")


@click.group("cells")
@version
def cells_command() -> None:
    """Inspect the databases that CELLS names."""


@cells_command.command()
@version
def status() -> None:
    """Tell of each cell where it is, how many replicas and timers it has, and how it is.

    The number of timers is the database's own estimate. Exit code 2: something is to be changed.
    """
    databases = read_settings().databases
    if not databases:
        raise DatabaseFailedError("the service runs a database of its own: there are no cells")
    cells = CellMap([each.cell for each in databases])
    rows = [_row(each, KeptMap(str(cells), str(each.cell))) for each in databases]
    for row in aligned([_HEADINGS, *rows], range(2, 4)):
        click.echo(in_columns(row))
    if any(row[-1] != _WELL for row in rows):
        raise DatabaseFailedError("not all cells are well: see above")


_WELL: Final = "well"


def _row(database: CellUrl, told: KeptMap) -> tuple[str, ...]:
    url = database.url.get_secret_value()
    head = (str(database.cell), _place(url))
    try:
        with connect(url) as connection:
            return (*head, *_facts(connection, told))
    except psycopg.Error as error:
        return (*head, "", "", words_of(error))


def _place(url: str) -> str:
    """Name a database without its user and password."""
    given = conninfo_to_dict(url)
    where = ",".join(server.name for server in servers_of(bounded(url)))
    return f"{where}/{given.get('dbname') or given.get('user') or ''}"


def _facts(connection: Connection, told: KeptMap) -> Iterator[str]:
    if any(state.is_lacking for state in migrate.status(connection)):
        yield from ("", "", "it lacks a step of the schema: start the service")
        return
    facts = cell_map.facts(connection)
    yield from (str(facts.replicas), f"{facts.timers:,}")
    if facts.kept is None and told.map != told.own:
        yield "it has not been told of the cells: start the service"
    else:
        yield difference(facts.kept, told) or _WELL
