"""Which replicas there are, in several cells: a process is a replica in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from timer_trio.domain.membership import ReplicaRecord
from timer_trio.domain.timer import ReplicaId
from timer_trio.storage.routed.cells import Cells
from timer_trio.storage.routed.merging import merged


class RoutedReplicas(Cells):
    """ReplicaRoster in several cells."""

    async def replicas(self) -> Sequence[ReplicaRecord]:
        found = await self._ask_all(lambda storage: storage.replicas())
        named = [
            [replace(record, cell=self._cells.held(cell)) for record in records]
            for cell, records in zip(self._all, found, strict=True)
        ]
        return merged(named, sum(map(len, found)), by=_place_of)


def _place_of(record: ReplicaRecord) -> tuple[datetime, ReplicaId]:
    return record.started_at, record.id
