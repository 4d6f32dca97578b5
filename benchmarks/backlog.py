"""Millions of timers that rest: start, memory, lateness and loader beside those of an empty table.

Both services run side by side and fire by turns. The loader looks every two seconds here, every
thirty by default: its statements' time is reported for one look.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import fmean
from typing import Final

from benchmarks.contender import Contender, service, starting
from benchmarks.figures import run_lines
from benchmarks.filling import fill
from benchmarks.firing import Run, fire, steady
from benchmarks.machine import monotonic, sleep
from benchmarks.programs import START_S, BenchmarkError, temporary_folder
from benchmarks.receiving import receiver, together
from benchmarks.report import Line, Size

NAME: Final = "backlog"
MANY_NAME: Final = "backlog-10m"
QUICK_TIMERS: Final = 100_000
TIMERS: Final = 1_000_000
MANY_TIMERS: Final = 10_000_000
RATE: Final = 100
DESTINATIONS: Final = 8
POLL_S: Final = 0.01


def measure(size: Size) -> Iterator[Line]:
    if size is Size.QUICK:
        yield from _measure(NAME, QUICK_TIMERS, rounds=1, seconds=5)
    else:
        yield from _measure(NAME, TIMERS, rounds=3, seconds=10)


def measure_many(_size: Size) -> Iterator[Line]:
    """Do the same with ten million timers, which takes minutes to prepare."""
    yield from _measure(MANY_NAME, MANY_TIMERS, rounds=4, seconds=15)


def _measure(name: str, count: int, *, rounds: int, seconds: float) -> Iterator[Line]:
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        data_dir = folder / "data"
        began_s = monotonic()
        fill(data_dir, count)
        yield Line(name, f"writing {count:,} timers", monotonic() - began_s, "s")
        yield Line(name, "their disk space", _disk_bytes(data_dir) / 1e6, "MB")
        health_s, ready_s = _start_s(folder, data_dir)
        yield Line(name, "start to /health", health_s, "s", at_most=3)
        yield Line(name, "start to /health/ready", ready_s, "s")
        far_end = stack.enter_context(receiver(DESTINATIONS))
        debug = {"LOG_LEVEL": "debug"}
        empty = stack.enter_context(service(debug))
        full = stack.enter_context(service(debug, data_dir))
        schedule = steady(RATE, seconds, DESTINATIONS)
        runs = [
            [fire(contender, far_end, schedule) for contender in (empty, full)]
            for _ in range(rounds)
        ]
        yield from _beside(name, *zip(*runs, strict=True))
        yield Line(name, "memory of the worker", full.rss_bytes() / 1e6, "MB", at_most=150)
        yield Line(name, "memory of the worker, empty table", empty.rss_bytes() / 1e6, "MB")
        yield Line(name, "a look of the loader", _look_ms(full), "ms")
        yield Line(name, "a look of the loader, empty table", _look_ms(empty), "ms")


def _beside(name: str, empty: Sequence[Run], full: Sequence[Run]) -> Iterator[Line]:
    for where, runs in ((", empty table", empty), ("", full)):
        yield from run_lines(name, runs, late=f"late at {RATE}/s", where=where)
    bare, late = (together([each.seen for each in runs]) for runs in (empty, full))
    ratio = late.late_ms(0.5) / bare.late_ms(0.5)
    yield Line(name, "late, p50, times the empty table's", ratio, at_most=1.2)


def _start_s(folder: Path, data_dir: Path) -> tuple[float, float]:
    """Start the service once; tell when /health answered 200, and when /health/ready did."""
    port = _free_port()
    began_s = monotonic()
    with starting(folder, data_dir, {"PORT": str(port)}):
        _wait_ok(port, "/health")
        health_s = monotonic() - began_s
        _wait_ok(port, "/health/ready")
        return health_s, monotonic() - began_s


def _wait_ok(port: int, path: str) -> None:
    give_up_s = monotonic() + START_S
    while monotonic() < give_up_s:
        with _connection(port) as connection:
            try:
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return
            except (OSError, HTTPException):
                pass  # it does not listen yet
        sleep(POLL_S)
    raise BenchmarkError(f"{path} was not 200 within {START_S:g}s")


@contextmanager
def _connection(port: int) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("127.0.0.1", port, timeout=START_S)
    try:
        yield connection
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _disk_bytes(data_dir: Path) -> int:
    base = data_dir / "postgresql" / "base"
    return sum(path.stat().st_size for path in base.rglob("*") if path.is_file())


def _look_ms(contender: Contender) -> float:
    """Tell how long a look of the loader took that found nothing to read."""
    lines = [json.loads(line) for line in contender.program.log_lines() if line.startswith("{")]
    looks = [line for line in lines if line["event"] == "loaded" and not line["rows"]]
    return fmean(look["duration_ms"] for look in looks)
