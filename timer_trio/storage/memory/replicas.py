"""What replicas write of themselves and of each other, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import trio

from timer_trio.domain.membership import Identity, ReplicaRecord, ReplicaStats
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.timer import ReplicaId
from timer_trio.storage.memory.database import Database, freed
from timer_trio.storage.protocols import Beat, Swept


class MemoryReplicas(Database):
    """ReplicaStorage in memory."""

    async def join(
        self,
        replica: ReplicaId,
        now: datetime,
        identity: Identity = Identity(),  # noqa: B008 - frozen
    ) -> None:
        await trio.lowlevel.checkpoint()
        if replica not in self._replicas:
            self._replicas[replica] = ReplicaRecord(
                id=replica,
                identity=identity,
                stats=ReplicaStats(),
                started_at=now,
                beaten_at=None,
                is_leaving=False,
            )
            self._counters[replica] = 0

    async def beat(
        self,
        replica: ReplicaId,
        stats: ReplicaStats = ReplicaStats(),  # noqa: B008 - frozen
    ) -> Beat:
        await trio.lowlevel.checkpoint()
        now = self._now()
        if replica in self._counters:
            self._counters[replica] += 1
            record = self._replicas[replica]
            self._replicas[replica] = replace(record, stats=stats, beaten_at=now)
        leaving = frozenset(each.id for each in self._replicas.values() if each.is_leaving)
        settings = self._projects[DEFAULT_PROJECT].settings
        return Beat(
            now=now,
            counters=dict(self._counters),
            leaving=leaving,
            default_settings=settings,
            rules_version=self._rules_version,
        )

    async def leave(self, replica: ReplicaId) -> None:
        await trio.lowlevel.checkpoint()
        if replica in self._replicas:
            self._replicas[replica] = replace(self._replicas[replica], is_leaving=True)

    async def sweep(
        self, replica: ReplicaId | None, counter: int | None, now: datetime
    ) -> Swept | None:
        await trio.lowlevel.checkpoint()
        if replica is not None:
            if counter is not None and self._counters.get(replica) != counter:
                return None
            self._counters.pop(replica, None)
            self._replicas.pop(replica, None)
        held = [row for row in self._rows.values() if row.claimed_by not in {None, *self._counters}]
        free = [row for row in held if row.timer.id not in self.locked]
        for row in free:
            self._put(freed(row, now))
        return Swept(freed=len(free), left=len(held) - len(free))

    async def replicas(self) -> Sequence[ReplicaRecord]:
        await trio.lowlevel.checkpoint()
        return sorted(self._replicas.values(), key=lambda record: (record.started_at, record.id))
