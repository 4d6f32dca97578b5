"""How the callbacks to each destination ended, added up in memory until it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from operator import add
from typing import Final

from timer_trio.domain.destination import (
    DURATION_LIMITS_S,
    EPOCH,
    SPAN,
    Counted,
    Ends,
    class_of,
    place_of,
    span_of,
)
from timer_trio.domain.outcome import CallbackOutcome
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import Destination, Lane
from timer_trio.domain.top_destinations import Top, TopDestinations

MAX_LANES: Final = 10_000
"""Counted in one span: 5 MB; consumers choose them, so they need an end."""

_ENDS: Final = len(Ends._fields)
_NUMBERS: Final = _ENDS + len(DURATION_LIMITS_S)
_OTHER: Final = _ENDS - 1

End = tuple[Destination, ProjectId, CallbackOutcome, float]
"""Where a callback went, for whom, how it ended, and after how many seconds."""


class OutcomeTally:
    """The ends of one replica's callbacks by lane, those of one span at a time.

    Of a span the first `most` lanes are counted: numbers that are told are never less than the
    numbers told before. Of spans that are over, so many lanes wait to be taken; older ones are
    forgotten.
    """

    def __init__(self, *, most: int = MAX_LANES) -> None:
        self._most = most
        self._since = EPOCH
        self._numbers: dict[tuple[Destination, ProjectId], list[int]] = {}
        self._changed: dict[tuple[Destination, ProjectId], None] = {}
        self._over: dict[tuple[datetime, Lane], Counted] = {}
        self._top = TopDestinations()
        self._uncounted = [0] * _ENDS

    def add(self, ends: Iterable[End], at: datetime) -> None:
        """Count callbacks that have ended together, the last of them at this instant."""
        self._turn_to(at)
        numbers, changed = self._numbers, self._changed
        for destination, project, outcome, duration_s in ends:
            lane = (destination, project)
            counts = numbers.get(lane)
            if counts is None:
                if len(numbers) >= self._most:
                    self._uncounted[place_of(outcome)] += 1
                    continue
                counts = numbers[lane] = [0] * _NUMBERS
            place = place_of(outcome)
            counts[place] += 1
            if place != _OTHER:
                counts[_ENDS + class_of(duration_s)] += 1
            changed[lane] = None

    def top(self) -> Top:
        """Return how all callbacks ended, by destination as far as they are named."""
        named, other = self._top.look(self._by_destination())
        return Top(named, Ends(*map(add, other, self._uncounted)))

    def take(self, limit: int) -> list[Counted]:
        """Return what has changed and was not taken since, at most so much, the oldest first."""
        taken = [self._over.pop(key) for key in [*islice(self._over, limit)]]
        for lane in [*islice(self._changed, limit - len(taken))]:
            del self._changed[lane]
            taken.append(self._counted(*lane))
        return taken

    def give_back(self, taken: Iterable[Counted]) -> None:
        """Have what was taken, and could not be told, taken once more."""
        for counted in taken:
            if counted.since == self._since:
                self._go_on(counted)
            else:
                self._keep(counted)

    def _turn_to(self, at: datetime) -> None:
        """Begin the span of an instant; back into an earlier one only if the clock was set."""
        if self._since - SPAN <= at < self._since + SPAN:
            return
        self._top.turn(self._by_destination())
        for lane in self._changed:
            self._keep(self._counted(*lane))
        self._since, self._numbers, self._changed = span_of(at), {}, {}
        for key in [key for key in self._over if key[0] == self._since]:
            self._go_on(self._over.pop(key))

    def _go_on(self, counted: Counted) -> None:
        """Have a lane of this span taken, with what has been counted since, if anything has."""
        if counted.lane not in self._numbers:
            self._numbers[counted.lane] = [*counted.ends, *counted.durations]
            self._top.take_back(counted.lane.destination, counted.ends)
        self._changed[counted.lane] = None

    def _keep(self, counted: Counted) -> None:
        key = (counted.since, counted.lane)
        if key in self._over:
            return  # as it was at the end of its span
        if len(self._over) >= self._most:
            del self._over[next(iter(self._over))]
        self._over[key] = counted

    def _by_destination(self) -> Mapping[Destination, Sequence[int]]:
        ends: dict[Destination, Sequence[int]] = {}
        for (destination, _), numbers in self._numbers.items():
            own, earlier = numbers[:_ENDS], ends.get(destination)
            ends[destination] = own if earlier is None else [*map(add, own, earlier)]
        return ends

    def _counted(self, destination: Destination, project: ProjectId) -> Counted:
        numbers = self._numbers[destination, project]
        ends, durations = Ends(*numbers[:_ENDS]), tuple(numbers[_ENDS:])
        return Counted(Lane(destination, project), self._since, ends, durations)
