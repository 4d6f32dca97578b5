"""Whose cost is measured: the service, or the floor; each with a fresh database of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, LiteralString

import psycopg

from benchmarks.machine import children, cpu_s, family_cpu_s, rss_bytes
from benchmarks.programs import BenchmarkError, Program, running, temporary_folder
from benchmarks.timers import timers, write
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.retry import RetryPolicy
from timer_trio.embedded import running_url
from timer_trio.embedded.folders import cluster_dir
from timer_trio.embedded.postmaster import read_postmaster

START_S: Final = 60.0
API_KEY: Final = "an-api-key-of-the-benchmarks-0123456789"

# The receiver stands on this machine. What is written behind the service's back is seen within two
# seconds, and read about three times, as with the defaults, only sooner.
_SETTINGS: Final = {
    "API_KEY": API_KEY,
    "CALLBACK_ALLOW": "127.0.0.0/8,::1",
    "CACHE_WINDOW": "60",
    "LOADER_INTERVAL": "2",
    "LOG_FORMAT": "json",
    "PORT": "0",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a contender, all its worker processes, and its database have spent so far."""

    worker_s: float
    database_s: float
    transactions: int
    wal_bytes: int

    def __sub__(self, earlier: Cost) -> Cost:
        return Cost(
            self.worker_s - earlier.worker_s,
            self.database_s - earlier.database_s,
            self.transactions - earlier.transactions,
            self.wal_bytes - earlier.wal_bytes,
        )


class Contender:
    """A process that fires timers. `api_url` is empty where it has no API.

    `reads_itself`: it finds by itself what is written into its database.
    """

    def __init__(self, program: Program, data_dir: Path, api_url: str = "") -> None:
        url, postmaster = running_url(data_dir), read_postmaster(cluster_dir(data_dir))
        if url is None or postmaster is None:
            raise BenchmarkError("its embedded database does not run")
        self.database_url: Final = url
        self.data_dir: Final = data_dir
        self.api_url: Final = api_url
        self.reads_itself: Final = bool(api_url)
        self.pid: Final = program.pid
        self._postmaster_pid = postmaster.pid
        self.program: Final = program

    def write(
        self,
        instants: Sequence[float],
        urls: Sequence[str],
        retry: RetryPolicy | None = None,
        flows: Sequence[FlowKey] = (),
    ) -> None:
        """Write a timer for each instant (Unix seconds), the destinations and flows by turns."""
        write(self.database_url, timers(instants, urls, retry, flows))

    def load(self) -> None:
        """Let it read what its database holds, if it has to be told to."""
        if not self.reads_itself:
            self.program.tell("load")
            self.program.wait_line("loaded", START_S)

    def completed(self, instants: Sequence[float], attempts: int) -> int:
        """Count what has ended well, at such an attempt, of the timers of these instants."""
        # An instant of the database has whole microseconds.
        span = [datetime.fromtimestamp(at, UTC) for at in (instants[0] - 1e-3, instants[-1] + 1e-3)]
        return self.count(
            "SELECT count(*) FROM timers"
            " WHERE execute_at BETWEEN %s AND %s AND status = 'completed' AND attempt = %s",
            (*span, attempts),
        )

    def count(self, query: LiteralString, parameters: Sequence[object] = ()) -> int:
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(query, parameters).fetchone()
        assert row is not None
        return int(row[0])

    def cost(self) -> Cost:
        self.program.check_running()
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(
                "SELECT xact_commit + xact_rollback,"
                " (pg_current_wal_insert_lsn() - '0/0')::bigint"
                " FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
        assert row is not None
        return Cost(self._worker_s(), family_cpu_s(self._postmaster_pid), *row)

    def _worker_s(self) -> float:
        """Its own, and that of the worker processes that it has started."""
        workers = [pid for pid in children(self.pid) if pid != self._postmaster_pid]
        return cpu_s(self.pid) + sum(map(cpu_s, workers))

    def rss_bytes(self) -> int:
        return rss_bytes(self.pid)


Start = Callable[[], AbstractContextManager[Contender]]


@contextmanager
def service(
    settings: Mapping[str, str] = _SETTINGS, data_dir: Path | None = None
) -> Iterator[Contender]:
    """Run `timer-trio serve`, ready, until the block ends.

    On the database in `data_dir`, or on a new one of its own.
    """
    with temporary_folder() as folder:
        data = data_dir or folder / "data"
        with starting(folder, data, settings) as program:
            line = program.wait_line("listens on", START_S)
            api_url = next(word for word in line.split() if word.startswith("http://"))
            yield Contender(program, data, api_url)


@contextmanager
def starting(folder: Path, data_dir: Path, settings: Mapping[str, str]) -> Iterator[Program]:
    """Run `timer-trio serve`, from its very start, until the block ends."""
    environ = {**_SETTINGS, "DATA_DIR": str(data_dir), **settings}
    with running("-m", "timer_trio", "serve", folder=folder, environ=environ) as program:
        yield program


@contextmanager
def floor() -> Iterator[Contender]:
    """Run benchmarks/floor.py on a database of its own until the block ends."""
    with temporary_folder() as folder:
        data = folder / "data"
        with running("-m", "benchmarks.floor", str(data), folder=folder) as program:
            program.wait_line("started", START_S)
            yield Contender(program, data)
