"""Which steps a database has, as its table `timer_trio_migrations` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg

from timer_trio import __version__
from timer_trio.domain.releases import is_older
from timer_trio.storage.migrations.errors import MigrationError
from timer_trio.storage.migrations.steps import Migration, step_name

Connection = psycopg.Connection[Any]

BOOKKEEPING: Final = "timer_trio_migrations"

# The last column is one of a later step.
_READ: Final = """
    SELECT version, name, checksum, applied_at, to_jsonb(taken) ->> 'oldest_release'
    FROM timer_trio_migrations AS taken ORDER BY version
"""


@dataclass(frozen=True, slots=True)
class TakenStep:
    """A step that the database has; `oldest_release` as a `Migration` has it."""

    version: int
    name: str
    checksum: str
    applied_at: datetime
    oldest_release: str | None

    def __str__(self) -> str:
        return step_name(self.version, self.name)


def taken_steps(connection: Connection, known: Sequence[Migration]) -> Mapping[int, TakenStep]:
    """Read which steps were taken, by their numbers, lowest first.

    Raises:
        MigrationError: this code cannot work on such a database.
    """
    taken = {step.version: step for step in _read(connection)}
    by_version = {migration.version: migration for migration in known}
    for version, step in taken.items():
        _check(step, by_version.get(version))
    return taken


def _check(step: TakenStep, migration: Migration | None) -> None:
    if migration is None:
        if step.oldest_release and is_older(__version__, step.oldest_release):
            raise MigrationError(
                f"the database is newer than this version of timer-trio, {__version__}: it has step"
                f" {step}, on which no release before {step.oldest_release} can work. Run a newer"
                " one, or revert the step with it"
            )
    elif migration.checksum != step.checksum:
        raise MigrationError(
            f"step {migration} has changed since it was applied to this database on"
            f" {step.applied_at:%Y-%m-%d}: restore the file, and put the change into a new step"
        )


def _read(connection: Connection) -> Sequence[TakenStep]:
    if not has_table(connection, BOOKKEEPING):
        if has_table(connection, "timers"):
            raise MigrationError(
                "the database holds a table `timers` of another making: let DATABASE_URL name a"
                " database of its own, and make it with `timer-trio db create`"
            )
        return []
    return [TakenStep(*row) for row in connection.execute(_READ)]


def has_table(connection: Connection, name: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s)", [name]).fetchone()
    return row is not None and row[0] is not None


def record(connection: Connection, migration: Migration) -> None:
    """Write down that a step has been taken."""
    connection.execute(
        "INSERT INTO timer_trio_migrations (version, name, checksum) VALUES (%s, %s, %s)",
        [migration.version, migration.name, migration.checksum],
    )
    if migration.oldest_release:
        connection.execute(
            "UPDATE timer_trio_migrations SET oldest_release = %s WHERE version = %s",
            [migration.oldest_release, migration.version],
        )


def forget(connection: Connection, migration: Migration) -> None:
    """Write down that a step has been taken back."""
    connection.execute("DELETE FROM timer_trio_migrations WHERE version = %s", [migration.version])
