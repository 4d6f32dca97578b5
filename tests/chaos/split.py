"""One database becomes two cells under load: what moves rests for seconds, all else goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import psycopg
import trio

from benchmarks.filling import add
from tests.acceptance.load import Load, load_on
from tests.acceptance.processes import PROJECT
from tests.acceptance.receiver import now
from tests.acceptance.service import API_KEY
from tests.chaos import checks
from tests.chaos.book import Book, read_rows
from tests.chaos.cells import HALVES, PAIR, p99_ms, shard_in
from tests.chaos.pair import LEADS_S
from tests.chaos.report import Figure, late, none_of
from tests.chaos.stage import PER_S, Ground, Stage, staged_on
from tests.several_servers import Server, several_servers
from timer_trio.threads import run_in_thread

CREATES: Final = 60
"""Timers that consumers create one by one each second; three of four they read, change, cancel."""
RESTING: Final = int(os.environ.get("RESTING") or 200_000)
SHORT_RESTING: Final = 5_000
"""How many timers there are that are not due, half of which are moved."""
CALM_S: Final = 3.0
LOOK_S: Final = 0.01
STOP_S: Final = 5.0
LATE_MS: Final = 50.0
DONE: Final = "cells split"

_MOVING: Final = "SELECT moving FROM cell_map"


@dataclass(slots=True)
class Stop:
    """When shards were closed and opened, in Unix seconds."""

    closed_s: float = 0.0
    opened_s: float = 0.0

    async def watch(self, source: Server, target: Server) -> None:
        """Return once they are open in the second database."""
        self.closed_s = await _when(source, lambda moving: moving is not None)
        self.opened_s = await _when(target, lambda moving: moving is None)


async def run(ground: Ground) -> Sequence[Figure]:
    stop = Stop()
    async with several_servers(ground.folder) as servers:
        source = await servers.make_primary("one", wal_level="logical")
        target = await servers.make_primary("two")
        per_s = PER_S if ground.is_full else PER_S // 2
        async with staged_on(source, source.url, per_s=per_s) as stage:
            await stage.fleet.start_all(PAIR)
            for name in PAIR:
                stage.streaming.start_soon(stage.rotation.watch, stage.fleet.members[name])
            await _fill(source, RESTING if ground.is_full else SHORT_RESTING)
            await stage.begin()
            url = stage.receiver.url("/load")
            async with load_on(stage.rotation, url, ground.chance, CREATES, LEADS_S) as load:
                began_s = now().timestamp()
                settings = await _divide(stage, source, target)
                stage.streaming.start_soon(stop.watch, source, target)
                split_s = now().timestamp()
                await _command(settings, "cells", "split")
                ended_s = now().timestamp()
                await trio.sleep(CALM_S)
            book = await stage.finish()
            book.rows = {**book.rows, **await read_rows(target.url)}
    figures = [
        Figure(DONE, "partitions and a rolling restart before it", split_s - began_s, "s"),
        Figure(DONE, "all of it", ended_s - split_s, "s"),
        Figure(DONE, "the moved shards rest", stop.opened_s - stop.closed_s, "s", STOP_S),
    ]
    return [*figures, *_lateness(book, stop), *_overall(book, load)]


async def _divide(stage: Stage, source: Server, target: Server) -> dict[str, str]:
    """Put the timers into partitions, and tell each process of both cells; answers the settings."""
    await _command({"DATABASE_URL": source.url}, "db", "partition", "--by", "2")
    urls = zip(HALVES.cells, (source.url, target.url), strict=True)
    settings = {"CELLS": ";".join(f"{cell}={url}" for cell, url in urls)}
    for name in PAIR:
        await stage.fleet.members[name].stop()
        started = await stage.fleet.start(name, **settings, DATABASE_URL="")
        stage.streaming.start_soon(stage.rotation.watch, started)
        await trio.sleep(CALM_S)
    return settings


async def _command(settings: dict[str, str], *arguments: str) -> None:
    environ = {**os.environ, "DATABASE_URL": "", "API_KEY": API_KEY, **settings}
    command = [sys.executable, "-m", "timer_trio", *arguments]
    done = await trio.run_process(
        command,
        env=environ,
        cwd=PROJECT,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()[-2_000:]


async def _fill(source: Server, count: int) -> None:
    await run_in_thread(partial(add, source.url, count, "{}"), limiter=trio.CapacityLimiter(1))


async def _when(server: Server, is_so: Callable[[str | None], bool]) -> float:
    while True:
        with suppress(psycopg.Error):
            if is_so(await server.ask(_MOVING)):
                return now().timestamp()
        await trio.sleep(LOOK_S)


def _lateness(book: Book, stop: Stop) -> Iterator[Figure]:
    moving, staying = HALVES.cells[1], HALVES.cells[0]
    meanwhile = checks.due_between(book.asked, stop.closed_s, stop.opened_s)
    rests = {each for each in meanwhile if shard_in(each) in moving.shards}
    stays = {each for each in meanwhile if shard_in(each) in staying.shards}
    before = checks.due_between(book.asked, 0.0, stop.closed_s - CALM_S)
    yield Figure(DONE, "timers of moved shards due meanwhile", len(rests))
    worst_ms = max(checks.first_late_ms(book, rests), default=0.0)
    yield Figure(DONE, "the latest of them", worst_ms / 1000, "s")
    yield Figure(DONE, "p99 late of all timers before it", p99_ms(book, before), "ms")
    yield Figure(DONE, "timers of other shards due meanwhile", len(stays))
    words, stayed_ms = "p99 late of these", p99_ms(book, stays)
    yield late(DONE, words, stayed_ms, LATE_MS, is_starved=book.is_starved)


def _overall(book: Book, load: Load) -> Iterator[Figure]:
    payloads = {each.timer_id: int(each.body) for each in book.arrivals if each.body}
    statuses = ", ".join(f"{code}: {count}" for code, count in sorted(load.statuses.items()))
    yield Figure(DONE, "timers created and acknowledged", len(book.asked) + len(load.promises))
    yield Figure(DONE, f"answers of consumers ({statuses})", load.statuses.total())
    yield Figure(DONE, "the machine's own lateness", book.machine_ms, "ms")
    yield none_of(DONE, "acknowledged, and lost", load.broken_promises(payloads))
    yield none_of(DONE, "timers that never ended", checks.unfinished(book))
    yield none_of(DONE, "timers that never fired", checks.silent(book))
    yield none_of(DONE, "timers sent twice", checks.doubled(book))
    yield none_of(DONE, "callbacks before their instant", checks.early(book))
