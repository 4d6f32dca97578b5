from __future__ import annotations

from typing import cast

import pytest
import trio
import trio.testing

from tests.contract.timers import NOW
from timer_trio.cluster.membership import Membership
from timer_trio.config import StartRefusedError
from timer_trio.domain.cells import Cell, CellMap, CellNumber, KeptMap
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.run.holding import CLOSED_S, LOOK_S, Holding
from timer_trio.storage.memory import MemoryStorage

FIRST, SECOND = CellNumber(0), CellNumber(1)
ALL, LOWER, UPPER = range(256), range(128), range(128, 256)


class Worked:
    """What a membership is told to work on, of what there is."""

    def __init__(self) -> None:
        self.shards = (range(0), range(0))

    def keep(self, within: range, of: range) -> None:
        self.shards = (within, of)


class Place:
    """The first cell of two, or the second; the database has been told this."""

    def __init__(self, cells: CellMap, number: CellNumber, kept: KeptMap | None) -> None:
        self.storage = MemoryStorage(lambda: NOW)
        self.storage._cell = kept
        self.worked = Worked()
        self.holding = Holding(
            storage=self.storage,
            cells=cells,
            number=number,
            membership=cast("Membership", self.worked),
        )


@pytest.fixture
def cells() -> CellMap:
    return CellMap([Cell(0, 127), Cell(128, 255)])


async def test_new_cells_keep_what_they_are_told(cells: CellMap) -> None:
    first, second = Place(cells, FIRST, None), Place(cells, SECOND, None)
    with pytest.raises(StorageUnavailableError, match="not known yet"):
        await second.holding.begin()
    await first.holding.begin()
    await second.holding.begin()
    assert (first.worked.shards, second.worked.shards) == ((LOWER, LOWER), (UPPER, UPPER))
    assert [await each.storage.kept_map() for each in (first, second)] == [
        KeptMap("0-127;128-255", "0-127"),
        KeptMap("0-127;128-255", "128-255"),
    ]


async def test_cell_whose_shards_are_elsewhere_waits(cells: CellMap) -> None:
    whole = Place(cells, FIRST, KeptMap("0-255", "0-255"))
    await whole.holding.begin()
    assert whole.worked.shards == (ALL, ALL)
    for kept in (None, KeptMap(str(cells), "128-255", "128-255")):
        waiting = Place(cells, SECOND, kept)
        with pytest.raises(StorageUnavailableError, match="another database has its timers"):
            await waiting.holding.begin()
        assert await waiting.storage.kept_map() == kept


async def test_database_that_was_told_otherwise_is_refused(cells: CellMap) -> None:
    with pytest.raises(StartRefusedError, match="the same CELLS"):
        await Place(cells, FIRST, KeptMap("0-9;10-255", "0-9")).holding.begin()


async def test_what_moves_is_left_alone_until_it_has_moved_or_nobody_moves_it(
    cells: CellMap, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    place = Place(cells, FIRST, KeptMap("0-255", "0-255"))
    await place.holding.begin()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.holding.follow)
        for _ in range(2):
            place.storage._cell = KeptMap("0-255", "0-255", "128-255")
            await trio.sleep(2 * LOOK_S)
            assert place.worked.shards == (LOWER, ALL)
            await trio.sleep(CLOSED_S + LOOK_S)
            assert place.worked.shards == (ALL, ALL)
            place.storage._cell = KeptMap("0-255", "0-255")
            await trio.sleep(2 * LOOK_S)
        place.storage._cell = KeptMap(str(cells), "0-127")
        await trio.sleep(2 * LOOK_S)
        assert place.worked.shards == (LOWER, LOWER)
        place.storage._cell = KeptMap("0-255", "0-255")
        await trio.sleep(2 * LOOK_S)
        assert (place.worked.shards, cells.has_more(FIRST)) == ((ALL, ALL), True)
        place.storage._cell = KeptMap(str(cells), "0-127")
        await Place(cells, SECOND, KeptMap(str(cells), "128-255")).holding.begin()
    assert place.worked.shards == (LOWER, LOWER)
