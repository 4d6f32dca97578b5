"""What ended long ago, in memory."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime

import trio

from timer_trio.domain.query import Position
from timer_trio.domain.timer import ENDED, Timer
from timer_trio.storage.memory.database import Database
from timer_trio.storage.protocols import Pruned


class MemoryRetention(Database):
    """RetentionStorage in memory."""

    async def prune(self, cutoff: datetime, after: Position | None, limit: int) -> Pruned:
        await trio.lowlevel.checkpoint()
        page = self._next_created(cutoff, after, limit)
        ended = [
            timer
            for timer in page
            if timer.status in ENDED and timer.updated_at < cutoff and timer.id not in self.locked
        ]
        for timer in ended:
            del self._rows[timer.id]
            if timer.key is not None and self._names.get(timer.key) == timer.id:
                del self._names[timer.key]
        is_full = len(page) == limit
        return Pruned(
            count=len(ended), next=Position(page[-1].created_at, page[-1].id) if is_full else None
        )

    def _next_created(
        self, before: datetime, after: Position | None, limit: int
    ) -> Sequence[Timer]:
        behind = (after.instant, after.id) if after else None
        created = (
            timer
            for timer in (row.timer for row in self._rows.values())
            if timer.created_at < before
            and (behind is None or (timer.created_at, timer.id) > behind)
        )
        return heapq.nsmallest(limit, created, key=lambda timer: (timer.created_at, timer.id))
