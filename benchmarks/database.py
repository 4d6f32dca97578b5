"""The embedded PostgreSQL, for as long as something beside it runs, and what it has spent.

python -m benchmarks.database DATA_DIR: runs it alone, until standard input ends.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
import trio

from benchmarks.cost import Cost
from benchmarks.machine import family_cpu_s
from benchmarks.programs import START_S, BenchmarkError, running
from timer_trio.domain.cells import ALL, Cell
from timer_trio.embedded import embedded_postgres, running_url
from timer_trio.embedded.folders import cluster_dir
from timer_trio.embedded.postmaster import read_postmaster
from timer_trio.threads import run_in_thread


@dataclass(frozen=True, slots=True)
class Database:
    """A database that runs; `cell` has the shards of the timers that are in it."""

    data_dir: Path
    url: str
    postmaster_pid: int
    cell: Cell = ALL

    def count(self, query: LiteralString, parameters: Sequence[object] = ()) -> int:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query, parameters).fetchone()
        assert row is not None
        return int(row[0])

    def cost(self) -> Cost:
        """Tell what it has spent so far, by itself."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "SELECT xact_commit + xact_rollback,"
                " (pg_current_wal_insert_lsn() - '0/0')::bigint"
                " FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
        assert row is not None
        return Cost(0.0, family_cpu_s(self.postmaster_pid), *row)


def database_in(data_dir: Path, cell: Cell = ALL) -> Database:
    """Return the database that runs in a folder.

    Raises:
        BenchmarkError: none does.
    """
    url, postmaster = running_url(data_dir), read_postmaster(cluster_dir(data_dir))
    if url is None or postmaster is None:
        raise BenchmarkError("its embedded database does not run")
    return Database(data_dir, url, postmaster.pid, cell)


@contextmanager
def running_database(data_dir: Path, cell: Cell = ALL) -> Iterator[Database]:
    """Run a database in a process of its own until the block ends."""
    folder = data_dir.parent
    with running("-m", "benchmarks.database", str(data_dir), folder=folder) as program:
        program.wait_line("started", START_S)
        yield database_in(data_dir, cell)


async def beside_database(data_dir: Path, work: Callable[[str], Awaitable[None]]) -> None:
    """Run a database until what is done beside it, which gets its URL, is done or SIGTERM comes."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_when_told, nursery.cancel_scope)
        async with embedded_postgres(data_dir) as url:
            await work(url)
        nursery.cancel_scope.cancel()


async def _stop_when_told(everything: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        await anext(aiter(signals))
    everything.cancel()


async def _wait_told(_database_url: str) -> None:
    print("started", flush=True)
    await run_in_thread(sys.stdin.readline, limiter=trio.CapacityLimiter(1))


if __name__ == "__main__":
    trio.run(beside_database, Path(sys.argv[1]), _wait_told)
