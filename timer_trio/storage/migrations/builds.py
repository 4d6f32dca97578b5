"""Concurrent steps: an index is built or dropped beside the work, outside any transaction.

One at a time in a database: whoever does so holds a lock of his session, and so of a connection
that no pooler divides. Nobody ever waits for that lock in a statement: PostgreSQL lets a build wait
for the snapshot of each statement that is older than it, so the two would wait for each other.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import psycopg

from timer_trio.storage.migrations.checks import check_is_not_copied, older_replicas
from timer_trio.storage.migrations.errors import (
    BuildBusyError,
    BuildPutOffError,
    MigrationError,
    explained,
)
from timer_trio.storage.migrations.indexes import Index, build, drop
from timer_trio.storage.migrations.patience import in_the_way
from timer_trio.storage.migrations.steps import IndexChange, Migration, index_change
from timer_trio.storage.migrations.taken import Connection, forget, record, taken_steps
from timer_trio.storage.postgres.connections import is_own

LOCK: Final = 0x494E444558
"""Any number that all replicas agree upon and nobody else is likely to."""

WAIT: Final = "10min"
"""A build waits for each transaction that began before it, which holds up nobody else. Those of the
service end within ten seconds, a dump within minutes; given up, all that was built is lost. A
session that is left open for longer than this is named, rather than waited for for ever."""

STOP_POLL_S: Final = 0.05
STOP_POLLS: Final = 100
"""A build that is cancelled ends within milliseconds."""

_MADE: Final = re.compile(
    r"CREATE (UNIQUE )?INDEX CONCURRENTLY (\w+)\s+ON\s+(\w+)\s+(.+)", re.DOTALL
)

# A build takes as long as it takes, and one core: the other ones are for claims.
_SETTINGS: Final = """
    SELECT set_config(name, CASE name WHEN 'lock_timeout' THEN %s ELSE '0' END, false)
    FROM pg_settings WHERE name IN (
        'lock_timeout', 'statement_timeout', 'transaction_timeout', 'idle_session_timeout',
        'max_parallel_maintenance_workers'
    )
"""

_CANCEL: Final = """
    SELECT pg_cancel_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND datname = current_database() AND usename = current_user
        AND (classid::bigint << 32) + objid::bigint = %s AND objsubid = 1
        AND mode = 'ExclusiveLock' AND granted
"""


def build_next(
    connection: Connection,
    known: Sequence[Migration],
    on_begin: Callable[[Migration], object],
) -> Migration | None:
    """Take the first concurrent step that the database lacks; None: it lacks none.

    The connection must be in autocommit mode; its timeouts are others afterwards.

    Raises:
        BuildBusyError: somebody else is at it.
        BuildPutOffError: it cannot be taken now; the words say what is in the way.
        MigrationError: it cannot be done, and why.
    """
    if _first_missing(connection, known) is None:
        return None
    with alone(connection):
        # Another process may have taken it in between.
        if step := _first_missing(connection, known):
            on_begin(step)
            with explained(step, after_failure="is not taken"):
                _change(connection, step, index_change(step.up))
                record(connection, step)
        return step


def take_back(connection: Connection, step: Migration) -> None:
    """Take a concurrent step back; raises as `build_next`."""
    with alone(connection), explained(step, after_failure="is not taken back"):
        # In this order whoever is asked again after a crash in between finds it.
        _change(connection, step, index_change(step.down))
        forget(connection, step)


def stop_builds(connection: Connection) -> None:
    """Let no index be built before this transaction ends; a build that is under way is given up.

    It is begun anew later: a step that code needs must not wait for one that it does not.

    Raises:
        psycopg.errors.LockNotAvailable: another role builds one.
    """
    for _ in range(STOP_POLLS):
        if _got(connection, "pg_try_advisory_xact_lock_shared"):
            return
        connection.execute(_CANCEL, [LOCK])
        time.sleep(STOP_POLL_S)  # noqa: TID251 - this is a worker thread or a command
    raise psycopg.errors.LockNotAvailable("another role builds an index just now")


def _first_missing(connection: Connection, known: Sequence[Migration]) -> Migration | None:
    taken = taken_steps(connection, known)
    missing = [
        step
        for step in known
        if step.version not in taken and (step.is_concurrent or not step.oldest_release)
    ]
    step = next((step for step in missing if step.is_concurrent), None)
    if step is not None and not missing[0].is_concurrent:
        raise BuildPutOffError(f"step {step} waits for step {missing[0]}")
    if step is not None:
        check_is_not_copied(connection)
    if step is not None and (older := older_replicas(connection, step)):
        raise BuildPutOffError(
            f"step {step} is taken once no replica is older than {step.oldest_release}, and there"
            f" are {older}"
        )
    return step


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Be the only one in the database who builds an index or copies a table.

    Raises:
        BuildBusyError: somebody else is at it.
        MigrationError: there is a pooler in between.
    """
    if not is_own(connection):
        raise MigrationError(
            "an index cannot be built through a pooler, which may give the session to others: let"
            " DATABASE_URL lead straight to PostgreSQL for `timer-trio db`, or LISTEN_URL for the"
            " service"
        )
    if not _got(connection, "pg_try_advisory_lock"):
        raise BuildBusyError
    try:
        connection.execute(_SETTINGS, [WAIT])
        yield
    finally:
        if not connection.closed:
            _got(connection, "pg_advisory_unlock")


def _got(connection: Connection, function: str) -> bool:
    row = connection.execute(f"SELECT {function}(%s)".encode(), [LOCK]).fetchone()
    return row is not None and row[0] is not False


def _change(connection: Connection, step: Migration, change: IndexChange) -> None:
    """Make or drop an index, whatever an earlier try has left; again, nothing happens."""
    try:
        if change.is_made:
            build(connection, _index_of(change))
        else:
            drop(connection, change.index)
    except psycopg.errors.LockNotAvailable as error:
        raise BuildPutOffError(
            f"step {step} has waited {WAIT} for transactions that began before it, and was given up"
            f" for now: {in_the_way(connection)}"
        ) from error
    except psycopg.errors.QueryCanceled as error:
        raise BuildPutOffError(
            f"step {step} was cancelled, by hand or for a step that is needed at once: run this"
            " again"
        ) from error


def _index_of(change: IndexChange) -> Index:
    match = _MADE.fullmatch(change.sql)
    if match is None:
        raise ValueError(f"no table is named in {change.sql!r}")
    unique, name, table, definition = match.groups()
    return Index(name, table, definition, is_unique=bool(unique))
