"""Brings a database to the schema of this code, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import psycopg
import structlog
import trio

from timer_trio.storage.migrations.builds import build_next, stop_builds, take_back
from timer_trio.storage.migrations.checks import (
    check_grants,
    check_is_not_copied,
    check_is_ours,
    check_server,
    excluded_replicas,
)
from timer_trio.storage.migrations.errors import BuildBusyError, MigrationError, explained
from timer_trio.storage.migrations.steps import (
    PARTITIONS,
    Migration,
    commands_of,
    load_migrations,
)
from timer_trio.storage.migrations.taken import Connection, forget, record, taken_steps
from timer_trio.storage.postgres.connections import connect
from timer_trio.storage.postgres.sqlstate import translated
from timer_trio.threads import run_in_thread

_LOCK: Final = 0x54494D4552  # any number that all replicas agree upon and nobody else is likely to

BUSY_POLL_S: Final = 0.5
"""How often it is looked whether another process still builds an index."""

log = structlog.get_logger()


def _tell_nobody(_words: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class StepState:
    """A step, and when it was taken; None: not yet. `oldest_release` as a `Migration` has it."""

    name: str
    oldest_release: str | None
    applied_at: datetime | None
    is_known: bool
    is_concurrent: bool = False

    @property
    def kind(self) -> str:
        if self.is_concurrent:
            return "concurrent"
        return f"after {self.oldest_release}" if self.oldest_release else "before"

    @property
    def is_lacking(self) -> bool:
        """Whether this version cannot work before it is taken."""
        is_needed = self.oldest_release is None and not self.is_concurrent
        return is_needed and self.applied_at is None


async def migrate_database(database_url: str) -> None:
    """Connect and migrate, in a worker thread, as far as older replicas can go on.

    Concurrent steps are left to `build_indexes`: a start waits for none.

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
            for migration in migrate(connection, spare_older=True, builds=False):
                log.info("migrated", step=str(migration))
    except psycopg.Error as error:
        raise translated(error) from error


def migrate(
    connection: Connection,
    migrations: Sequence[Migration] | None = None,
    *,
    into_existing: bool = False,
    spare_older: bool = False,
    builds: bool = True,
    tell: Callable[[str], object] = _tell_nobody,
) -> Sequence[Migration]:
    """Take the steps that the database lacks, each in a transaction, and answer which.

    The connection must be in autocommit mode. Any number of processes may do this at once. Beside
    tables of others the first step is taken only if `into_existing`. What replicas that live are
    too old for is left for later if `spare_older`, and an error otherwise. Concurrent steps come
    last, if `builds`; `tell` gets words before one begins that may take long.

    Raises:
        MigrationError: it cannot be done, and why. All steps that could be taken stay taken.
    """
    known = load_migrations() if migrations is None else migrations
    check_server(connection)
    check_grants(connection)
    take_next = partial(
        _take_next, connection, known, into_existing=into_existing, spare_older=spare_older
    )
    taken = list(iter(take_next, None))
    return [*taken, *_build_all(connection, known, tell)] if builds else taken


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
    if PARTITIONS.version in taken:
        by_version[PARTITIONS.version] = PARTITIONS
    return [
        StepState(
            name=str(step := by_version.get(version) or taken[version]),
            oldest_release=step.oldest_release,
            applied_at=taken[version].applied_at if version in taken else None,
            is_known=version in by_version,
            is_concurrent=version in by_version and by_version[version].is_concurrent,
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
        missing = [
            migration
            for migration in known
            if migration.version not in taken and not migration.is_concurrent
        ]
        if migration := _choose(connection, missing, spare_older=spare_older):
            check_is_not_copied(connection)
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


def _build_all(
    connection: Connection, known: Sequence[Migration], tell: Callable[[str], object]
) -> Iterator[Migration]:
    """Take all concurrent steps; while another process builds an index, wait for it."""
    is_told = False
    while True:
        try:
            step = build_next(
                connection, known, lambda step: tell(f"taking {step}, which may take minutes")
            )
        except BuildBusyError:
            if not is_told:
                tell("waiting for another process, which builds an index or changes tables")
            is_told = True
            time.sleep(BUSY_POLL_S)  # noqa: TID251 - nobody waits for a command
            continue
        if step is None:
            return
        yield step


def _take_last_back(connection: Connection, known: Sequence[Migration]) -> Migration | None:
    step = _take_last_back_at_once(connection, known)
    if step is not None and step.is_concurrent:
        take_back(connection, step)
    return step


def _take_last_back_at_once(connection: Connection, known: Sequence[Migration]) -> Migration | None:
    """Take the last step back and answer which; a concurrent one is answered and stays."""
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
        check_is_not_copied(connection)
        if not by_version[version].is_concurrent:
            _take_back(connection, by_version[version])
        return by_version[version]


@contextmanager
def _locked(connection: Connection) -> Iterator[None]:
    """Exclude other processes from migrating, for one transaction, which no pooler divides."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        yield


def _take(connection: Connection, migration: Migration) -> None:
    _begin(connection)
    with explained(migration):
        _execute_each(connection, migration.up)
        record(connection, migration)


def _begin(connection: Connection) -> None:
    stop_builds(connection)
    # A role that works behind a pooler has some seconds, and a great table takes longer to read.
    connection.execute("SET LOCAL statement_timeout = 0")


def _take_back(connection: Connection, migration: Migration) -> None:
    _begin(connection)
    with explained(migration):
        # Before its SQL: that of the first step drops this very table.
        forget(connection, migration)
        _execute_each(connection, migration.down)


def _execute_each(connection: Connection, text: str) -> None:
    for command in commands_of(text):
        connection.execute(command.encode(), prepare=False)
