"""Ten million timers of release 0.1.0: how long each later step takes, and its lock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.filling import fill_database
from benchmarks.machine import monotonic
from benchmarks.report import Line, Size
from benchmarks.scratch import Connection, in_scratch_database
from timer_trio.storage.migrations.migrate import migrate
from timer_trio.storage.migrations.steps import Migration, load_migrations

NAME: Final = "upgrade-10m"
TIMERS: Final = 10_000_000
QUICK_TIMERS: Final = 500_000
FIRST_VERSION: Final = 5
"""The first step that 0.1.0 does not know."""

_LOCKS: Final = """
SELECT string_agg(DISTINCT mode, ', ') FROM pg_locks
WHERE pid = pg_backend_pid() AND relation = 'timers'::regclass
"""


def measure(size: Size) -> Iterator[Line]:
    count = QUICK_TIMERS if size is Size.QUICK else TIMERS
    yield from in_scratch_database(lambda connection: [*_measure(connection, count)])


def _measure(connection: Connection, count: int) -> Iterator[Line]:
    steps = load_migrations()
    migrate(connection, [each for each in steps if each.version < FIRST_VERSION])
    fill_database(connection, count)
    for step in steps:
        if step.version >= FIRST_VERSION:
            yield _taken(connection, step)


def _taken(connection: Connection, step: Migration) -> Line:
    began_s = monotonic()
    if step.is_concurrent:
        connection.execute(step.up.encode())
        locks = "ShareUpdateExclusiveLock"
    else:
        with connection.transaction():
            connection.execute(step.up.encode())
            locks = _locks(connection)
    return Line(NAME, f"{step}, {locks}", (monotonic() - began_s) * 1000, "ms")


def _locks(connection: Connection) -> str:
    row = connection.execute(_LOCKS).fetchone()
    return row[0] if row and row[0] else "no lock"
