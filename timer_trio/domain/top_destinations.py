"""The destinations that are named in the metrics, where consumers could name any number of them.

Theory of operation. Counts that are shown must only rise, those of all the others together, too. So
a destination is named at the turn of a span, with what is counted from then on, and its counts go
with its name; what it had before was the others', and stays with them. Until all places are taken,
each is named at once: nothing of it was shown among the others then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from operator import sub
from typing import Final, NamedTuple

from timer_trio.domain.destination import NO_ENDS, DestinationNow, Ends
from timer_trio.domain.timer import Destination

MOST: Final = 50
"""Named at once: with five outcomes each, as many lines as all else has together."""
FACTOR: Final = 2
"""So many times the callbacks of the one whose name it takes: two alike must not swap for ever."""


class Top(NamedTuple):
    """How callbacks ended, since a destination has its name."""

    named: Mapping[Destination, Ends]
    other: Ends


class Hand(NamedTuple):
    """What is in hand of a destination, of all projects together."""

    waiting: int = 0
    in_flight: int = 0
    is_open: bool = False
    """Whether a breaker is."""


class TopDestinations:
    """Which destinations have a name, and what was counted of them in spans that are over."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._named: dict[Destination, Ends] = {}
        self._other = NO_ENDS

    def look(self, current: Mapping[Destination, Sequence[int]]) -> Top:
        """Return all counts, those of the current span included."""
        self._name_while_there_is_room(current)
        named = {each: _sum(ends, current.get(each, NO_ENDS)) for each, ends in self._named.items()}
        others = [ends for each, ends in current.items() if each not in named]
        return Top(named, _sum(self._other, *others))

    def turn(self, ended: Mapping[Destination, Sequence[int]]) -> None:
        """End a span in which this was counted, and name those that were called the most."""
        top = self.look(ended)
        self._named, self._other = dict(top.named), top.other
        counts = Counter({each: sum(ends) for each, ends in ended.items()})
        unnamed = [each for each in counts if each not in self._named]
        strongest = nlargest(self._most, unnamed, key=counts.__getitem__)
        weakest = sorted(self._named, key=counts.__getitem__)
        for new, old in zip(strongest, weakest, strict=False):
            if counts[new] < FACTOR * max(1, counts[old]):
                return
            del self._named[old]
            self._named[new] = NO_ENDS

    def take_back(self, destination: Destination, ends: Ends) -> None:
        """Count what `turn` was given as of the current span again."""
        if destination in self._named:
            self._named[destination] = _difference(self._named[destination], ends)
        else:
            self._other = _difference(self._other, ends)

    def _name_while_there_is_room(self, current: Mapping[Destination, Sequence[int]]) -> None:
        room = self._most - len(self._named)
        if room <= 0:
            return
        new = [each for each in current if each not in self._named]
        if len(new) > room:
            new = nlargest(room, new, key=lambda each: sum(current[each]))
        self._named.update(dict.fromkeys(new, NO_ENDS))


def in_hand(
    lanes: Iterable[DestinationNow], most: int = MOST
) -> tuple[Mapping[Destination, Hand], Hand]:
    """Add up what is in hand by destination; returns those with the most, and all others in one."""
    found = [*lanes]
    sizes: dict[Destination, int] = {}
    for lane, waiting, in_flight, open_until in found:
        size = waiting + in_flight + (open_until is not None)
        sizes[lane.destination] = sizes.get(lane.destination, 0) + size
    named: dict[Destination, list[DestinationNow]] = {
        destination: [] for destination in nlargest(most, sizes, key=sizes.__getitem__)
    }
    others: list[DestinationNow] = []
    for now in found:
        named.get(now.lane.destination, others).append(now)
    return {each: _hand(own) for each, own in named.items()}, _hand(others)


def _hand(lanes: Sequence[DestinationNow]) -> Hand:
    return Hand(
        sum([now.waiting for now in lanes]),
        sum([now.in_flight for now in lanes]),
        any(now.breaker_open_until for now in lanes),
    )


def _sum(*all_ends: Sequence[int]) -> Ends:
    return Ends(*map(sum, zip(*all_ends, strict=True)))


def _difference(first: Ends, second: Ends) -> Ends:
    return Ends(*map(sub, first, second))
