"""How long a timer may wait for a takeover: only one that a dead or frozen replica had in hand."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from tests.chaos import checks
from tests.chaos.book import Asked, Book
from timer_trio.domain.timer import TimerId, shard_of

TAKEOVER_S: Final = 6.0
IN_HAND_S: Final = 1.0
"""What fell due so shortly before a crash may not have been sent."""


@dataclass(slots=True)
class Crash:
    """A replica that died or froze, what it had in hand, and by when others had taken that over.

    `shards`: those it owned when that began, and those that fell to it before it was swept.
    """

    name: str
    replica_id: str
    began_s: float
    over_s: float
    held: frozenset[str]
    shards: frozenset[int] = frozenset()

    def concerns(self, timer_id: str, asked: Asked) -> bool:
        shard = shard_of(TimerId(UUID(timer_id)))
        return asked.by == self.name or shard in self.shards or timer_id in self.held


def latest_s(timer_id: str, asked: Asked, crashes: Sequence[Crash]) -> float:
    """Say when a timer must have fired: what waits for a takeover may wait for the heir's too."""
    latest = asked.expected_s
    for crash in sorted(crashes, key=lambda crash: crash.began_s):
        is_met = crash.began_s <= latest + IN_HAND_S and crash.over_s >= asked.expected_s
        if is_met and (latest > asked.expected_s or crash.concerns(timer_id, asked)):
            latest = max(latest, crash.over_s)
    return latest


def bystanders(book: Book, crashes: Sequence[Crash]) -> set[str]:
    """Choose the timers that no crash excuses."""
    return {
        timer_id
        for timer_id, asked in book.asked.items()
        if latest_s(timer_id, asked, crashes) <= asked.expected_s
    }


def overdue(
    book: Book, timer_ids: Collection[str], crashes: Sequence[Crash], slack_s: float
) -> Iterator[str]:
    """Each of these fired within six seconds for each crash that it met."""
    for timer_id, arrivals in book.by_timer().items():
        if timer_id not in timer_ids:
            continue
        asked = book.asked[timer_id]
        over_s = arrivals[-1].at - latest_s(timer_id, asked, crashes)
        if over_s > slack_s:
            (late_ms,) = checks.last_late_ms(book, [timer_id])
            yield f"{timer_id} was {late_ms:,.0f} ms late, {over_s:.2f} s more than excused"
