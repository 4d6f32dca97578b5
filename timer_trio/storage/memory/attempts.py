"""What is kept of attempts, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import trio

from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import TimerId
from timer_trio.storage.memory.database import Database
from timer_trio.storage.protocols import Rotated


class MemoryAttempts(Database):
    """AttemptStorage in memory."""

    async def attempts(
        self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT
    ) -> Sequence[AttemptRecord]:
        await trio.lowlevel.checkpoint()
        row = self._rows.get(timer_id)
        if row is None or row.project != project:
            return []
        return sorted(
            self._attempts.get(timer_id, ()),
            key=lambda record: (record.attempt, record.ended_at),
            reverse=True,
        )

    async def rotate_attempts(self, now: datetime, cutoff: datetime) -> Rotated:  # noqa: ARG002
        await trio.lowlevel.checkpoint()
        return Rotated(made=0, dropped=0, put_off=None)

    async def prune_attempts(self, cutoff: datetime, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        count = 0
        for timer_id, records in list(self._attempts.items()):
            old = [record for record in records if record.ended_at < cutoff][: limit - count]
            kept = [record for record in records if record not in old]
            count += len(old)
            if kept:
                self._attempts[timer_id] = kept
            else:
                del self._attempts[timer_id]
        return count
