from __future__ import annotations

import trio
from trio.testing import MockClock

from timer_trio.domain.cells import Cell, CellMap, CellNumber
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.maintenance.cell_union import LOOK_S, CellUnion


class Cells:
    """Cells that come and go, and refuse what is in `refused`."""

    def __init__(self) -> None:
        self.there = {0, 1, 2}
        self.refused: set[int] = set()
        self.united: list[int] = []

    async def unite(self, cell: CellNumber) -> None:
        await trio.lowlevel.checkpoint()
        if cell in self.refused:
            raise StorageUnavailableError("away")
        self.united.append(cell)


async def test_each_cell_is_united_once_it_is_there_with_the_first(
    autojump_clock: MockClock,  # noqa: ARG001 - time is virtual
) -> None:
    cells = Cells()
    thirds = CellMap([Cell(0, 63), Cell(64, 127), Cell(128, 255)])
    union = CellUnion(thirds, cells.unite, cells.there.__contains__)
    cells.there -= {0, 2}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(union.run)
        await trio.sleep(3 * LOOK_S)
        assert cells.united == []
        cells.there |= {0}
        cells.refused |= {1}
        await trio.sleep(3 * LOOK_S)
        assert cells.united == []
        cells.refused.clear()
        await trio.sleep(3 * LOOK_S)
        assert cells.united == [1]
        cells.there |= {2}
        await trio.sleep(3 * LOOK_S)
        assert cells.united == [1, 2]
        cells.there -= {1}
        await trio.sleep(3 * LOOK_S)
        cells.there |= {1}
        await trio.sleep(3 * LOOK_S)
        assert cells.united == [1, 2, 1]
        nursery.cancel_scope.cancel()
