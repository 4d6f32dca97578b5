"""Whose cost is measured: the service, or the floor; each with fresh databases of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, LiteralString

from benchmarks.cost import Cost, sum_of
from benchmarks.database import Database, database_in, running_database
from benchmarks.machine import children, cpu_s, rss_bytes
from benchmarks.programs import START_S, Program, running, temporary_folder
from benchmarks.timers import timers, write
from timer_trio.domain.cells import Cell
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import shard_of

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


class Contender:
    """A process that fires the timers of its databases. `api_url` is empty where it has no API.

    `reads_itself`: it finds by itself what is written into them. `database` is the first.
    """

    def __init__(self, program: Program, databases: Sequence[Database], api_url: str = "") -> None:
        self._databases = databases
        self.database: Final = databases[0]
        self.api_url: Final = api_url
        self.reads_itself: Final = bool(api_url)
        self.pid: Final = program.pid
        self.program: Final = program

    def write(
        self,
        instants: Sequence[float],
        urls: Sequence[str],
        retry: RetryPolicy | None = None,
        flows: Sequence[FlowKey] = (),
    ) -> None:
        """Write a timer for each instant (Unix seconds), the destinations and flows by turns."""
        wanted = timers(instants, urls, retry, flows)
        for database in self._databases:
            own = [timer for timer in wanted if shard_of(timer.id) in database.cell.shards]
            write(database.url, own)

    def load(self) -> None:
        """Let it read what its databases hold, if it has to be told to."""
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
        """Count something in all its databases."""
        return sum(database.count(query, parameters) for database in self._databases)

    def cost(self) -> Cost:
        self.program.check_running()
        spent = sum_of([database.cost() for database in self._databases])
        return replace(spent, worker_s=self._worker_s())

    def _worker_s(self) -> float:
        """Its own, and that of the worker processes that it has started."""
        postmasters = [database.postmaster_pid for database in self._databases]
        workers = [pid for pid in children(self.pid) if pid not in postmasters]
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
            api_url = _api_url(program)
            yield Contender(program, [database_in(data)], api_url)


@contextmanager
def service_over(cells: Sequence[Cell]) -> Iterator[Contender]:
    """Run `timer-trio serve` over these cells until the block ends, each on a server of its own."""
    with temporary_folder() as folder, ExitStack() as stack:
        databases = [
            stack.enter_context(running_database(folder / f"cell-{cell}", cell)) for cell in cells
        ]
        told = ";".join(f"{database.cell}={database.url}" for database in databases)
        with starting(folder, folder / "data", {"CELLS": told}) as program:
            api_url = _api_url(program)
            yield Contender(program, databases, api_url)


def _api_url(program: Program) -> str:
    """Return the URL of a service, once it is ready."""
    url: str = json.loads(program.wait_logged('"event": "ready"', START_S))["url"]
    return url


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
            yield Contender(program, [database_in(data)])
