"""Who probes a destination whose breaker is half open, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import trio

from timer_trio.domain.probes import (
    HELD_FOR,
    Answered,
    Granted,
    ProbeEnd,
    ProbeVerdict,
    ProbeWish,
    Refused,
)
from timer_trio.domain.timer import Lane, ReplicaId
from timer_trio.storage.memory.database import Database, ProbeRow


class MemoryProbes(Database):
    """ProbeStorage in memory, and what is pruned of it."""

    async def ask_probes(
        self, replica: ReplicaId, wishes: Sequence[ProbeWish], now: datetime
    ) -> Mapping[Lane, ProbeVerdict]:
        await trio.lowlevel.checkpoint()
        return {wish.lane: self._verdict(replica, wish, now) for wish in wishes}

    async def end_probes(self, replica: ReplicaId, ends: Sequence[ProbeEnd], now: datetime) -> None:
        await trio.lowlevel.checkpoint()
        for end in ends:
            if self._probes.get(end.lane) == ProbeRow(replica, end.granted_until):
                self._probes[end.lane] = ProbeRow(None, end.until or now, end.is_answered)

    async def prune_probes(self, cutoff: datetime, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        over = [lane for lane, row in self._probes.items() if row.until < cutoff][:limit]
        for lane in over:
            del self._probes[lane]
        return len(over)

    def _verdict(self, replica: ReplicaId, wish: ProbeWish, now: datetime) -> ProbeVerdict:
        row = self._probes.get(wish.lane)
        if row is not None and row.is_answered and row.until > wish.opened_at:
            return Answered()
        if replica in self._counters and (row is None or self._is_free(row, replica, now)):
            self._probes[wish.lane] = ProbeRow(replica, now + HELD_FOR)
            return Granted(now + HELD_FOR)
        return Refused(row.until if row is not None and row.replica is None else None)

    def _is_free(self, row: ProbeRow, replica: ReplicaId, now: datetime) -> bool:
        is_held = row.replica in self._counters and row.replica != replica
        return row.until <= now or not (is_held or row.replica is None)
