"""Brings a database to the schema of this code, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

import psycopg
import structlog
import trio
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from timer_trio.config import StartRefusedError
from timer_trio.storage.connections import bounded, connect
from timer_trio.storage.grants import missing_grants
from timer_trio.storage.sqlstate import translated
from timer_trio.storage.steps import Migration, load_migrations
from timer_trio.threads import run_in_thread

OLDEST_POSTGRESQL: Final = 15

_LOCK: Final = 0x54494D4552  # any number that all replicas agree upon and nobody else is likely to
_BOOKKEEPING: Final = "timer_trio_migrations"
_NAMED: Final = 3
"""Tables of others that are named: enough to recognise them by."""

# Where a table without a schema would be made. What an extension has brought is nobody's own.
_TABLES: Final = """
    SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = current_schema() AND relkind IN ('r', 'p', 'f', 'm')
        AND NOT EXISTS (
            SELECT FROM pg_depend
            WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'
        )
    ORDER BY relname
"""
Connection = psycopg.Connection[Any]

log = structlog.get_logger()


class MigrationError(StartRefusedError):
    """The database cannot be brought to this code's schema; the text says what to do."""


@dataclass(frozen=True, slots=True)
class MigrationState:
    """A step, and when it was taken; None: not yet."""

    migration: Migration
    applied_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Applied:
    version: int
    name: str
    checksum: str
    applied_at: datetime


async def migrate_database(database_url: str) -> None:
    """Connect and migrate, in a worker thread.

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
            for migration in migrate(connection):
                log.info("migrated", step=str(migration))
    except psycopg.Error as error:
        raise translated(error) from error


def migrate(
    connection: Connection,
    migrations: Sequence[Migration] | None = None,
    *,
    into_existing: bool = False,
) -> Sequence[Migration]:
    """Take the steps that the database lacks, each in a transaction, and answer which.

    The connection must be in autocommit mode. Any number of processes may do this at once. Beside
    tables of others the first step is taken only if `into_existing`.

    Raises:
        MigrationError: it cannot be done, and why. The steps before the failing one stay taken.
    """
    known = load_migrations() if migrations is None else migrations
    _check_server(connection)
    _check_grants(connection)
    take_next = partial(_take_next, connection, known, into_existing=into_existing)
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
) -> Sequence[MigrationState]:
    """Tell of each step whether and when it was taken.

    Raises:
        MigrationError: the database is not ours, or newer than this code.
    """
    known = load_migrations() if migrations is None else migrations
    applied = _checked(connection, known)
    return [
        MigrationState(
            migration,
            applied[migration.version].applied_at if migration.version in applied else None,
        )
        for migration in known
    ]


def create_database(database_url: str) -> bool:
    """Create the database that the URL names; False: it is there already.

    Raises:
        MigrationError: the server refuses.
        psycopg.OperationalError: the server cannot be reached.
    """
    name = conninfo_to_dict(database_url).get("dbname")
    if not name:
        raise MigrationError("DATABASE_URL names no database: end it with /timers, for example")
    # The C locale goes with UTF8 on every server, and no order of ours is one of words.
    statement = SQL(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc LOCALE 'C'"
    )
    with psycopg.connect(bounded(database_url), dbname="postgres", autocommit=True) as connection:
        try:
            connection.execute(statement.format(Identifier(str(name))))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return False
        except psycopg.errors.InsufficientPrivilege:
            raise MigrationError(
                f"this account may not create the database {name}: let an administrator do it,"
                " or grant the account CREATEDB"
            ) from None
    return True


def _check_server(connection: Connection) -> None:
    if connection.info.server_version < OLDEST_POSTGRESQL * 10_000:
        raise MigrationError(f"PostgreSQL {OLDEST_POSTGRESQL} or newer is needed")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise MigrationError(
            f"the database's encoding is {encoding}, and timers need UTF8: let DATABASE_URL name"
            " another database, and make it with `timer-trio db create`"
        )


def _check_grants(connection: Connection) -> None:
    if grants := missing_grants(connection):
        raise MigrationError(
            f"the role {connection.info.user} may not do here what the service must: let the owner"
            f" of the tables run {grants}"
        )


def _take_next(
    connection: Connection, known: Sequence[Migration], *, into_existing: bool
) -> Migration | None:
    with _locked(connection):
        applied = _checked(connection, known)
        if not into_existing:
            _check_is_ours(connection)
        missing = (migration for migration in known if migration.version not in applied)
        if migration := next(missing, None):
            _take(connection, migration)
        return migration


def _take_last_back(connection: Connection, known: Sequence[Migration]) -> Migration | None:
    with _locked(connection):
        applied = _checked(connection, known)
        taken = (migration for migration in reversed(known) if migration.version in applied)
        if migration := next(taken, None):
            _take_back(connection, migration)
        return migration


@contextmanager
def _locked(connection: Connection) -> Iterator[None]:
    """Keep other processes from migrating, for one transaction, which no pooler divides."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        yield


def _checked(connection: Connection, known: Sequence[Migration]) -> Mapping[int, _Applied]:
    """Read which steps were taken, and refuse a database that this code does not understand."""
    applied = _applied(connection)
    by_version = {migration.version: migration for migration in known}
    for step in applied:
        migration = by_version.get(step.version)
        if migration is None:
            raise MigrationError(
                f"the database is newer than this version of timer-trio: it has step {step.version}"
                f" ({step.name}). Run that newer version, or revert the step with it"
            )
        if migration.checksum != step.checksum:
            raise MigrationError(
                f"step {migration} has changed since it was applied to this database on"
                f" {step.applied_at:%Y-%m-%d}: restore the file, and put the change into a new step"
            )
    return {step.version: step for step in applied}


def _applied(connection: Connection) -> Sequence[_Applied]:
    if not _has_table(connection, _BOOKKEEPING):
        if _has_table(connection, "timers"):
            raise MigrationError(
                "the database holds a table `timers` of another making: let DATABASE_URL name a"
                " database of its own, and make it with `timer-trio db create`"
            )
        return []
    rows = connection.execute(
        "SELECT version, name, checksum, applied_at FROM timer_trio_migrations ORDER BY version"
    )
    return [_Applied(*row) for row in rows]


def _check_is_ours(connection: Connection) -> None:
    """Refuse a database in which others live and we do not."""
    if _has_table(connection, _BOOKKEEPING):
        return
    tables = [f"`{name}`" for (name,) in connection.execute(_TABLES)]
    if tables:
        named = ", ".join(tables[:_NAMED])
        more = f" and {len(tables) - _NAMED} more" if len(tables) > _NAMED else ""
        raise MigrationError(
            f"the database {connection.info.dbname} holds tables of others ({named}{more}): let"
            " DATABASE_URL name a database of the service's own, and make it with `timer-trio db"
            " create`; or, if the timers shall live beside them, run `timer-trio db migrate"
            " --into-existing` once"
        )


def _has_table(connection: Connection, name: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s)", [name]).fetchone()
    return row is not None and row[0] is not None


def _take(connection: Connection, migration: Migration) -> None:
    with _explained(migration):
        connection.execute(migration.up.encode(), prepare=False)
        connection.execute(
            "INSERT INTO timer_trio_migrations (version, name, checksum) VALUES (%s, %s, %s)",
            [migration.version, migration.name, migration.checksum],
        )


def _take_back(connection: Connection, migration: Migration) -> None:
    with _explained(migration):
        # Before its SQL: that of the first step drops this very table.
        connection.execute(
            "DELETE FROM timer_trio_migrations WHERE version = %s", [migration.version]
        )
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
