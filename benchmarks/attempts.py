"""Ten million rows of attempts: what the database needs to list those of one timer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

from psycopg.sql import SQL, Identifier, Literal

from benchmarks.report import Line, Size
from benchmarks.scratch import Connection, in_scratch_database
from timer_trio.storage.migrations.migrate import migrate
from timer_trio.storage.postgres.queries import QUERIES

NAME: Final = "attempts-10m"
ROWS: Final = 10_000_000
QUICK_ROWS: Final = 500_000
DAYS: Final = 30
ATTEMPTS: Final = (1, 5, 50)
"""A third of the rows is of timers with so many attempts each."""
TIMERS: Final = 200
"""Asked for one after the other, twice: the first time they have to come from the disk."""
AT_MOST_MS: Final = 5.0

# A timer's attempts lie evenly over all days, so that each is in another partition if it can be.
_INSERT: Final = SQL("""
INSERT INTO attempts (
    shard, timer_id, attempt, started_at, ended_at, outcome, http_status, error,
    response_headers, response_body
)
SELECT
    0, md5({each} || '-' || timer)::uuid, attempt, ended_at, ended_at, 'rejected', 503,
    'HTTP 503 from https://hooks.example',
    '[["date", "Tue, 01 Jan 2030 08:00:00 GMT"], ["content-type", "text/plain"]]',
    decode(repeat('6e6f7420746f646179', 16), 'hex')
FROM (
    SELECT
        timer, attempt,
        current_date::timestamptz - {days} * interval '1 day'
            + mod(timer * 0.6180339887 + attempt::numeric / {each}, 1) * {days} * interval '1 day'
            AS ended_at
    FROM generate_series(1, {timers}) AS timer, generate_series(1, {each}) AS attempt
)
""")
_INSERT_TIMER: Final = """
INSERT INTO timers (
    shard, id, status, execute_at, executed_at, created_at, updated_at, requested_at, claim,
    attempt, destination, callback_url, callback_method, callback_headers, timeout_s, delivery
)
SELECT
    get_byte(uuid_send(id), 15), id, 'failed', now(), now(), now(), now(), now(), 1, %s,
    'https://hooks.example:443', 'https://hooks.example/reminders', 'POST', '{}', 30,
    'at_least_once'
FROM (SELECT md5(%s)::uuid AS id)
ON CONFLICT (shard, id) DO NOTHING
"""
_PARTITION: Final = SQL("""
CREATE TABLE {name} PARTITION OF attempts FOR VALUES FROM ({first}) TO ({end})
""")
_DISK: Final = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('attempts')"


def measure(size: Size) -> Iterator[Line]:
    rows = QUICK_ROWS if size is Size.QUICK else ROWS
    yield from in_scratch_database(lambda connection: [*_measure(connection, rows)])


def _measure(connection: Connection, rows: int) -> Iterator[Line]:
    migrate(connection)
    _fill(connection, rows)
    (disk,) = _row(connection, _DISK)
    yield Line(NAME, f"disk space of {rows:,} attempts", float(disk) / 1e6, "MB")
    _forget_files(connection)
    for each in ATTEMPTS:
        yield from _lines(f"{each} of one timer, from disk", _asked(connection, rows, each), None)
        yield from _lines(f"{each} of one timer", _asked(connection, rows, each), AT_MOST_MS)


def _fill(connection: Connection, rows: int) -> None:
    connection.execute("SET synchronous_commit = off")
    connection.execute("SET maintenance_work_mem = '1GB'")
    connection.execute("DROP INDEX attempts_timer")
    for day in range(DAYS):
        first, end = _row(
            connection,
            "SELECT current_date - %s::integer, current_date - %s::integer",
            [day + 1, day],
        )
        name = Identifier(f"attempts_{first:%Y%m%d}")
        connection.execute(_PARTITION.format(name=name, first=Literal(first), end=Literal(end)))
    for each in ATTEMPTS:
        timers = rows // len(ATTEMPTS) // each
        connection.execute(_INSERT.format(each=each, timers=timers, days=DAYS))
    connection.execute("CREATE INDEX attempts_timer ON attempts (timer_id, attempt)")
    connection.execute("VACUUM (ANALYZE) attempts")
    connection.execute("CHECKPOINT")


def _forget_files(connection: Connection) -> None:
    """Have the system read the database's files from disk again."""
    (folder,) = _row(connection, "SHOW data_directory")
    for path in Path(folder, "base").rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _asked(connection: Connection, rows: int, each: int) -> Sequence[float]:
    """Return the milliseconds that the database takes for some timers, by its own count."""
    timers = rows // len(ATTEMPTS) // each
    chosen = islice(range(1, timers, max(1, timers // TIMERS)), TIMERS)
    return [_list_ms(connection, each, timer) for timer in chosen]


def _list_ms(connection: Connection, each: int, timer: int) -> float:
    """Have the attempts of one timer read; planning is in it."""
    connection.execute(_INSERT_TIMER, [each, f"{each}-{timer}"])
    (timer_id,) = _row(connection, "SELECT md5(%s)::uuid", [f"{each}-{timer}"])
    query = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) " + QUERIES["attempts"]
    ((plan,),) = _row(connection, query, {"id": timer_id, "project": 0})
    assert plan["Plan"]["Actual Rows"] == each
    return float(plan["Planning Time"] + plan["Execution Time"])


def _row(connection: Connection, query: Any, parameters: Any = None) -> tuple[Any, ...]:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row


def _lines(what: str, times_ms: Sequence[float], at_most: float | None) -> Iterator[Line]:
    ordered = sorted(times_ms)
    yield Line(NAME, f"{what}, p50", median(ordered), "ms", at_most)
    yield Line(NAME, f"{what}, p99", ordered[len(ordered) * 99 // 100], "ms", at_most)
