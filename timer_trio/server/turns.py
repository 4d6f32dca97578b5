"""How many requests begin in one turn of the event loop, which sends callbacks as well."""

from __future__ import annotations

from typing import Final, NoReturn

import trio

PER_TURN: Final = 4
"""Each takes a millisecond or two of the turns that follow: so these stay below some 10 ms, however
many clients ask at once."""


class Turns:
    """Lets so many in at a time; the others wait, whoever comes first goes first."""

    def __init__(self, per_turn: int = PER_TURN) -> None:
        self._per_turn = per_turn
        self._left = per_turn
        self._waiting = trio.lowlevel.ParkingLot()
        self._entered = trio.Event()

    async def enter(self) -> None:
        """Wait for a place; at once if there is one, without a checkpoint."""
        self._entered.set()
        if self._left and not self._waiting:
            self._left -= 1
        else:
            await self._waiting.park()

    async def run(self) -> NoReturn:
        """Give the places of each turn away, for ever."""
        while True:
            await self._entered.wait()
            self._entered = trio.Event()
            # Who was let in has its turn first, and then what it has started.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            let_in = self._waiting.unpark(count=self._per_turn)
            self._left = self._per_turn - len(let_in)
            if let_in:
                self._entered.set()
