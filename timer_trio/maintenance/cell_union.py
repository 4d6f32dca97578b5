"""The stage that has all cells know the same projects, keys, secrets and pauses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.domain.cells import CellMap, CellNumber
from timer_trio.domain.errors import ProjectNameTakenError, StorageError

LOOK_S: Final = 1.0
"""Between looks at which cells have come back."""

log = structlog.get_logger()


class CellUnion:
    """Unites each cell with the first once both are there: it may be new, or was away.

    `unite` is asked of a cell; `is_connected` tells which are there.
    """

    def __init__(
        self,
        cells: CellMap,
        unite: Callable[[CellNumber], Awaitable[None]],
        is_connected: Callable[[CellNumber], bool],
    ) -> None:
        self._first, *self._others = map(CellNumber, cells.numbers)
        self._unite = unite
        self._is_connected = is_connected
        self._united: set[CellNumber] = set()

    async def run(self) -> NoReturn:
        """Look for ever."""
        while True:
            for cell in self._others:
                await self._look_at(cell)
            await trio.sleep(LOOK_S)

    async def _look_at(self, cell: CellNumber) -> None:
        if not self._is_connected(cell):
            self._united.discard(cell)
        elif cell not in self._united and self._is_connected(self._first):
            try:
                await self._unite(cell)
            except (StorageError, ProjectNameTakenError) as error:
                log.warning("cell_not_united", cell=cell, reason=str(error))
            else:
                self._united.add(cell)
