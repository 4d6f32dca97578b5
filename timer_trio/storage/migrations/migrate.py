"""Brings a database to the schema of this code, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import psycopg
import structlog
import trio

from timer_trio.storage.migrations.checks import (
    check_grants,
    check_is_ours,
    check_server,
    excluded_replicas,
)
from timer_trio.storage.migrations.errors import MigrationError
from timer_trio.storage.migrations.steps import Migration, load_migrations
from timer_trio.storage.migrations.taken import Connection, forget, record, taken_steps
from timer_trio.storage.postgres.connections import connect
from timer_trio.storage.postgres.sqlstate import translated
from timer_trio.threads import run_in_thread

_LOCK: Final = 0x54494D4552  # any number that all replicas agree upon and nobody else is likely to

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StepState:
    """A step, and when it was taken; None: not yet. `oldest_release` as a `Migration` has it."""

    name: str
    oldest_release: str | None
    applied_at: datetime | None
    is_known: bool

    @property
    def kind(self) -> str:
        return f"after {self.oldest_release}" if self.oldest_release else "before"

    @property
    def is_lacking(self) -> bool:
        """Whether this version cannot work before it is taken."""
        return self.applied_at is None and self.oldest_release is None


async def migrate_database(database_url: str) -> None:
    """Connect and migrate, in a worker thread, as far as older replicas can go on.

    Raises:
        MigrationError: it cannot be done, and why.
        StorageUnavailableError: the database cannot be reached; call it again.
        ContentionError: another process migrates just now; call it again.
    """
    await run_in_thread(_migrate_database, database_url, limiter=trio.CapacityLimiter(1))


def _migrate_database(database_url: str) -> None:
    try:
        with connect(database_url) as connection:
            # A thread cannot be cut short while it waits for others.
            connection.execute("SET lock_timeout = '1s'")
            for migration in migrate(connection, spare_older=True):
                log.info("migrated", step=str(migration))
    except psycopg.Error as error:
        raise translated(error) from error


def migrate(
    connection: Connection,
    migrations: Sequence[Migration] | None = None,
    *,
    into_existing: bool = False,
    spare_older: bool = False,
) -> Sequence[Migration]:
    """Take the steps that the database lacks, each in a transaction, and answer which.

    The connection must be in autocommit mode. Any number of processes may do this at once. Beside
    tables of others the first step is taken only if `into_existing`. What replicas that live are
    too old for is left for later if `spare_older`, and an error otherwise.

    Raises:
        MigrationError: it cannot be done, and why. All steps that could be taken stay taken.
    """
    known = load_migrations() if migrations is None else migrations
    check_server(connection)
    check_grants(connection)
    take_next = partial(
        _take_next, connection, known, into_existing=into_existing, spare_older=spare_older
    )
    return list(iter(take_next, None))


def revert(
    connection: Connection, steps: int = 1, migrations: Sequence[Migration] | None = None
) -> Sequence[Migration]:
    """Take the last steps back, newest first, and answer which. Their data is gone.

    Raises:
        MigrationError: it cannot be done, and why.
    """
    known = load_migrations() if migrations is None else migrations
    taken_back = (_take_last_back(connection, known) for _ in range(steps))
    return [migration for migration in taken_back if migration]


def status(
    connection: Connection, migrations: Sequence[Migration] | None = None
) -> Sequence[StepState]:
    """List the steps, those that a newer version has taken as well, and when each was taken.

    Raises:
        MigrationError: the database is not ours, or too new for this code.
    """
    known = load_migrations() if migrations is None else migrations
    taken = taken_steps(connection, known)
    by_version = {migration.version: migration for migration in known}
    return [
        StepState(
            name=str(step := by_version.get(version) or taken[version]),
            oldest_release=step.oldest_release,
            applied_at=taken[version].applied_at if version in taken else None,
            is_known=version in by_version,
        )
        for version in sorted(by_version.keys() | taken.keys())
    ]


def _take_next(
    connection: Connection, known: Sequence[Migration], *, into_existing: bool, spare_older: bool
) -> Migration | None:
    with _locked(connection):
        taken = taken_steps(connection, known)
        if not into_existing:
            check_is_ours(connection)
        missing = [migration for migration in known if migration.version not in taken]
        if migration := _choose(connection, missing, spare_older=spare_older):
            _take(connection, migration)
        return migration


def _choose(
    connection: Connection, missing: Sequence[Migration], *, spare_older: bool
) -> Migration | None:
    """Choose the first step with which all replicas can go on."""
    held_up = []
    for migration in missing:
        replicas = excluded_replicas(connection, migration)
        if replicas is None:
            return migration
        held_up.append(
            f"step {migration} can be taken once no replica is older than"
            f" {migration.oldest_release}, and there are {replicas}"
        )
    if held_up and not spare_older:
        raise MigrationError(
            f"{held_up[0]}: stop them, then run this again. One that was killed is forgotten once a"
            " newer one has run for some seconds"
        )
    for reason in held_up:
        log.info("migration_put_off", reason=reason)
    return None


def _take_last_back(connection: Connection, known: Sequence[Migration]) -> Migration | None:
    with _locked(connection):
        taken = taken_steps(connection, known)
        by_version = {migration.version: migration for migration in known}
        if not taken:
            return None
        version = max(taken)
        if version not in by_version:
            raise MigrationError(
                "the database is newer than this version of timer-trio: it has step"
                f" {taken[version]}. Run that newer version, or revert the step with it"
            )
        _take_back(connection, by_version[version])
        return by_version[version]


@contextmanager
def _locked(connection: Connection) -> Iterator[None]:
    """Exclude other processes from migrating, for one transaction, which no pooler divides."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        yield


def _take(connection: Connection, migration: Migration) -> None:
    with _explained(migration):
        connection.execute(migration.up.encode(), prepare=False)
        record(connection, migration)


def _take_back(connection: Connection, migration: Migration) -> None:
    with _explained(migration):
        # Before its SQL: that of the first step drops this very table.
        forget(connection, migration)
        connection.execute(migration.down.encode(), prepare=False)


@contextmanager
def _explained(migration: Migration) -> Iterator[None]:
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError):
        raise  # a state of the database: it may go by
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName) as error:
        raise MigrationError(
            f"step {migration} was not taken: {error.diag.message_primary}. Let a role that may"
            " make tables run `timer-trio db migrate`, or grant this one what it lacks: README,"
            " Database operations, lists it"
        ) from error
    except psycopg.Error as error:
        reason = error.diag.message_primary or "no reason given"
        raise MigrationError(f"step {migration} failed and was rolled back: {reason}") from error
