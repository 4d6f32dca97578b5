"""SIGSTOP for 10 s, then SIGCONT: what wakes up after its time is over does no harm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import trio

from tests.acceptance.receiver import now, receiver_process
from tests.chaos import checks
from tests.chaos.book import Book, Row, read_held, read_these
from tests.chaos.fleet import NAMES, Replica, when
from tests.chaos.kill import TAKEOVER_MS
from tests.chaos.points import POINTS, SHORT, Reach, Release, Scene, catch_sweeper
from tests.chaos.proxy import proxy_to
from tests.chaos.report import Figure, late, none_of
from tests.chaos.stage import Ground, staged
from tests.chaos.stream import LEAD_S

FROZEN_S: Final = 10.0
LOCK_MS: Final = 3_000.0
"""Until a session whose answer nobody reads is ended: two seconds, and the next sweeper's beat."""
LATE_SETTLES_S: Final = 2.0
"""After which a replica that goes on has written what it still had to."""
UNDER_WAY_S: Final = 0.3
"""For statements that were on their way when the replica froze."""
SWEEPER: Final = "the sweep of a dead one"


@dataclass(slots=True)
class Freeze:
    """One freeze, and the timers that the frozen replica held, before and after it went on."""

    at: str
    victim: Replica
    victim_id: str
    frozen_s: float
    beside: Sequence[str]
    """The names of all that did not run meanwhile."""
    held: dict[str, Row] = field(default_factory=dict)
    before: dict[str, Row] = field(default_factory=dict)
    after: dict[str, Row] = field(default_factory=dict)
    swept_s: float = float("inf")
    joined_s: float = float("inf")
    thawed_s: float = 0.0
    began_s: float = 0.0
    """When the trouble began: with its own freeze, or with another's death."""
    prey: str = ""
    prey_held: dict[str, Row] = field(default_factory=dict)
    takeover_ms: float = TAKEOVER_MS

    def __post_init__(self) -> None:
        self.began_s = self.frozen_s

    @property
    def done(self) -> str:
        return f"frozen at {self.at}"


async def run(ground: Ground) -> Sequence[Figure]:
    freezes: list[Freeze] = []
    async with staged(ground) as stage, receiver_process() as quiet, AsyncExitStack() as stack:
        proxies = {
            name: await stack.enter_async_context(proxy_to(stage.database.url, folder))
            for name, folder in _socket_folders(ground.folder).items()
        }
        scene = Scene(stage, proxies, quiet, ground.chance)
        async with trio.open_nursery() as starting:
            for name, proxy in proxies.items():
                starting.start_soon(partial(stage.fleet.start, name, DATABASE_URL=proxy.url))
        await stage.begin()
        if ground.is_full:
            for number, at in enumerate(POINTS):
                victim = stage.fleet.members[NAMES[number % len(NAMES)]]
                freezes.append(await _freeze(scene, at, victim, [victim.name]))
            freezes.append(await _freeze_sweeper(scene, stage.fleet.members[NAMES[0]]))
        else:
            freezes += await _freeze_two(scene)
        book = await stage.finish()
    book.arrivals = sorted([*book.arrivals, *quiet.arrivals], key=lambda arrival: arrival.at)
    return [*(figure for each in freezes for figure in _told(book, each)), *_all(book, freezes)]


def _socket_folders(folder: Path) -> dict[str, Path]:
    folders = {name: folder / name for name in NAMES}
    for each in folders.values():
        each.mkdir()
    return folders


async def _freeze_two(scene: Scene) -> list[Freeze]:
    names = scene.chance.sample(NAMES, len(SHORT))
    freezes: list[Freeze] = []

    async def freeze_one(at: str, name: str) -> None:
        freezes.append(await _freeze(scene, at, scene.stage.fleet.members[name], names))

    async with trio.open_nursery() as freezing:
        for at, name in zip(SHORT, names, strict=True):
            freezing.start_soon(freeze_one, at, name)
    return freezes


async def _freeze(scene: Scene, at: str, victim: Replica, beside: Sequence[str]) -> Freeze:
    victim_id = victim.id
    reach: Reach = POINTS[at]
    release = await reach(scene, victim)
    freeze = Freeze(at, victim, victim_id, now().timestamp(), beside)
    await _hold(scene, freeze, release)
    return freeze


async def _freeze_sweeper(scene: Scene, prey: Replica) -> Freeze:
    """Freeze who sweeps a dead replica: no lock of his may keep its timers from the others."""
    ids = {hunter.name: hunter.id for hunter in scene.stage.fleet.others(prey.name)}
    killed_s = now().timestamp()
    victim, release, prey_held = await catch_sweeper(scene, prey)
    beside = [victim.name, prey.name]
    freeze = Freeze(SWEEPER, victim, ids[victim.name], now().timestamp(), beside)
    freeze.began_s, freeze.prey, freeze.prey_held = killed_s, prey.name, prey_held
    freeze.takeover_ms = TAKEOVER_MS + LOCK_MS
    await _hold(scene, freeze, release)
    proxied = scene.proxies[prey.name].url
    await scene.stage.fleet.start(prey.name, DATABASE_URL=proxied)
    return freeze


