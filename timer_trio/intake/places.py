"""Where a new timer goes: into which shard, and so into which cell."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from timer_trio.domain.cells import ONE_CELL, CellMap, CellNumber
from timer_trio.domain.flow import FlowKey, flow_shard
from timer_trio.domain.keys import key_shard
from timer_trio.domain.project import ProjectId
from timer_trio.domain.shards import Shards
from timer_trio.domain.timer import SHARDS


class Place(Protocol):
    """A cell to put timers in."""

    @property
    def shards(self) -> Shards:
        """Its shards, and which of them are this replica's own."""

    @property
    def is_connected(self) -> bool:
        """Whether it can take timers."""


class _OnePlace(NamedTuple):
    shards: Shards
    is_connected: bool = True


class Places:
    """Chooses the shards of new timers that neither a flow nor a key decides."""

    def __init__(
        self,
        cells: CellMap,
        places: Sequence[Place],
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self.cells = cells
        self._places = places
        self._random_bits = random_bits

    @classmethod
    def of_one_cell(
        cls, shards: Shards, random_bits: Callable[[int], int] = secrets.randbits
    ) -> Places:
        """Return the places where one cell has all there is."""
        return cls(ONE_CELL, [_OnePlace(shards)], random_bits)

    def said(self, project: ProjectId, flow_key: FlowKey | None, name: str | None) -> int | None:
        """Return the shard that a flow says, else a name; None: there is neither.

        Raises:
            SeveralCellsError: they are of two cells.
        """
        if flow_key is None:
            return None if name is None else key_shard(project, name)
        shard = flow_shard(project, flow_key)
        if name is not None:
            self.cells.require_one([shard, key_shard(project, name)])
        return shard

    def choose(self, *, own: bool, cell: CellNumber | None = None) -> int:
        """Choose a shard: any, or one of this replica's own, if it has some.

        It is in this cell; None: in one that is connected, if any is, each with its share.
        """
        chosen = self._any_cell() if cell is None else cell
        return self._places[chosen].shards.choose(self._random_bits, own=own)

    def _any_cell(self) -> CellNumber:
        if self.cells.is_single:
            return CellNumber(0)
        chosen = self.cells.of_shard(self._random_bits(8))
        if self._places[chosen].is_connected:
            return chosen
        cells = [self.cells.of_shard(shard) for shard in range(SHARDS)]
        there = [cell for cell in cells if self._places[cell].is_connected]
        return there[self._random_bits(32) % len(there)] if there else CellNumber(0)
