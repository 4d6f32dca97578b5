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
    """All cells, in the order of their shards."""

    def __init__(self, cells: Sequence[Cell] = (ALL,)) -> None:
        """Put cells together.

        Raises:
            ValueError: they do not cover each shard once; the text says which, for an operator.
        """
        _check(cells)
        self.cells = tuple(cells)
        self._numbers = bytes(number for number, cell in enumerate(self.cells) for _ in cell.shards)

    def __len__(self) -> int:
        return len(self.cells)

    def __str__(self) -> str:
        return ";".join(map(str, self.cells))

    @property
    def is_single(self) -> bool:
        """Whether one cell has all there is."""
        return len(self.cells) == 1

    @property
    def numbers(self) -> range:
        """The numbers of all cells."""
        return range(len(self.cells))

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


class SeveralCellsError(TimerTrioError):
    """What is to be written together belongs to several cells."""

    def __init__(self) -> None:
        super().__init__(
            "the flow_key and key of what is written together must be of one cell: let them be"
            " alike, or send what has others in a request of its own"
        )


class KeptMap(NamedTuple):
    """What a database has been told: which cells there are, and which of them it is."""

    map: str
    own: str


def difference(kept: KeptMap | None, told: KeptMap) -> str | None:
    """Say what is wrong if a database has been told otherwise; None: it has not been.

    One that was told nothing has all there is.
    """
    known = kept or KeptMap(str(ALL), str(ALL))
    if known == told:
        return None
    if kept is None:
        return (
            f"this database has timers of other shards than {told.own}: a cell begins empty, or"
            " with its own alone"
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
