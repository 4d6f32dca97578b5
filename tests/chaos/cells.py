"""One of two cells is killed under load, and comes back: the other goes on as if nothing were."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import quantiles
from typing import Final
from uuid import UUID

import trio

from tests.acceptance.client import NoAnswerError
from tests.acceptance.database import Database, own_database
from tests.acceptance.load import Load, load_on
from tests.acceptance.receiver import now
from tests.chaos import checks
from tests.chaos.book import Asked, Book, read_rows
from tests.chaos.outage import AHEAD_S
from tests.chaos.report import Figure, late, none_of
from tests.chaos.stage import ANSWER_S, Ground, Stage, staged_on
from timer_trio.domain.cells import Cell, CellMap
from timer_trio.domain.timer import TimerId, shard_of

HALVES: Final = CellMap([Cell(0, 127), Cell(128, 255)])
PAIR: Final = ("a", "b")
AWAY_S: Final = 10.0
SHORT_AWAY_S: Final = 5.0
NOTICED_S: Final = 2.0
"""By then a heartbeat has told that a database is away, and nothing new is put there."""
CREATES: Final = 40
"""Timers that consumers create one by one each second, and then read, change or cancel."""
PROBE_S: Final = 0.05
"""Between creates of which each is looked at."""
CREATED_S: Final = 0.5
LATE_MS: Final = 50.0
RESUMED_S: Final = 2.0
SETTLED_S: Final = 3.0
"""After the return; then all goes its usual way."""
CALM_S: Final = 4.0
ALL: Final = "all of these"


@dataclass(frozen=True, slots=True)
class Create:
    """A plain create: when it was asked for, how long that took, and what was answered."""

    asked_s: float
    took_s: float
    status: int | None


@dataclass(frozen=True, slots=True)
class Outage:
    """Which cell was away, from when to when, in Unix seconds."""

    cell: int
    gone_s: float
    back_s: float

    @property
    def done(self) -> str:
        return f"kill -9 of cell {HALVES.cells[self.cell]}, {self.back_s - self.gone_s:.0f} s"


async def run(ground: Ground) -> Sequence[Figure]:
    folder = ground.folder / "second"
    folder.mkdir(mode=0o711)
    creates: list[Create] = []
    outages: list[Outage] = []
    async with (
        own_database(ground.folder) as first,
        own_database(folder) as second,
        staged_on(first, first.url) as stage,
    ):
        cells = [first, second]
        urls = zip(HALVES.cells, cells, strict=True)
        settings = {"CELLS": ";".join(f"{cell}={each.url}" for cell, each in urls)}
        await stage.fleet.start_all(PAIR, **settings, DATABASE_URL="")
        await stage.begin()
        url = stage.receiver.url("/load")
        async with load_on(stage.rotation, url, ground.chance, CREATES) as load:
            stage.streaming.start_soon(_create_on, stage, creates)
            await trio.sleep(CALM_S)
            for cell in [0, 1] if ground.is_full else [ground.chance.choice([0, 1])]:
                away_s = AWAY_S if ground.is_full else SHORT_AWAY_S
                outages.append(await _take_away(cells, cell, away_s))
                await trio.sleep(SETTLED_S)
        book = await stage.finish()
        book.rows = {**book.rows, **await read_rows(second.url)}
    figures = [figure for each in outages for figure in _figures_of(book, creates, each)]
    return [*figures, *_overall(stage, book, load)]


async def _take_away(cells: Sequence[Database], cell: int, away_s: float) -> Outage:
    process = cells[cell]._server._process
    assert process is not None
    gone_s = now().timestamp()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await cells[cell]._server.wait_ended()
    await trio.sleep(away_s)
    await cells[cell].launch()
    return Outage(cell, gone_s, now().timestamp())


async def _create_on(stage: Stage, creates: list[Create]) -> None:
    """Create one timer after the other, each by itself, and keep book of how that goes."""
    async with trio.open_nursery() as asking:
        while not stage.stream.enough:
            asking.start_soon(_create, stage, creates)
            await trio.sleep(PROBE_S)


async def _create(stage: Stage, creates: list[Create]) -> None:
    asked_s, status = now().timestamp(), None
    body = {"delay": 1, "callback_url": stage.receiver.url(f"/wait/{ANSWER_S}")}
    try:
        who, answer = await stage.rotation.ask_any("POST", "/timers", body)
    except (NoAnswerError, trio.TooSlowError):
        answer = None
    known_s = now().timestamp()
    if answer is not None:
        status = answer.status
        if status == 201:
            stage.stream.asked[answer.data["id"]] = Asked(
                -1, asked_s + 1, "at_least_once", who.name, known_s
            )
    creates.append(Create(asked_s, known_s - asked_s, status))


def _figures_of(book: Book, creates: Sequence[Create], outage: Outage) -> Iterator[Figure]:
    done, other = outage.done, HALVES.cells[1 - outage.cell]
    meanwhile = checks.due_between(book.asked, outage.gone_s, outage.back_s)
    stays = {timer_id for timer_id in meanwhile if shard_in(timer_id) in other.shards}
    yield Figure(done, "timers of the other cell due meanwhile", len(stays))
    before = checks.due_between(book.asked, 0.0, outage.gone_s - NOTICED_S)
    yield Figure(done, "p99 late of all timers before", p99_ms(book, before), "ms")
    stayed_ms = p99_ms(book, stays)
    words = "p99 late of the other cell's timers meanwhile"
    yield late(done, words, stayed_ms, LATE_MS, is_starved=book.is_starved)
    yield from _creates(done, creates, outage)
    own = [each for each in book.arrivals if shard_in(each.timer_id) not in other.shards]
    resumed_s = checks.resumed_s(own, outage.gone_s + AHEAD_S, outage.back_s)
    yield Figure(done, "its own timers fire again after", resumed_s, "s", RESUMED_S)


def _creates(done: str, creates: Sequence[Create], outage: Outage) -> Iterator[Figure]:
    at_first = _asked_between(creates, outage.gone_s, outage.gone_s + NOTICED_S)
    then = _asked_between(creates, outage.gone_s + NOTICED_S, outage.back_s)
    slow = [each for each in at_first if each.took_s > CREATED_S or each.status != 201]
    yield Figure(done, f"creates in the first {NOTICED_S:g} s", len(at_first))
    yield Figure(done, f"of these slower than {CREATED_S:g} s, or not done", len(slow))
    yield Figure(done, "creates after that", len(then), at_least=1)
    refused = [f"{each}" for each in then if each.status != 201]
    yield none_of(done, "of these not answered 201", refused)
    slowest_s = max((each.took_s for each in then), default=0.0)
    yield Figure(done, "the slowest of these", slowest_s, "s")


def _asked_between(creates: Sequence[Create], begin_s: float, end_s: float) -> list[Create]:
    return [each for each in creates if begin_s <= each.asked_s < end_s]


def _overall(stage: Stage, book: Book, load: Load) -> Iterator[Figure]:
    swept = [
        f"{replica.name}: {line}"
        for replica in stage.fleet.all
        for event in ("swept_dead_replica", "swept_by_another_replica")
        for line in replica.served.logged(event)
    ]
    payloads = {each.timer_id: int(each.body) for each in book.arrivals if each.body}
    yield Figure(ALL, "timers created and acknowledged", len(book.asked) + len(load.promises))
    yield Figure(ALL, "the machine's own lateness", book.machine_ms, "ms")
    yield Figure(ALL, "a replica's wait for a processor, worst second", book.waited_ms, "ms")
    yield none_of(ALL, "replicas swept for it", swept)
    yield none_of(ALL, "acknowledged, and lost", load.broken_promises(payloads))
    yield none_of(ALL, "timers that never ended", checks.unfinished(book))
    yield none_of(ALL, "timers that never fired", checks.silent(book))
    yield none_of(ALL, "timers sent twice", checks.doubled(book))
    yield none_of(ALL, "callbacks before their instant", checks.early(book))


def p99_ms(book: Book, timer_ids: Collection[str]) -> float:
    """Tell how late the first callbacks of 99 of 100 of these timers were."""
    late_ms = checks.first_late_ms(book, timer_ids)
    return quantiles(late_ms, n=100)[-1] if len(late_ms) > 1 else max(late_ms, default=0.0)


def shard_in(timer_id: str) -> int:
    """Return the shard that an id says."""
    return shard_of(TimerId(UUID(timer_id)))
