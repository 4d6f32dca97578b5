"""kill -9 of one replica of three: what it held or should have fired, the others fire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from tests.acceptance.receiver import now
from tests.chaos import checks
from tests.chaos.book import Book, Row, read_held
from tests.chaos.fleet import NAMES
from tests.chaos.report import Figure, late, none_of
from tests.chaos.stage import Ground, Stage, staged
from tests.chaos.stream import LEAD_S

TAKEOVER_MS: Final = 6_000.0
DONE: Final = "kill -9 of one of three"


async def run(ground: Ground) -> Sequence[Figure]:
    victims = list(NAMES)
    ground.chance.shuffle(victims)
    in_doubt: dict[str, Row] = {}
    sent: set[str] = set()
    orphans: set[str] = set()
    async with staged(ground) as stage:
        await stage.fleet.start_all(NAMES)
        await stage.begin()
        for victim in victims if ground.is_full else victims[:1]:
            killed_s, held = await _kill(stage, victim)
            book = await stage.book()
            in_doubt |= held
            sent |= checks.sent_by_then(book, held, killed_s)
            due = checks.due_between(stage.stream.asked, killed_s - 0.5, killed_s + LEAD_S)
            orphans |= due & checks.asked_of(book, {victim}) | held.keys() & book.asked.keys()
            if ground.is_full:
                await stage.fleet.start(victim)
        book = await stage.finish()
    return _figures(book, set(in_doubt), sent, orphans)


async def _kill(stage: Stage, name: str) -> tuple[float, dict[str, Row]]:
    """Kill it, see what it held, and let the others take over."""
    victim = stage.fleet.members[name]
    victim_id = victim.id
    await victim.kill()
    killed_s = now().timestamp()
    held = await read_held(stage.database.url, victim_id)
    await trio.sleep(TAKEOVER_MS / 1000)
    return killed_s, held


def _figures(book: Book, in_doubt: set[str], sent: set[str], orphans: set[str]) -> list[Figure]:
    others = book.asked.keys() - orphans
    doubles = len(list(checks.doubled(book)))
    late_ms = max(checks.last_late_ms(book, orphans), default=0.0)
    others_late_ms = max(checks.last_late_ms(book, others), default=0.0)
    return [
        Figure(DONE, "timers created and acknowledged", len(book.asked)),
        Figure(DONE, "sent by the dead and not settled", len(sent), at_least=1),
        none_of(DONE, "timers that never ended", checks.unfinished(book)),
        none_of(DONE, "timers that never fired", checks.silent(book, in_doubt)),
        late(
            DONE,
            "latest callback of a timer of the dead",
            late_ms,
            TAKEOVER_MS,
            is_starved=book.is_starved,
        ),
        Figure(DONE, "latest callback of any other timer", others_late_ms, "ms"),
        Figure(DONE, "timers sent twice", doubles, at_most=len(sent)),
        none_of(DONE, "of them not in doubt at the kill", checks.doubled(book, sent)),
        none_of(DONE, "at_most_once sent twice", checks.doubled_once_only(book)),
        none_of(DONE, "callbacks before their instant", checks.early(book)),
        none_of(DONE, "changed webhook-ids", checks.renamed(book)),
    ]
