"""One database becomes two cells under load: what moves rests for seconds, all else goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import psycopg
import trio

from benchmarks.filling import fill_database
from tests.acceptance.load import Load, load_on
from tests.acceptance.processes import PROJECT
from tests.acceptance.receiver import now
from tests.acceptance.service import API_KEY
from tests.chaos import checks
from tests.chaos.book import Book, read_these
from tests.chaos.cells import HALVES, PAIR, p99_ms, shard_in
from tests.chaos.pair import LEADS_S
from tests.chaos.report import Figure, late, none_of
from tests.chaos.stage import ENDED_S, PER_S, Ground, Stage, staged_on
from tests.chaos.stream import LEAD_S
from tests.several_servers import Server, several_servers
from timer_trio.threads import run_in_thread

CREATES: Final = 60
"""Timers that consumers create one by one each second; three of four they read, change, cancel."""
RESTING: Final = int(os.environ.get("RESTING") or 200_000)
SHORT_RESTING: Final = 5_000
"""How many timers there are that are not due; half of them are moved."""
CALM_S: Final = 3.0
LOOK_S: Final = 0.01
STOP_S: Final = 5.0
LATE_MS: Final = 50.0
DONE: Final = "cells split"

_MOVING: Final = "SELECT moving FROM cell_map"
_LIVING: Final = """
SELECT count(*) FROM timers
WHERE status IN ('pending', 'executing') AND destination <> 'https://hooks.example:443'
"""


@dataclass(slots=True)
class Spans:
    """What was done, from when to when, in Unix seconds."""

    spans: dict[str, tuple[float, float]] = field(default_factory=dict)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        began_s = now().timestamp()
        yield
        self.spans[what] = (began_s, now().timestamp())

    async def watch(self, source: Server, target: Server) -> None:
        """Note when shards are closed in one database and opened in the other."""
        began_s = now().timestamp()
        closed_s = await _when(source, lambda moving: moving is not None)
        self.spans["copying to the new cell"] = (began_s, closed_s)
        opened_s = await _when(target, lambda moving: moving is None)
        self.spans["the stop"] = (closed_s, opened_s)


async def run(ground: Ground) -> Sequence[Figure]:
    spans = Spans()
    async with several_servers(ground.folder) as servers:
        source = await servers.make_primary("one", wal_level="logical", max_wal_size="8GB")
        target = await servers.make_primary("two", max_wal_size="8GB")
        await _fill(source.url, RESTING if ground.is_full else SHORT_RESTING)
        per_s = PER_S if ground.is_full else PER_S // 2
        async with staged_on(source, source.url, per_s=per_s, lead=lambda: LEAD_S) as stage:
            await stage.fleet.start_all(PAIR)
            for name in PAIR:
                stage.streaming.start_soon(stage.rotation.watch, stage.fleet.members[name])
            await stage.begin()
            url, creates = stage.receiver.url("/load"), CREATES if ground.is_full else CREATES // 2
            load = load_on(stage.rotation, url, ground.chance, creates, LEADS_S)
            async with load as consumers:
                await _divide(stage, spans, source, target)
            book = await _finish(stage, source, target)
    return [*_lateness(book, spans), *_overall(book, consumers)]


async def _divide(stage: Stage, spans: Spans, source: Server, target: Server) -> None:
    with spans.doing("nothing"):
        await trio.sleep(CALM_S)
    with spans.doing("partitions"):
        await _command({"DATABASE_URL": source.url}, "db", "partition", "--by", "2")
    urls = zip(HALVES.cells, (source.url, target.url), strict=True)
    settings = {"CELLS": ";".join(f"{cell}={url}" for cell, url in urls), "DATABASE_URL": ""}
    with spans.doing("a rolling restart"):
        for name in PAIR:
            await stage.fleet.members[name].stop()
            started = await stage.fleet.start(name, **settings)
            stage.streaming.start_soon(stage.rotation.watch, started)
    with spans.doing("all of the split"):
        stage.streaming.start_soon(spans.watch, source, target)
        await _command(settings, "cells", "split")
    await trio.sleep(CALM_S)


async def _command(settings: Mapping[str, str], *arguments: str) -> None:
    environ = {**os.environ, "API_KEY": API_KEY, **settings}
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


async def _fill(url: str, count: int) -> None:
    def fill() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            fill_database(connection, count)

    await _command({"DATABASE_URL": url}, "db", "migrate")
    await run_in_thread(fill, limiter=trio.CapacityLimiter(1))


async def _when(server: Server, is_so: Callable[[str | None], bool]) -> float:
    while True:
        with suppress(psycopg.Error):
            if is_so(await server.ask(_MOVING)):
                return now().timestamp()
        await trio.sleep(LOOK_S)


async def _finish(stage: Stage, source: Server, target: Server) -> Book:
    """Create no more, wait until all that was created has ended, and close the book."""
    stage.stream.enough = True
    await stage.stream_over.wait()
    with trio.move_on_after(ENDED_S):
        while await source.ask(_LIVING) or await target.ask(_LIVING):  # noqa: ASYNC110 - a probe
            await trio.sleep(LOOK_S)
    # A double that somebody is about to send is to be seen.
    await trio.sleep(1.0)
    book = await stage.book(read=False)
    for server in (source, target):
        book.rows = {**book.rows, **await read_these(server.url, book.asked)}
    return book


def _lateness(book: Book, spans: Spans) -> Iterator[Figure]:
    for what, (began_s, ended_s) in spans.spans.items():
        due = checks.due_between(book.asked, began_s, ended_s)
        at_most = STOP_S if what == "the stop" else None
        yield Figure(what, "how long", ended_s - began_s, "s", at_most)
        if what != "the stop":
            yield Figure(what, "p99 late of the timers due meanwhile", p99_ms(book, due), "ms")
            continue
        moved = {each for each in due if shard_in(each) in HALVES.cells[1].shards}
        latest_s = max(checks.first_late_ms(book, moved), default=0.0) / 1000
        yield Figure(what, "timers of moved shards due meanwhile", len(moved))
        yield Figure(what, "the latest of them", latest_s, "s")
        yield Figure(what, "timers of other shards due meanwhile", len(due - moved))
        stayed_ms = p99_ms(book, due - moved)
        yield late(what, "p99 late of these", stayed_ms, LATE_MS, is_starved=book.is_starved)


def _overall(book: Book, load: Load) -> Iterator[Figure]:
    payloads = {each.timer_id: int(each.body) for each in book.arrivals if each.body}
    unavailable = sum(count for status, count in load.statuses.items() if status >= 500)
    wrong = [f"{status}: {count}" for status, count in load.statuses.items() if status == 404]
    yield Figure(DONE, "timers created and acknowledged", len(book.asked) + len(load.promises))
    yield Figure(DONE, "requests of consumers", load.statuses.total())
    yield Figure(DONE, "of these answered 503", unavailable)
    yield Figure(DONE, "the machine's own lateness", book.machine_ms, "ms")
    yield none_of(DONE, "timers said not to be there", wrong)
    yield none_of(DONE, "acknowledged, and lost", load.broken_promises(payloads))
    yield none_of(DONE, "timers that never ended", checks.unfinished(book))
    yield none_of(DONE, "timers that never fired", checks.silent(book))
    yield none_of(DONE, "timers sent twice", checks.doubled(book))
    yield none_of(DONE, "callbacks before their instant", checks.early(book))
