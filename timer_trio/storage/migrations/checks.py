"""What must hold before a step of the schema is taken."""

from __future__ import annotations

from typing import Final

from timer_trio.domain.releases import is_older, listed
from timer_trio.storage.migrations.errors import (
    BuildPutOffError,
    GrantsMissingError,
    MigrationError,
)
from timer_trio.storage.migrations.steps import Migration
from timer_trio.storage.migrations.taken import BOOKKEEPING, Connection, has_table
from timer_trio.storage.postgres.grants import missing_grants

OLDEST_POSTGRESQL: Final = 15

COPY: Final = "timers_copy"
"""The table that is to take the place of `timers`, as long as it is made."""

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


def check_server(connection: Connection) -> None:
    """Refuse a server or an encoding that timers cannot live in."""
    if connection.info.server_version < OLDEST_POSTGRESQL * 10_000:
        raise MigrationError(f"PostgreSQL {OLDEST_POSTGRESQL} or newer is needed")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise MigrationError(
            f"the database's encoding is {encoding}, and timers need UTF8: let DATABASE_URL name"
            " another database, and make it with `timer-trio db create`"
        )


def check_grants(connection: Connection) -> None:
    """Refuse a role that may not do with the tables what the service must."""
    if grants := missing_grants(connection):
        raise GrantsMissingError(
            f"the role {connection.info.user} may not do here what the service must: let the owner"
            f" of the tables run {grants}"
        )


def check_is_ours(connection: Connection) -> None:
    """Refuse a database in which others live and we do not."""
    if has_table(connection, BOOKKEEPING):
        return
    tables = [f"`{name}`" for (name,) in connection.execute(_TABLES)]
    if tables:
        raise MigrationError(
            f"the database {connection.info.dbname} holds tables of others ({listed(tables)}): let"
            " DATABASE_URL name a database of the service's own, and make it with `timer-trio db"
            " create`; or, if the timers shall live beside them, run `timer-trio db migrate"
            " --into-existing` once"
        )


def check_is_not_copied(connection: Connection) -> None:
    """Refuse to change the schema while a copy of `timers` is made that has the one of before."""
    if has_table(connection, COPY):
        raise BuildPutOffError(
            "the table `timers` is being put into partitions: let `timer-trio db partition` end, or"
            " drop what it has begun with `timer-trio db partition --undo`"
        )


def excluded_replicas(connection: Connection, migration: Migration) -> str | None:
    """Return the names of replicas that could not go on after a step; None: there are none.

    In the last case none can join before the end of the transaction.
    """
    if migration.oldest_release is None:
        return None
    # At first without a lock, for which each heartbeat would have to wait.
    if older := older_replicas(connection, migration):
        return older
    connection.execute("LOCK TABLE replicas IN SHARE ROW EXCLUSIVE MODE")
    return older_replicas(connection, migration)


def older_replicas(connection: Connection, migration: Migration) -> str | None:
    """Return the names of living replicas that a step leaves behind; None: there are none."""
    if migration.oldest_release is None:
        return None
    rows = connection.execute("SELECT host, pid, version FROM replicas ORDER BY host, pid")
    older = [
        f"{host}:{pid} of {version or 'an unknown version'}"
        for host, pid, version in rows
        if is_older(version, migration.oldest_release)
    ]
    return listed(older) or None
