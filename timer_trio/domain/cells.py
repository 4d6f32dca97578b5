"""Which of several databases a timer is in.

Each of them, a cell, has a range of the shards. An id, a flow and a name each say the shard of what
they lead to, and so they say its cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, NewType

from timer_trio.domain.errors import TimerTrioError
from timer_trio.domain.timer import SHARDS, TimerId, shard_of

CellNumber = NewType("CellNumber", int)
"""The place of a cell in the map."""

_RANGE: Final = re.compile(r"(?P<first>[0-9]{1,3})-(?P<last>[0-9]{1,3})")


class Cell(NamedTuple):
    """The shards of a cell, both ends included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    @property
    def shards(self) -> range:
        return range(self.first, self.last + 1)


ALL: Final = Cell(0, SHARDS - 1)


class CellMap:
    """All cells, in the order of their shards.

    As long as the database of one has shards of others as well, which are to be moved out of it,
    these count as its own.
    """

    def __init__(self, cells: Sequence[Cell] = (ALL,)) -> None:
        """Put cells together.

        Raises:
            ValueError: they do not cover each shard once; the text says which, for an operator.
        """
        _check(cells)
        self.cells = tuple(cells)
        self._held: dict[CellNumber, Cell] = {}
        self._wanted = bytes(number for number, cell in enumerate(self.cells) for _ in cell.shards)
        self._numbers = self._wanted
        self.numbers: Sequence[CellNumber] = [*map(CellNumber, range(len(self.cells)))]
        """The numbers of those that have shards now."""

    def __len__(self) -> int:
        return len(self.cells)

    def __str__(self) -> str:
        return ";".join(map(str, self.cells))

    @property
    def is_single(self) -> bool:
        """Whether one cell has all there is."""
        return len(self.cells) == 1

    def hold(self, number: CellNumber, held: Cell) -> None:
        """Take note of what the database of a cell has: its own shards, and maybe those of others.

        What several have is of the last of which it was noted.
        """
        self._held.pop(number, None)
        self._held[number] = held
        numbers = bytearray(self._wanted)
        for each, cell in self._held.items():
            if cell != self.cells[each]:
                numbers[cell.first : cell.last + 1] = bytes([each]) * len(cell.shards)
        self._numbers = bytes(numbers)
        self.numbers = [*map(CellNumber, sorted({*numbers}))]

    def held(self, number: CellNumber) -> Cell:
        """Return what the database of a cell has: its own shards, for all that is known."""
        return self._held.get(number, self.cells[number])

    def is_known(self, number: CellNumber) -> bool:
        """Whether it is known what the database of a cell has, and that it can be asked for it."""
        return number in self._held

    def has_more(self, number: CellNumber) -> bool:
        """Whether the database of a cell has shards of others as well."""
        return self.held(number) != self.cells[number]

    @property
    def are_all_known(self) -> bool:
        """Whether it is known of all cells what their databases have."""
        return len(self._held) == len(self.cells)

    def is_known_up_to(self, number: CellNumber) -> bool:
        """Whether it is known of all cells before one what their databases have."""
        return all(map(self.is_known, map(CellNumber, range(number))))

    def of_shard(self, shard: int) -> CellNumber:
        return CellNumber(self._numbers[shard])

    def of_timer(self, timer_id: TimerId) -> CellNumber:
        return CellNumber(self._numbers[shard_of(timer_id)])

    def only(self, shards: Iterable[int]) -> CellNumber | None:
        """Return the one cell of all these shards; None: there are none.

        Raises:
            SeveralCellsError: they are of several cells.
        """
        numbers = {self.of_shard(shard) for shard in shards}
        if len(numbers) > 1:
            raise SeveralCellsError
        return numbers.pop() if numbers else None

    def require_one(self, shards: Iterable[int]) -> None:
        """Check that these shards are of one cell, wherever they still are.

        Raises:
            SeveralCellsError: they are of several.
        """
        if len({self._wanted[shard] for shard in shards}) > 1:
            raise SeveralCellsError

    def divides(self, other: CellMap) -> bool:
        """Whether each cell of another map is one or several of this one."""
        return {cell.first for cell in other.cells} <= {cell.first for cell in self.cells}


class SeveralCellsError(TimerTrioError):
    """What is to be written together belongs to several cells."""

    def __init__(self) -> None:
        super().__init__(
            "the flow_key and key of what is written together must be of one cell: let them be"
            " alike, or send what has others in a request of its own"
        )


class KeptMap(NamedTuple):
    """What a database has been told: which cells there are, and which of them it is.

    `moving`: shards that are on their way. They go from here to another database if it has the rest
    of `own`, and come to here if they are all of it.
    """

    map: str
    own: str
    moving: str | None = None

    @property
    def held(self) -> Cell:
        return read_cell(self.own)

    @property
    def at_rest(self) -> Cell | None:
        """The shards that can be worked on: those that come before what moves; None: all move."""
        if self.moving is None:
            return self.held
        held, moving = self.held, read_cell(self.moving)
        return None if moving == held else Cell(held.first, moving.first - 1)


UNTOLD: Final = KeptMap(str(ALL), str(ALL))
"""What counts for a database that was told nothing: it has all there is."""


def difference(kept: KeptMap | None, told: KeptMap) -> str | None:
    """Say what is wrong if a database has been told otherwise; None: it has not been.

    Nothing is wrong either where it has its cell and what is to be moved out of it.
    """
    known = kept or UNTOLD
    if (known.map, known.own) == (told.map, told.own) or _is_to_be_divided(known, told):
        return None
    if kept is None:
        return (
            f"this database has timers of other shards than {told.own}: a cell begins empty, with"
            " its own alone, or as the first of those into which it is split"
        )
    if known.map == told.map:
        return f"this database is cell {known.own}, and not {told.own}: two URLs are exchanged"
    return (
        f"this database is cell {known.own} of {known.map}, and not {told.own} of {told.map}:"
        " all processes must have the same CELLS"
    )


def read_cell(text: str) -> Cell:
    """Read a range of shards such as `0-127`.

    Raises:
        ValueError: it is none.
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no range of shards such as 0-127")
    return Cell(int(match["first"]), int(match["last"]))


def read_map(text: str) -> CellMap:
    """Read a map as a database keeps it, such as `0-127;128-255`.

    Raises:
        ValueError: it is none.
    """
    return CellMap([read_cell(cell) for cell in text.split(";")])


def _is_to_be_divided(known: KeptMap, told: KeptMap) -> bool:
    """Whether the cells that are told of divide those known, and this one stays where it is."""
    held, own = known.held, read_cell(told.own)
    return (
        own.first == held.first
        and own.last <= held.last
        and read_map(told.map).divides(read_map(known.map))
    )


def _check(cells: Sequence[Cell]) -> None:
    expected = 0
    for cell in cells:
        if cell.first != expected:
            raise ValueError(
                f"the ranges must follow one another from 0 on: {cell} stands where"
                f" {expected} should begin"
            )
        if not cell.first <= cell.last < SHARDS:
            raise ValueError(f"{cell} ends before it begins, or after {SHARDS - 1}")
        expected = cell.last + 1
    if expected != SHARDS:
        raise ValueError(f"the ranges end at {expected - 1} and not at {SHARDS - 1}")


ONE_CELL: Final = CellMap()
