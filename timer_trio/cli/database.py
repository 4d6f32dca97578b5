"""How a command reaches the database of the settings, or the service's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final, TypeVar

import click
import psycopg
import trio

from timer_trio.cli.errors import DatabaseFailedError
from timer_trio.cli.group import read_settings
from timer_trio.config import CellUrl, Settings
from timer_trio.embedded import DataDirHeldError, embedded_postgres, running_url
from timer_trio.storage.migrations.taken import Connection
from timer_trio.storage.postgres.connections import connect
from timer_trio.storage.postgres.sqlstate import is_gone, words_of

T = TypeVar("T")


_CELL: Final = f"{__name__}.cell"


def choose_cell(name: str | None) -> None:
    """Have the commands of this group reach the cell of these shards; None: the only one."""
    click.get_current_context().meta[_CELL] = name


def with_connection(action: Callable[[Connection], T], settings: Settings | None = None) -> T:
    """Call `action` with a connection to the database of the settings; None: they are read.

    Raises:
        StartRefusedError: the settings are wrong, or our own database does not start.
        DatabaseFailedError: the database does not let us.
    """

    def connect_and_act(url: str) -> T:
        with connect(url) as connection:
            return action(connection)

    return with_database(connect_and_act, settings)


def with_database(action: Callable[[str], T], settings: Settings | None = None) -> T:
    """Call `action` with the database's URL; raises as `with_connection`."""

    async def act() -> T:
        async with _database(settings or read_settings()) as url:
            with in_words():
                return action(url)

    return trio.run(act)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    """Reach the database of the settings or our own, which is started if it does not run."""
    if settings.databases:
        yield _chosen(settings.databases).url.get_secret_value()
        return
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(embedded_postgres(settings.data_dir))
        except DataDirHeldError:
            if (running := running_url(settings.data_dir)) is None:
                raise
            url = running
        yield url


def _chosen(databases: Sequence[CellUrl]) -> CellUrl:
    context = click.get_current_context(silent=True)
    name = context.meta.get(_CELL) if context else None
    if name is None and len(databases) == 1:
        return databases[0]
    for each in databases:
        if str(each.cell) == name:
            return each
    names = ", ".join(str(each.cell) for each in databases)
    raise DatabaseFailedError(f"say of which cell: timer-trio db --cell RANGE ...; of {names}")


@contextmanager
def in_words() -> Iterator[None]:
    """Raise DatabaseFailedError for what a database does not let us do."""
    try:
        yield
    except psycopg.Error as error:
        told = "no answer from the database" if is_gone(error) else "the database refuses"
        raise DatabaseFailedError(f"{told}: {words_of(error)}") from error