async def _hold(scene: Scene, freeze: Freeze, release: Release) -> None:
    """Keep it frozen for its time, let it go on, and see what it does."""
    victim, stage = freeze.victim, scene.stage
    thaw_at = trio.current_time() + FROZEN_S
    await trio.sleep(UNDER_WAY_S)
    freeze.held = await read_held(stage.database.url, freeze.victim_id)
    await trio.sleep_until(thaw_at - UNDER_WAY_S)
    freeze.swept_s = min(
        (swept_s for other in stage.fleet.others() if (swept_s := other.swept(freeze.victim_id))),
        default=float("inf"),
    )
    freeze.before = await read_these(stage.database.url, freeze.held)
    await trio.sleep_until(thaw_at)
    freeze.thawed_s = now().timestamp()
    victim.thaw()
    release()
    await trio.sleep(LATE_SETTLES_S)
    joined = victim.served.logged("joined")[-1]
    if joined["replica"] != freeze.victim_id:
        freeze.joined_s = when(joined)
    freeze.after = await read_these(stage.database.url, freeze.held)
    victim.is_in_turn = True


def _told(book: Book, freeze: Freeze) -> Iterator[Figure]:
    orphans = _orphans(book, freeze)
    due = checks.due_between(book.asked, freeze.began_s, freeze.thawed_s)
    others = due - checks.asked_of(book, freeze.beside) - freeze.held.keys() - orphans
    late_ms = max(checks.last_late_ms(book, orphans), default=0.0)
    others_ms = checks.late_beyond_ms(checks.last_late_ms(book, others), book.machine_ms)
    yield Figure(freeze.done, "timers that it held", len(freeze.held))
    swept_after_s = freeze.swept_s - freeze.frozen_s
    yield Figure(freeze.done, "swept after", swept_after_s, "s", at_most=FROZEN_S)
    words = "latest callback of its timers"
    yield late(freeze.done, words, late_ms, freeze.takeover_ms, is_starved=book.is_starved)
    words = "latest of the others', beyond the machine"
    yield late(freeze.done, words, others_ms, LOCK_MS, is_starved=book.is_starved)


def _orphans(book: Book, freeze: Freeze) -> set[str]:
    """Choose what the frozen one, and the dead one if there is one, held or should have fired."""
    names = {freeze.victim.name, freeze.prey} if freeze.prey else {freeze.victim.name}
    due = checks.due_between(book.asked, freeze.began_s, freeze.frozen_s + LEAD_S)
    held = freeze.held.keys() | freeze.prey_held.keys()
    return (due & checks.asked_of(book, names)) | (held & book.asked.keys())


def _all(book: Book, freezes: Sequence[Freeze]) -> Iterator[Figure]:
    done = "all of these"
    held = {key for each in freezes for key in each.held.keys() | each.prey_held.keys()}
    sent = {
        key
        for each in freezes
        for key in checks.sent_by_then(
            book, each.held.keys() | each.prey_held.keys(), each.frozen_s + UNDER_WAY_S
        )
    }
    unclaimed = sum(len(checks.unclaimed(book, each.held, each.before)) for each in freezes)
    yield Figure(done, "timers created and acknowledged", len(book.asked))
    yield Figure(done, "sent by a frozen one and not settled", len(sent), at_least=1)
    yield none_of(done, "sent after the sweep, of what it held", _each(freezes, book, "held"))
    yield none_of(done, "sent between the sweep and its return", _each(freezes, book, "out"))
    yield none_of(done, "re-claimed, and changed by a late outcome", _each(freezes, book, "over"))
    yield Figure(done, "sent, swept and claimed by nobody else", unclaimed)
    yield none_of(done, "of them not settled by the late outcome", _each(freezes, book, "lost"))
    yield none_of(done, "timers that never ended", checks.unfinished(book))
    yield none_of(done, "timers that never fired", checks.silent(book, held))
    yield none_of(done, "sent twice, not in doubt", checks.doubled(book, sent))
    yield none_of(done, "at_most_once sent twice", checks.doubled_once_only(book))
    yield none_of(done, "callbacks before their instant", checks.early(book))


def _each(freezes: Sequence[Freeze], book: Book, what: str) -> Iterator[str]:
    for each in freezes:
        found = {
            "held": checks.sent_after_sweep(book, each.held, each.swept_s),
            "out": checks.sent_while_out(
                book.arrivals, each.victim.fired, each.swept_s, each.joined_s
            ),
            "over": checks.overwritten(each.held, each.before, each.after),
            "lost": checks.uncounted(book, each.held, each.before, each.after),
        }
        yield from (f"{each.done}: {violation}" for violation in found[what])
