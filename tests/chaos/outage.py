"""The database goes and comes back under load: nothing acknowledged is lost, nobody is swept."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from tests.acceptance.database import FAST, IMMEDIATE, KILLED, Database, own_database
from tests.acceptance.load import load_on
from tests.acceptance.receiver import now
from tests.chaos import checks
from tests.chaos.book import Book
from tests.chaos.report import Figure, none_of
from tests.chaos.stage import PER_S, Ground, Stage, staged_on

RESUMED_S: Final = 2.0
AHEAD_S: Final = 0.5
"""What is due so long after the database went cannot have been claimed before."""
IN_FLIGHT: Final = 100
"""To one destination at once (MAX_IN_FLIGHT_PER_DESTINATION): these may arrive in any order."""
PAUSE_S: Final = 1.5
OUTAGE_S: Final = 60.0
SHORT_OUTAGE_S: Final = 6.0
OVERDUE_PER_S: Final = 100
PAIR: Final = ("a", "b")
RESTARTS: Final = {
    "restart -m fast": FAST,
    "restart -m immediate": IMMEDIATE,
    "kill -9 of the postmaster": KILLED,
}


@dataclass(frozen=True, slots=True)
class Outage:
    """From when to when the database was away, in Unix seconds."""

    done: str
    gone_s: float
    back_s: float


async def run(ground: Ground) -> Sequence[Figure]:
    outage_s = OUTAGE_S if ground.is_full else SHORT_OUTAGE_S
    outages: list[Outage] = []
    async with (
        own_database(ground.folder) as database,
        staged_on(database, database.url, per_s=PER_S // 2) as stage,
    ):
        await stage.fleet.start_all(PAIR)
        await stage.begin()
        async with load_on(stage.rotation, stage.receiver.url("/load"), ground.chance) as load:
            for done, how in list(RESTARTS.items()) * (3 if ground.is_full else 1):
                outages.append(await _take_away(database, done, how, 0.0))
                await trio.sleep(PAUSE_S)
            await _create_overdue(stage, outage_s)
            outages.append(await _take_away(database, f"{outage_s:g} s away", FAST, outage_s))
            await trio.sleep(PAUSE_S)
        book = await stage.finish()
    payloads = {arrival.timer_id: int(arrival.body) for arrival in book.arrivals}
    return [
        *_figures_of(stage, book, outages),
        *_overall(stage, book),
        none_of("all of these", "acknowledged, and lost", load.broken_promises(payloads)),
        Figure("all of these", "requests answered", sum(load.statuses.values())),
    ]


async def _take_away(database: Database, done: str, how: signal.Signals, length_s: float) -> Outage:
    gone_s = now().timestamp()
    await database.end(how)
    await trio.sleep(length_s)
    await database.launch()
    return Outage(done, gone_s, now().timestamp())


async def _create_overdue(stage: Stage, outage_s: float) -> None:
    """Create what falls due while the database is away; the stream cannot then."""
    first_s = now().timestamp() + 2.0
    instants = [first_s + i / OVERDUE_PER_S for i in range(int(outage_s * OVERDUE_PER_S))]
    async with trio.open_nursery() as asking:
        for start in range(0, len(instants), 500):
            some = instants[start : start + 500]
            asking.start_soon(partial(stage.stream.create, some))


def _figures_of(stage: Stage, book: Book, outages: Sequence[Outage]) -> Iterator[Figure]:
    for each in outages:
        gone_s = each.gone_s + AHEAD_S if each.back_s - each.gone_s > AHEAD_S else each.gone_s
        resumed_s = checks.resumed_s(book.arrivals, gone_s, each.back_s)
        yield Figure(each.done, "firing again after", resumed_s, "s", RESUMED_S)
        yield from _order(stage, book, each)


def _order(stage: Stage, book: Book, outage: Outage) -> Iterator[Figure]:
    """Look at each replica alone: the two drain side by side, and share nothing but the rows."""
    known = {key for key, asked in book.asked.items() if asked.known_s < outage.gone_s}
    arrivals = [arrival for arrival in book.arrivals if arrival.timer_id in known]
    gone_s = outage.gone_s + AHEAD_S
    drained = [
        checks.overdue(arrivals, replica.fired, gone_s, outage.back_s)
        for replica in stage.fleet.members.values()
    ]
    if not any(drained):
        return
    overtaken = max(checks.most_overtaken(each) for each in drained)
    last_s = max(arrival.at for each in drained for arrival in each) - outage.back_s
    yield Figure(outage.done, "overdue when it came back", sum(map(len, drained)))
    yield Figure(outage.done, "the last of them fired after", last_s, "s")
    words = "younger ones of its replica that came before one"
    yield Figure(outage.done, words, overtaken, at_most=IN_FLIGHT)


def _overall(stage: Stage, book: Book) -> Iterator[Figure]:
    done = "all of these"
    swept = [
        f"{replica.name}: {line}"
        for replica in stage.fleet.all
        for event in ("swept_dead_replica", "swept_by_another_replica")
        for line in replica.served.logged(event)
    ]
    yield none_of(done, "replicas swept for it", swept)
    yield none_of(done, "timers that never ended", checks.unfinished(book))
    yield none_of(done, "timers that never fired", checks.silent(book))
    yield none_of(done, "timers sent twice", checks.doubled(book))
    yield none_of(done, "callbacks before their instant", checks.early(book))
