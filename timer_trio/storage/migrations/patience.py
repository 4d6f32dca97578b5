"""What is waited for under a lock that holds others up: a moment, and then again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg.sql import SQL, Composed, Literal

from timer_trio.storage.migrations.errors import BuildPutOffError
from timer_trio.storage.migrations.taken import Connection

LOCK_WAIT: Final = "50ms"
"""Whoever comes behind us waits as long: a claim waits twice that for a row, and is asked again."""
LOCK_PAUSE_S: Final = 0.5
LOCK_TRIES: Final = 1200

IN_THE_WAY: Final = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)

_OLDEST: Final = """
    SELECT pid, usename, application_name, state, xact_start FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
    ORDER BY xact_start LIMIT 1
"""


def rest(seconds: float) -> None:
    """Let others work."""
    time.sleep(seconds)  # noqa: TID251 - nobody waits for a command


def execute_patiently(connection: Connection, statement: Composed) -> None:
    """Run what needs such a lock, in a transaction or as a part of one.

    Raises:
        BuildPutOffError: somebody holds what it needs all the time.
    """

    def act() -> None:
        connection.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(LOCK_WAIT)))
        connection.execute(statement, prepare=False)

    patiently(connection, act)


def patiently(connection: Connection, act: Callable[[], object]) -> None:
    """Act in a transaction, or in a part of one; raises as `execute_patiently`."""
    for _ in range(LOCK_TRIES):
        try:
            with connection.transaction():
                act()
        except IN_THE_WAY:
            rest(LOCK_PAUSE_S)
        else:
            return
    raise BuildPutOffError(f"somebody holds the table: {in_the_way(connection)}")


def in_the_way(connection: Connection) -> str:
    """Name the oldest transaction that somebody else has open."""
    row = connection.execute(_OLDEST).fetchone()
    if row is None:
        return "whose they are this role may not see"
    pid, user, application, state, since = row
    return (
        f"the oldest is that of pid {pid} (user {user}, application {application or 'unnamed'},"
        f" {state}), since {since:%Y-%m-%d %H:%M:%S%z}; end it, or wait for its end"
    )
