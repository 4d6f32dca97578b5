"""What rings at an instant of trio's clock."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NoReturn, Protocol

import trio


class Alarm(Protocol):
    """Calls a function at an instant, which may be set anew as often as need be."""

    def set(self, at_s: float) -> None:
        """Ring at `at_s` of trio's clock, or at once if that has passed; sooner, if it is set so.

        It may ring earlier as well: whoever is called looks what time it is, and sets it anew.
        """

    async def run(self, on_ring: Callable[[], None]) -> NoReturn:
        """Call `on_ring` whenever it rings, until cancelled."""


class TrioAlarm:
    """Rings by trio's own deadlines, on a virtual clock as well."""

    def __init__(self) -> None:
        self._at_s = inf
        self._nap = trio.CancelScope()

    def set(self, at_s: float) -> None:
        self._at_s = min(at_s, self._at_s)
        self._nap.deadline = self._at_s

    async def run(self, on_ring: Callable[[], None]) -> NoReturn:
        while True:
            with trio.CancelScope(deadline=self._at_s) as self._nap:
                await trio.sleep_forever()
            self._at_s = inf
            on_ring()
