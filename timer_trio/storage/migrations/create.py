"""Makes the database that a URL names."""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from timer_trio.storage.migrations.errors import MigrationError
from timer_trio.storage.postgres.connections import connect


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
    with connect(make_conninfo(database_url, dbname="postgres")) as connection:
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
