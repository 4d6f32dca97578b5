"""Millions of resting timers, written by SQL, the indexes afterwards: a third of the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
import trio
from psycopg.sql import SQL, Identifier

from timer_trio.embedded import embedded_postgres
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.threads import run_in_thread

CHUNK: Final = 500_000
Connection = psycopg.Connection[tuple[Any, ...]]

# As a consumer's would be: UUIDv7, due between a month and a year from now.
_INSERT: Final = SQL("""
INSERT INTO timers (
    shard, id, status, due_at, execute_at, created_at, updated_at, requested_at,
    destination, callback_url, callback_method, callback_headers, callback_payload,
    timeout_s, delivery, misfire_grace_s, metadata
)
SELECT
    get_byte(uuid_send(id), 15), id, 'pending', due_at, due_at, now(), now(), now(),
    'https://hooks.example:443', 'https://hooks.example/reminders', 'POST', '{{}}', '"hello"',
    30, 'at_least_once', 300, {metadata}::jsonb
FROM (
    SELECT uuidv7() AS id, now() + (30 + 335 * random()) * interval '1 day' AS due_at
    FROM generate_series(1, {count})
)
""")


def fill(data_dir: Path, count: int) -> None:
    """Make a database in this folder that holds so many pending timers, none due within a month."""

    async def main() -> None:
        async with embedded_postgres(data_dir) as url:
            await migrate_database(url)
            await run_in_thread(partial(_fill, url, count), limiter=trio.CapacityLimiter(1))

    trio.run(main)


def add(database_url: str, count: int, metadata: str) -> None:
    """Write so many pending timers, none due within a month, into a database that is in use."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_INSERT.format(count=count, metadata=metadata))


def fill_database(connection: Connection, count: int) -> None:
    """Write so many pending timers, none due within a month, into a table without any."""
    connection.execute("SET synchronous_commit = off")
    connection.execute("SET maintenance_work_mem = '1GB'")
    with _without_indexes(connection):
        for start in range(0, count, CHUNK):
            connection.execute(_INSERT.format(count=min(CHUNK, count - start), metadata=None))
    connection.execute("VACUUM (ANALYZE) timers")
    connection.execute("CHECKPOINT")


def _fill(database_url: str, count: int) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        fill_database(connection, count)


@contextmanager
def _without_indexes(connection: Connection) -> Iterator[None]:
    (key,) = connection.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'timers'::regclass AND contype = 'p'"
    ).fetchall()
    indexes = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'timers' AND indexname <> %s",
        [key[0]],
    ).fetchall()
    for name, _ in indexes:
        connection.execute(SQL("DROP INDEX {}").format(Identifier(name)))
    connection.execute(SQL("ALTER TABLE timers DROP CONSTRAINT {}").format(Identifier(key[0])))
    yield
    # Both come from the catalogue, not from anybody's hand.
    connection.execute(f"ALTER TABLE timers ADD CONSTRAINT {key[0]} {key[1]}".encode())
    for _, definition in indexes:
        connection.execute(definition.encode())
