"""What the others have been told of what a replica has in hand, and what is news to them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from timer_trio.domain.destination import DestinationNow
from timer_trio.domain.timer import Lane, ReplicaId


class News(NamedTuple):
    """Lanes of which something else is in hand than was told, and those of which nothing is."""

    now: list[DestinationNow]
    gone: list[Lane]

    @property
    def size(self) -> int:
        return len(self.now) + len(self.gone)


class InHand:
    """What one replica has in hand, as of the last look at it.

    Who is told may not say whether he has heard it: it is told again then, also if it is gone.
    """

    def __init__(self) -> None:
        self._replica: ReplicaId | None = None
        self._current: dict[Lane, DestinationNow] = {}
        # None: nobody knows.
        self._told: dict[Lane, DestinationNow | None] = {}

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is in hand, so that nothing can change until something is."""
        return not self._current

    @property
    def current(self) -> Iterable[DestinationNow]:
        """What is in hand, lane by lane."""
        return self._current.values()

    @property
    def open_breakers(self) -> int:
        """How many breakers are not closed."""
        return sum(now.breaker_open_until is not None for now in self._current.values())

    def look(self, current: Iterable[DestinationNow], replica: ReplicaId) -> None:
        """Take note of all that is in hand; under another id nothing has been told yet."""
        self._current = {now.lane: now for now in current if _is_something(now)}
        if replica != self._replica:
            self._replica, self._told = replica, {}

    def take(self, limit: int) -> News:
        """Return what is news of up to so many lanes, which `confirm` says was told."""
        current, told = self._current, self._told
        changed = (now for lane, now in current.items() if told.get(lane) != now)
        news = [*islice(changed, limit)]
        gone = [*islice((lane for lane in told if lane not in current), limit - len(news))]
        told.update(dict.fromkeys(now.lane for now in news))
        return News(news, gone)

    def confirm(self, news: News) -> None:
        """Note that this was heard."""
        self._told.update({now.lane: now for now in news.now})
        for lane in news.gone:
            self._told.pop(lane, None)


def _is_something(now: DestinationNow) -> bool:
    return now.waiting > 0 or now.in_flight > 0 or now.breaker_open_until is not None
