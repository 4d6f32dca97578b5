"""Callbacks whose instant has come, each in the line of its destination for the next connection.

Theory of operation. To open a connection costs more than to send a callback on one that was kept,
and when many callbacks are due at once the processor is all that they wait for. So in such a crowd
whoever finds the connections of his destination busy lines up, and goes out on the first that comes
free, in the task whose callback has ended there. Once the crowd is over all that stand in line get
connections of their own; while it lasts, the first of a line that does not move does.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final

import trio

from timer_trio.delivery.firing import Firing
from timer_trio.domain.timer import Destination

MOVES_S: Final = 0.05
"""A line in which nobody went out for so long does not move: its destination is slow, or silent."""


class _Line:
    __slots__ = ("firings", "moved_s")

    def __init__(self) -> None:
        self.firings: deque[Firing] = deque()
        self.moved_s = trio.current_time()


class Lines:
    """A line for each destination that has one, those that moved last at the end."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Destination, _Line] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __contains__(self, destination: Destination) -> bool:
        return destination in self._lines

    def join(self, firing: Firing) -> None:
        destination = firing.due.destination
        line = self._lines.get(destination)
        if line is None:
            line = self._lines[destination] = _Line()
        line.firings.append(firing)

    def take_next(self, destination: Destination) -> Firing | None:
        """Take the first one in the line of a destination; None: nobody is there."""
        line = self._lines.get(destination)
        if line is None:
            return None
        firing = line.firings.popleft()
        if line.firings:
            line.moved_s = trio.current_time()
            self._lines.move_to_end(destination)
        else:
            del self._lines[destination]
        return firing

    def take_stuck(self) -> Iterator[Firing]:
        """Take the first one of each line that does not move."""
        before_s = trio.current_time() - MOVES_S
        while self._lines:
            destination, line = next(iter(self._lines.items()))
            if line.moved_s > before_s:
                return
            if firing := self.take_next(destination):
                yield firing

    def take_all(self) -> Iterator[Firing]:
        """Take all, one of each line by turns, for as long as whoever asks wants more."""
        while self._lines:
            if firing := self.take_next(next(iter(self._lines))):
                yield firing
