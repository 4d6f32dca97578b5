from __future__ import annotations

from uuid import UUID

import pytest

from timer_trio.domain.cells import (
    ONE_CELL,
    Cell,
    CellMap,
    CellNumber,
    KeptMap,
    SeveralCellsError,
    difference,
    read_cell,
)
from timer_trio.domain.errors import JustDividedError, StorageUnavailableError
from timer_trio.domain.timer import SHARDS, TimerId

HALVES = CellMap([Cell(0, 127), Cell(128, 255)])


def test_last_byte_of_an_id_says_its_cell() -> None:
    assert HALVES.of_timer(TimerId(UUID(int=0x01_7F))) == 0
    assert HALVES.of_timer(TimerId(UUID(int=0x01_80))) == 1


@pytest.mark.parametrize("shard", range(SHARDS))
def test_each_shard_is_of_the_cell_that_names_it(shard: int) -> None:
    assert shard in HALVES.cells[HALVES.of_shard(shard)].shards
    assert ONE_CELL.of_shard(shard) == 0


def test_one_cell_has_all() -> None:
    assert ONE_CELL.is_single
    assert not HALVES.is_single
    assert [str(ONE_CELL), str(HALVES)] == ["0-255", "0-127;128-255"]
    assert ([*HALVES.numbers], len(HALVES)) == ([0, 1], 2)


def test_what_is_written_together_is_in_one_cell() -> None:
    assert HALVES.only([]) is None
    assert HALVES.only([128, 255]) == 1
    with pytest.raises(SeveralCellsError):
        HALVES.only([127, 128])


def test_range_is_read() -> None:
    assert read_cell("0-127") == Cell(0, 127)


@pytest.mark.parametrize("text", ["", "12", "a-b", "0-127-", " 0-127", "-1-5", "0-1000", "0..3"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no range of shards such as 0-127"):
        read_cell(text)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([], "end at -1"),
        ([Cell(1, 255)], "1-255 stands where 0 should begin"),
        ([Cell(0, 127), Cell(127, 255)], "127-255 stands where 128 should begin"),
        ([Cell(0, 127), Cell(129, 255)], "129-255 stands where 128 should begin"),
        ([Cell(0, 127)], "end at 127 and not at 255"),
        ([Cell(0, 256)], "ends before it begins, or after 255"),
        ([Cell(0, 127), Cell(128, 100)], "ends before it begins"),
    ],
)
def test_map_covers_each_shard_once(cells: list[Cell], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CellMap(cells)


@pytest.mark.parametrize(
    ("kept", "told", "words"),
    [
        (None, KeptMap("0-255", "0-255"), None),
        (KeptMap("0-127;128-255", "0-127"), KeptMap("0-127;128-255", "0-127"), None),
        (KeptMap("0-127;128-255", "0-127"), KeptMap("0-127;128-255", "128-255"), "exchanged"),
        (KeptMap("0-127;128-255", "0-127"), KeptMap("0-255", "0-255"), "the same CELLS"),
        (KeptMap("0-255", "0-255"), KeptMap("0-127;128-255", "0-127"), None),
        (KeptMap("0-99;100-255", "0-99"), KeptMap("0-99;100-199;200-255", "0-99"), None),
        (KeptMap("0-99;100-255", "100-255"), KeptMap("0-99;100-199;200-255", "100-199"), None),
        (KeptMap("0-99;100-255", "100-255"), KeptMap("0-9;10-255", "10-255"), "the same CELLS"),
        (KeptMap("0-99;100-255", "0-99"), KeptMap("0-199;200-255", "0-199"), "the same CELLS"),
        (None, KeptMap("0-127;128-255", "0-127"), None),
        (None, KeptMap("0-127;128-255", "128-255"), "other shards than 128-255"),
    ],
)
def test_database_knows_which_cell_it_is(
    kept: KeptMap | None, told: KeptMap, words: str | None
) -> None:
    said = difference(kept, told)
    assert said is None if words is None else said is not None and words in said


def test_shards_that_are_to_be_moved_out_of_a_database_are_its_own_until_they_are() -> None:
    cells = CellMap([Cell(0, 63), Cell(64, 127), Cell(128, 255)])
    assert not cells.has_more(CellNumber(0))
    cells.hold(CellNumber(0), Cell(0, 127))
    assert [cells.of_shard(shard) for shard in (0, 63, 64, 127, 128)] == [0, 0, 0, 0, 2]
    assert [*cells.numbers] == [0, 2]
    assert [cells.is_known(number) for number in map(CellNumber, range(2))] == [True, False]
    assert (cells.held(CellNumber(0)), cells.held(CellNumber(2))) == (Cell(0, 127), Cell(128, 255))
    assert [cells.has_more(number) for number in map(CellNumber, range(3))] == [True, False, False]
    cells.hold(CellNumber(1), Cell(64, 127))
    assert cells.of_shard(64) == 0
    cells.hold(CellNumber(0), Cell(0, 63))
    assert [cells.of_shard(shard) for shard in (63, 64, 127, 128)] == [0, 1, 1, 2]
    assert [*cells.numbers] == [0, 1, 2]


def test_what_the_cells_before_one_have_must_be_known() -> None:
    cells = CellMap([Cell(0, 9), Cell(10, 99), Cell(100, 255)])
    assert cells.is_known_up_to(CellNumber(0))
    cells.hold(CellNumber(1), Cell(10, 99))
    assert not cells.is_known_up_to(CellNumber(2))
    cells.hold(CellNumber(0), Cell(0, 9))
    assert cells.is_known_up_to(CellNumber(2))
    assert not cells.are_all_known
    cells.hold(CellNumber(2), Cell(100, 255))
    assert cells.are_all_known


def test_what_will_be_in_several_cells_is_not_of_one() -> None:
    cells = CellMap([Cell(0, 127), Cell(128, 255)])
    cells.hold(CellNumber(0), Cell(0, 255))
    assert cells.only([1, 200]) == 0
    cells.require_one([128, 255])
    with pytest.raises(SeveralCellsError):
        cells.require_one([1, 200])


@pytest.mark.parametrize(
    ("moving", "at_rest"),
    [(None, Cell(0, 255)), ("128-255", Cell(0, 127)), ("0-255", None)],
)
def test_what_moves_is_left_alone(moving: str | None, at_rest: Cell | None) -> None:
    assert KeptMap("0-255", "0-255", moving).at_rest == at_rest


def test_a_cell_that_has_just_been_divided_is_asked_again() -> None:
    error = JustDividedError()
    assert isinstance(error, StorageUnavailableError)
    assert str(error) == "a cell has just been divided: ask again"
