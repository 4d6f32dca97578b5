"""The concurrent steps of the schema: taken while the service works."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import psycopg
import structlog
import trio

from timer_trio.storage.migrations.builds import build_next
from timer_trio.storage.migrations.errors import BuildPutOffError, MigrationError
from timer_trio.storage.migrations.steps import Migration, load_migrations
from timer_trio.storage.postgres.connections import connect
from timer_trio.storage.postgres.sqlstate import words_of
from timer_trio.threads import start_in_thread

Failure = psycopg.Error | MigrationError

FIRST_LOOK_S: Final = 5.0
"""After a start there are better things to do, and the other steps are taken by then."""

RETRY_S: Final = 60.0
"""While another process builds, the database is away, or a transaction is in the way: a build that
is given up has read the whole table."""

log = structlog.get_logger()


async def build_indexes(database_url: str, migrations: Sequence[Migration] | None = None) -> None:
    """Take the concurrent steps that the database lacks; ends when it lacks none, or may not.

    The URL leads to the server itself, past any pooler.

    Cancellation: at once. The server finishes the index that it is building, and whoever comes next
    finds it and writes down that it is there.
    """
    known = load_migrations() if migrations is None else migrations
    told = ""
    await trio.sleep(FIRST_LOOK_S)
    while (error := await _build_in_thread(database_url, known)) is not None:
        reason = words_of(error) if isinstance(error, psycopg.Error) else str(error)
        if isinstance(error, MigrationError) and not isinstance(error, BuildPutOffError):
            log.warning("index_build_refused", reason=reason)
            return
        if reason != told:
            log.info("index_build_put_off", reason=reason)
        told = reason
        await trio.sleep(RETRY_S)


async def _build_in_thread(database_url: str, known: Sequence[Migration]) -> Failure | None:
    """Build in a worker thread, which goes on if this is cancelled."""
    results: list[Failure | None] = []
    has_ended = trio.Event()

    def end(result: Failure | None) -> None:
        results.append(result)
        has_ended.set()

    try:
        start_in_thread(partial(_build_all, database_url, known), end)
    except RuntimeError as error:
        return BuildPutOffError(str(error))
    await has_ended.wait()
    return results[0]


def _build_all(database_url: str, known: Sequence[Migration]) -> Failure | None:
    try:
        with connect(database_url) as connection:
            while step := build_next(connection, known, _log_begin):
                log.info("migrated", step=str(step))
    except (psycopg.Error, MigrationError) as error:
        return error
    return None


def _log_begin(step: Migration) -> None:
    log.info("index_build_started", step=str(step))
