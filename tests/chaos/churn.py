"""Replicas that join, stop, die and freeze, one every second or two: who has no part is on time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from tests.acceptance.receiver import now
from tests.chaos import checks
from tests.chaos.book import Book, read_held
from tests.chaos.fleet import Replica
from tests.chaos.freeze import UNDER_WAY_S
from tests.chaos.members import Members
from tests.chaos.report import Figure, late, none_of
from tests.chaos.stage import Ground, Stage, staged
from tests.chaos.takeover import TAKEOVER_S, Crash, bystanders, overdue

SIX: Final = ("a", "b", "c", "d", "e", "f")
FEWEST: Final = 3
"""So many are left alone at any time: somebody has to take over."""
PER_S: Final = 100
LEAD_S: Final = (3.0, 9.0)
"""Beyond what one that has lost a shard still fires by itself."""
LENGTH_S: Final = 60.0
SHORT_S: Final = 12.0
FROZEN_S: Final = (2.0, 5.0, 8.0)
GOES_ON_S: Final = 2.0
LATE_MS: Final = 1_000.0
MOVES_PER_S: Final = 10
FAR_S: Final = 70.0
DONE: Final = "of six one joins, stops, dies or freezes"


@dataclass(slots=True)
class Churn:
    """What has been done so far; `fit`: those that nothing is being done to."""

    stage: Stage
    ground: Ground
    fit: set[str] = field(default_factory=lambda: set(SIX))
    crashes: list[Crash] = field(default_factory=list)
    members: Members = field(default_factory=Members)
    changes: int = 0
    codes: list[int] = field(default_factory=list)
    is_over: bool = False

    async def run(self, length_s: float) -> None:
        """Change something every second or two; returns when all are there again."""
        chance, end_s = self.ground.chance, trio.current_time() + length_s
        async with trio.open_nursery() as nursery:
            while trio.current_time() < end_s:
                await trio.sleep(chance.uniform(1.0, 2.0))
                if len(self.fit) > FEWEST:
                    name = chance.choice(sorted(self.fit))
                    self.fit.remove(name)
                    nursery.start_soon(self._change, name)
        self.is_over = True

    async def move_some(self) -> None:
        """Move timers near until the changes are over."""
        async with trio.open_nursery() as moving:
            while not self.is_over:
                await trio.sleep(1 / MOVES_PER_S)
                moving.start_soon(self.stage.stream.move_near, FAR_S)

    async def _change(self, name: str) -> None:
        victim = self.stage.fleet.members[name]
        change = self.ground.chance.choice([self._kill, self._stop, self._freeze])
        self.changes += 1
        await change(victim)
        if victim.served.program.code is not None:
            await trio.sleep(self.ground.chance.uniform(0.0, 3.0))
            self.changes += 1
            await self.stage.fleet.start(name)
        self.fit.add(name)

    async def _kill(self, victim: Replica) -> None:
        victim_id, began_s = victim.id, now().timestamp()
        await victim.kill()
        await self._note(victim.name, victim_id, began_s, TAKEOVER_S)

    async def _stop(self, victim: Replica) -> None:
        self.stage.streaming.start_soon(self.stage.rotation.watch, victim)
        self.codes.append(await victim.stop())

    async def _freeze(self, victim: Replica) -> None:
        frozen_s = self.ground.chance.choice(FROZEN_S)
        victim_id, began_s, thaw_at = victim.id, now().timestamp(), trio.current_time() + frozen_s
        victim.is_in_turn = False
        await victim.freeze()
        await self._note(victim.name, victim_id, began_s, min(frozen_s + GOES_ON_S, TAKEOVER_S))
        await trio.sleep_until(thaw_at)
        victim.thaw()
        # At once: what it takes for its own belongs to others, and it has not heard of that yet.
        victim.is_in_turn = True

    async def _note(self, name: str, victim_id: str, began_s: float, length_s: float) -> None:
        await trio.sleep(UNDER_WAY_S)
        held = frozenset(await read_held(self.stage.database.url, victim_id))
        self.crashes.append(Crash(name, victim_id, began_s, began_s + length_s, held))


async def run(ground: Ground) -> Sequence[Figure]:
    lead = partial(ground.chance.uniform, *LEAD_S)
    async with staged(ground, per_s=PER_S, lead=lead) as stage:
        await stage.fleet.start_all(SIX)
        churn = Churn(stage, ground)
        stage.streaming.start_soon(churn.members.watch, stage.database.url)
        await stage.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(churn.move_some)
            await churn.run(LENGTH_S if ground.is_full else SHORT_S)
        book = await stage.finish()
    return _figures(book, churn)


def _figures(book: Book, churn: Churn) -> list[Figure]:
    crashes = churn.crashes
    for crash in crashes:
        crash.shards = churn.members.owned(crash.replica_id, crash.began_s, crash.over_s)
    others = bystanders(book, crashes)
    in_hand = book.asked.keys() - others
    held = {timer_id for crash in crashes for timer_id in crash.held}
    sent = {
        timer_id
        for crash in crashes
        for timer_id in checks.sent_by_then(book, crash.held, crash.began_s + UNDER_WAY_S)
    }
    late_ms = checks.last_late_ms(book, others)
    beyond_ms = checks.late_beyond_ms(late_ms, book.machine_ms)
    waited_ms = max(checks.last_late_ms(book, in_hand), default=0.0)
    over = overdue(book, in_hand, crashes, LATE_MS / 1000)
    unseen = sum(ms > TAKEOVER_S * 1000 for ms in late_ms)
    words = "latest of the others', beyond the machine"
    return [
        Figure(DONE, "changes", churn.changes, at_least=6),
        Figure(DONE, "crashes among them", len(crashes)),
        Figure(DONE, "timers created or moved, acknowledged", len(book.asked)),
        Figure(DONE, "timers that a crash excuses", len(in_hand)),
        late(DONE, words, beyond_ms, LATE_MS, is_starved=book.is_starved),
        Figure(DONE, "of the others' more than a second late", sum(ms > LATE_MS for ms in late_ms)),
        # No machine is so busy: what is that late was seen by nobody until a loader's look.
        Figure(DONE, "of the others' later than a takeover", unseen, at_most=0),
        Figure(DONE, "latest that a crash excuses", waited_ms, "ms"),
        none_of(DONE, "later than 6 s for each crash", over),
        none_of(DONE, "exit codes of a stop other than 0", (str(c) for c in churn.codes if c)),
        none_of(DONE, "timers that never ended", checks.unfinished(book)),
        none_of(DONE, "timers that never fired", checks.silent(book, held)),
        none_of(DONE, "sent twice, not in doubt", checks.doubled(book, sent)),
        none_of(DONE, "at_most_once sent twice", checks.doubled_once_only(book)),
        none_of(DONE, "callbacks before their instant", checks.early(book)),
    ]
