"""Which cell a database is, in memory."""

from __future__ import annotations

import trio

from timer_trio.domain.cells import KeptMap
from timer_trio.domain.timer import TimerId, shard_of
from timer_trio.storage.memory.database import Database


class MemoryCellMap(Database):
    """CellMapStorage in memory."""

    async def keep_map(self, told: KeptMap) -> None:
        await trio.lowlevel.checkpoint()
        kept = [*self._rows, *map(TimerId, self._schedules)]
        if self._cell is None and all(shard_of(each) in told.held.shards for each in kept):
            self._cell = told

    async def kept_map(self) -> KeptMap | None:
        await trio.lowlevel.checkpoint()
        return self._cell
