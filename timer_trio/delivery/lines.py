"""Callbacks whose instant has come, each in the line of its destination for the next connection.

Theory of operation. To open a connection costs half of what a callback does on one that was kept,
and when many callbacks are due at once the processor is all that they wait for. So in such a crowd
whoever finds the connections of his destination busy lines up, and goes out on the first that comes
free, in the task whose callback has ended there.

Nobody is to wait for a slow destination's answers, though. A line moves when a callback to its
destination ends. It is stuck if it has not moved while so many others ended that it should have,
or if nothing ended at all between two looks. Of a stuck line some get connections of their own, at
each look more.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final

from timer_trio.delivery.firing import Firing
from timer_trio.domain.timer import Destination

FAIR_TURNS: Final = 4
"""Where others have moved so often on average, and one has not, it is stuck."""
GROWTH: Final = 4
"""A stuck line gets so many times the connections that it got at the look before: a hundred that
wait for a destination that never answers are all out after four looks."""


class _Line:
    __slots__ = ("connections", "firings", "moved_at")

    def __init__(self, moved_at: int) -> None:
        self.firings: deque[Firing] = deque()
        self.moved_at = moved_at
        self.connections = 1


class Lines:
    """A line for each destination that has one."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Destination, _Line] = OrderedDict()
        self._ended = 0
        self._ended_before = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __contains__(self, destination: Destination) -> bool:
        return destination in self._lines

    def join(self, firing: Firing) -> None:
        if not self._lines:
            self._ended_before = self._ended
        destination = firing.due.lane.destination
        line = self._lines.get(destination)
        if line is None:
            line = self._lines[destination] = _Line(self._ended)
        line.firings.append(firing)

    def take_next(self, destination: Destination) -> Firing | None:
        """Take the first in line for a destination, to which a callback has ended; None: nobody."""
        self._ended += 1
        line = self._lines.get(destination)
        return None if line is None else self._take(destination, line)

    def take_stuck(self) -> Iterator[Firing]:
        """Look for what is stuck, and take some of each such line.

        It may be left before it has come to the last one, which is the first the next time.
        """
        is_still = self._ended == self._ended_before
        self._ended_before = self._ended
        fair = 0 if is_still else FAIR_TURNS * len(self._lines)
        for destination, line in list(self._lines.items()):
            if self._ended - line.moved_at >= fair:
                self._lines.move_to_end(destination)
                count, line.connections = line.connections, GROWTH * line.connections
                for _ in range(min(count, len(line.firings))):
                    yield self._take(destination, line)

    def take_all(self) -> Iterator[Firing]:
        """Take whoever stands in a line."""
        while self._lines:
            destination, line = next(iter(self._lines.items()))
            yield self._take(destination, line)

    def _take(self, destination: Destination, line: _Line) -> Firing:
        firing = line.firings.popleft()
        line.moved_at = self._ended
        if not line.firings:
            del self._lines[destination]
        return firing
