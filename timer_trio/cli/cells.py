"""The databases among which the timers are divided."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict

from timer_trio.cli.database import in_words
from timer_trio.cli.errors import DatabaseFailedError
from timer_trio.cli.group import read_settings, version
from timer_trio.cli.table import aligned, in_columns
from timer_trio.cli.terminal import written_over
from timer_trio.config import CellUrl
from timer_trio.domain.cells import ALL, Cell, CellMap, KeptMap, difference
from timer_trio.storage.migrations import migrate, splitting
from timer_trio.storage.migrations.division import CellDatabase, holds_anything
from timer_trio.storage.migrations.taken import Connection
from timer_trio.storage.postgres import cell_map
from timer_trio.storage.postgres.cell_map import CellFacts
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
    databases = _of_settings()
    cells = CellMap([each.cell for each in databases])
    found = [_look(each) for each in databases]
    rows = [_row(each, cells, _holder(each, found)) for each in found]
    for row in aligned([_HEADINGS, *rows], range(2, 4)):
        click.echo(in_columns(row))
    if any(row[-1] != _WELL for row in rows):
        raise DatabaseFailedError("not all cells are well: see above")


def _url(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    try:
        if value is not None:
            bounded(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None  # its cause quotes what may be a password
    return value


@cells_command.command("split")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done, and what is missing.")
@click.option("--undo", is_flag=True, help="Take back what an earlier run has begun.")
@click.option(
    "--drain",
    "drain_s",
    metavar="SECONDS",
    type=click.FloatRange(0, 60),
    default=splitting.DRAIN_S,
    show_default=True,
    help="How long callbacks that are under way are waited for once their shards are closed.",
)
@click.option(
    "--source-url",
    metavar="URL",
    callback=_url,
    help="How the new database's server reaches the one that is divided, if not as CELLS says.",
)
@version
def split_command(*, dry_run: bool, undo: bool, drain_s: float, source_url: str | None) -> None:
    """Move the shards of a cell out of the database that has them still.

    All processes must have been started with the new CELLS. The service goes on, but for some
    seconds in which no timer of these shards fires. The command can be stopped and called again.
    """
    if undo and dry_run:
        raise click.UsageError("say either --dry-run or --undo")
    with _all_databases() as databases:
        if dry_run:
            click.echo("\n".join(splitting.plan(databases, source_url)))
        elif undo:
            undone = splitting.undo(databases, _tell)
            click.echo("taken back" if undone else "nothing to undo: nothing is begun")
        else:
            _split(databases, drain_s, source_url)


def _split(databases: Sequence[CellDatabase], drain_s: float, source_url: str | None) -> None:
    steps = splitting.split(databases, _tell, drain_s=drain_s, source_url=source_url)
    try:
        with _ended_in_order(), written_over() as write:
            for progress in steps:
                write(progress)
    except KeyboardInterrupt:
        click.echo("stopped: call it again to go on", err=True)
        raise


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Have what ends a process, or its terminal, interrupt it: closed shards are reopened then."""
    ending = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(each, signal.default_int_handler) for each in ending]
    try:
        yield
    finally:
        for each, handler in zip(ending, before, strict=True):
            signal.signal(each, handler)


def _tell(words: str) -> None:
    click.echo(words, err=True)


@contextmanager
def _all_databases() -> Iterator[Sequence[CellDatabase]]:
    """Connect to the databases of all cells."""
    databases = _of_settings()
    with ExitStack() as stack:
        connections = [stack.enter_context(_connected(each)) for each in databases]
        with in_words():
            yield [
                CellDatabase(each.cell, each.url.get_secret_value(), connection)
                for each, connection in zip(databases, connections, strict=True)
            ]


def _connected(database: CellUrl) -> Connection:
    try:
        return connect(database.url.get_secret_value())
    except psycopg.Error as error:
        raise DatabaseFailedError(f"cell {database.cell} is away: {words_of(error)}") from error


def _of_settings() -> Sequence[CellUrl]:
    databases = read_settings().databases
    if not databases:
        raise DatabaseFailedError("the service runs a database of its own: there are no cells")
    return databases


_WELL: Final = "well"


class _Found(NamedTuple):
    """What is found of a cell; `trouble`: why not more."""

    cell: Cell
    place: str
    facts: CellFacts | None = None
    held: Cell | None = None
    is_empty: bool = True
    trouble: str = ""


def _look(database: CellUrl) -> _Found:
    url = database.url.get_secret_value()
    found = _Found(database.cell, _place(url))
    try:
        with connect(url) as connection:
            return _read(connection, found)
    except psycopg.Error as error:
        return found._replace(trouble=words_of(error))


def _place(url: str) -> str:
    """Name a database without its user and password."""
    given = conninfo_to_dict(url)
    where = ",".join(server.name for server in servers_of(bounded(url)))
    return f"{where}/{given.get('dbname') or given.get('user') or ''}"


def _read(connection: Connection, found: _Found) -> _Found:
    if any(state.is_lacking for state in migrate.status(connection)):
        return found._replace(trouble="it lacks a step of the schema: start the service")
    facts = cell_map.facts(connection)
    is_empty = not holds_anything(connection)
    is_whole = facts.kept is None and found.cell.first == 0 and not is_empty
    held = facts.kept.held if facts.kept else (ALL if is_whole else None)
    return found._replace(facts=facts, held=held, is_empty=is_empty)


def _holder(found: _Found, all_found: Sequence[_Found]) -> Cell | None:
    """Return whose database has the shards of a cell beside its own; None: none but its own."""
    return next(
        (
            each.cell
            for each in all_found
            if each is not found and each.held and found.cell.first in each.held.shards
        ),
        None,
    )


def _row(found: _Found, cells: CellMap, holder: Cell | None) -> tuple[str, ...]:
    facts = found.facts
    counts = (str(facts.replicas), f"{facts.timers:,}") if facts else ("", "")
    return (str(found.cell), found.place, *counts, _state(found, cells, holder))


def _state(found: _Found, cells: CellMap, holder: Cell | None) -> str:
    kept = found.facts.kept if found.facts else None
    if holder is not None:
        if kept is not None and kept.moving == kept.own:
            return f"it is being filled from the database of {holder}: timer-trio cells split"
        return f"its shards are in the database of {holder}: timer-trio cells split"
    if found.trouble:
        return found.trouble
    told = KeptMap(str(cells), str(found.cell))
    if kept is None and found.is_empty and not cells.is_single:
        return "it has not been told of the cells: start the service"
    if wrong := difference(kept, told):
        return wrong
    return _state_at_rest(found, kept)


def _state_at_rest(found: _Found, kept: KeptMap | None) -> str:
    if kept is not None and kept.moving == kept.own:
        return "its shards have arrived, and it is not open yet: timer-trio cells split"
    if kept is not None and kept.moving is not None:
        return f"{kept.moving} moves to the next cell, and is closed until then"
    if found.held is not None and found.held != found.cell:
        return f"it has {found.held}, more than its own: timer-trio cells split"
    return _WELL
