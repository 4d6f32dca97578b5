"""What a failover left behind: what was lost, doubled and stuck, and when timers fired again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from tests.acceptance.load import Load, Promise
from tests.acceptance.receiver import Arrival
from tests.chaos import checks
from tests.chaos.book import Book
from tests.chaos.fleet import Replica
from tests.chaos.pair import NEWCOMER_READY_S, Failover, Pair, Zombie
from tests.chaos.report import Figure, late, none_of

AHEAD_S: Final = 0.5
"""What is due so long after the primary went cannot have been claimed before."""
UNSETTLED_S: Final = 1.0
"""So long before a commit was in flight what that commit settled."""
EXPECTED: Final = frozenset({200, 201, 400, 404, 503})
"""What a consumer may hear: 404 of a timer that is lost, 503 while there is no primary."""
ALL: Final = "all of these"


@dataclass(frozen=True, slots=True)
class Aftermath:
    """`known_s`: when each creation was acknowledged, that of a consumer's own timers too.

    `newcomer_s`: how long a process took that was started beside two primaries, if one was.
    """

    book: Book
    load: Load
    replicas: Sequence[Replica]
    failovers: Sequence[Failover]
    zombies: Sequence[Zombie]
    newcomer_s: float | None
    known_s: Mapping[str, float]

    @classmethod
    def of(cls, pair: Pair, book: Book) -> Aftermath:
        known_s = {timer_id: asked.known_s for timer_id, asked in book.asked.items()}
        known_s |= {timer_id: told.known_at for timer_id, told in pair.load.promises.items()}
        newcomer = pair.newcomer
        newcomer_s = newcomer.ready_s - newcomer.starting_s if newcomer else None
        return cls(
            book,
            pair.load,
            pair.stage.fleet.all,
            pair.failovers,
            pair.zombies,
            newcomer_s,
            known_s,
        )

    def figures(self, *, synchronous: bool, resumed: Mapping[str, float]) -> list[Figure]:
        """Tell all; `resumed`: what the time until timers fire again is held to, in seconds."""
        return [
            *(figure for each in self.failovers for figure in self._told(each, resumed)),
            *(figure for each in self.zombies for figure in self._beside(each)),
            Figure(ALL, "timers created and acknowledged", len(self.known_s)),
            Figure(ALL, "of them changed or canceled", self._changed()),
            Figure(ALL, "requests of consumers answered", sum(self.load.statuses.values())),
            none_of(ALL, "of them with neither 2xx, 400, 404 nor 503", self._odd_answers()),
            *(self._kept() if synchronous else self._lost()),
            none_of(ALL, "timers that are stuck", checks.stuck(self.book)),
            none_of(ALL, "callbacks before their instant", checks.early(self.book)),
            none_of(ALL, "changed webhook-ids", checks.renamed(self.book)),
        ]

    def _told(self, failover: Failover, resumed: Mapping[str, float]) -> Iterator[Figure]:
        done, due_s = failover.done, failover.gone_s + AHEAD_S
        arrivals = self.book.arrivals
        from_gone_s = failover.back_s - failover.gone_s
        yield Figure(done, "a new primary after", from_gone_s, "s")
        after_s = checks.resumed_s(arrivals, due_s, failover.back_s)
        yield self._late(done, "firing again, since then", after_s, resumed.get("promoted"))
        all_s = from_gone_s + after_s
        yield self._late(done, "firing again, since it went", all_s, resumed.get("gone"))
        each_s = [checks.resumed_s(own, due_s, failover.back_s) for own in self._own(failover)]
        slower_s = max(each_s, default=inf)
        yield self._late(done, "the slower replica firing, since then", slower_s, None)
        silent_s = checks.silence_s(arrivals, failover.gone_s, failover.back_s)
        yield self._late(done, "longest time without a callback", silent_s, None)
        created_s = min((s for s in self.known_s.values() if s > failover.back_s), default=inf)
        words = "a create acknowledged, since then"
        yield self._late(done, words, created_s - failover.back_s, None)

    def _late(self, done: str, words: str, after_s: float, at_most_s: float | None) -> Figure:
        if at_most_s is None:
            return Figure(done, words, after_s * 1000, "ms")
        is_starved = self.book.is_starved and after_s < inf
        return late(done, words, after_s * 1000, at_most_s * 1000, is_starved=is_starved)

    def _beside(self, zombie: Zombie) -> Iterator[Figure]:
        """Tell what the service did while two servers could be written to."""
        done = "the former primary, writable again"
        yield Figure(done, "most sessions of the service on it", zombie.sessions)
        yield Figure(done, "transactions of the service there", zombie.written, at_most=0)
        if self.newcomer_s is not None:
            yield Figure(done, "a new process ready after", self.newcomer_s, "s", NEWCOMER_READY_S)

    def _own(self, failover: Failover) -> Iterator[list[Arrival]]:
        for replica in self.replicas:
            if replica.ready_s < failover.gone_s:
                fired = replica.fired
                yield [a for a in self.book.arrivals if (a.timer_id, a.attempt) in fired]

    def _kept(self) -> Iterator[Figure]:
        yield none_of(ALL, "acknowledged, and lost", self._missing(self.known_s))
        yield none_of(ALL, "timers that never fired", checks.silent(self.book))
        yield none_of(ALL, "promises to consumers broken", self._broken(self.load.promises))
        yield none_of(ALL, "timers sent twice", checks.doubled(self.book))

    def _lost(self) -> Iterator[Figure]:
        """Tell what an asynchronous standby loses: what it had not received, and nothing else."""
        kept, fresh = self._parted()
        in_flight = self._in_flight()
        promises = self.load.promises
        new = {i: told for i, told in promises.items() if self._is_fresh(told)}
        old = {i: told for i, told in promises.items() if i not in new}
        known = replace(self.book, asked={i: a for i, a in self.book.asked.items() if i in kept})
        unfired = self._gone(fresh) - self.book.by_timer().keys()
        doubled, once = checks.doubled(self.book), checks.doubled_once_only(self.book)
        yield Figure(ALL, "acknowledged, not received by the standby", len(fresh))
        yield Figure(ALL, "of them lost", len(self._gone(fresh)))
        yield Figure(ALL, "of the lost never fired", len(unfired))
        yield Figure(ALL, "promises broken, not received", _count(self._broken(new)))
        yield Figure(ALL, "timers sent twice", _count(doubled))
        yield Figure(ALL, "of them at_most_once", _count(once))
        yield none_of(ALL, "lost, though received", self._missing(kept))
        yield none_of(ALL, "promises broken, though received", self._broken(old))
        yield none_of(ALL, "never fired, though received", checks.silent(known, in_flight))
        yield none_of(ALL, "sent twice, not in flight", checks.doubled(self.book, in_flight))

    def _parted(self) -> tuple[dict[str, float], dict[str, float]]:
        """Part what the standby had received for certain from what it may not have."""
        fresh = {i: s for i, s in self.known_s.items() if self._in_window(s)}
        return {i: s for i, s in self.known_s.items() if i not in fresh}, fresh

    def _in_window(self, instant_s: float) -> bool:
        # What was acknowledged before another one could be written to, the old one had committed.
        return any(each.kept_s <= instant_s <= each.back_s for each in self.failovers)

    def _is_fresh(self, told: Promise) -> bool:
        return self._in_window(told.known_at) or self._in_window(told.changed_at)

    def _in_flight(self) -> set[str]:
        """Choose what was sent when its claim or its outcome may not have been received."""
        return {
            arrival.timer_id
            for arrival in self.book.arrivals
            for each in self.failovers
            if each.kept_s - UNSETTLED_S <= arrival.at <= each.back_s
        }

    def _gone(self, known_s: Mapping[str, float]) -> set[str]:
        return known_s.keys() - self.book.rows.keys()

    def _missing(self, known_s: Mapping[str, float]) -> Iterator[str]:
        for timer_id in sorted(self._gone(known_s)):
            yield f"{timer_id} was acknowledged at {known_s[timer_id]:.3f} and is lost"

    def _broken(self, promises: Mapping[str, Promise]) -> Iterator[str]:
        payloads = {arrival.timer_id: int(arrival.body) for arrival in self.book.arrivals}
        return replace(self.load, promises=dict(promises)).broken_promises(payloads)

    def _changed(self) -> int:
        told = self.load.promises.values()
        return sum(each.canceled or min(each.payloads) < 0 for each in told)

    def _odd_answers(self) -> Iterator[str]:
        for status, count in self.load.statuses.items():
            if status not in EXPECTED:
                yield f"{status}: {count} times"


def _count(violations: Iterator[str]) -> int:
    return sum(1 for _ in violations)
