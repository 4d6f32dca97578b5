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
        shards = {shard_of(each) for each in [*self._rows, *map(TimerId, self._schedules)]}
        maps = {record.identity.map for record in self._replicas.values()}
        is_its_own = shards <= {*told.held.shards} and maps <= {told.map} and not self._flows
        if self._cell is None and is_its_own:
            self._cell = told

    async def kept_map(self) -> KeptMap | None:
        await trio.lowlevel.checkpoint()
        return self._cell
