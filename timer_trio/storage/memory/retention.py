"""What ended long ago, in memory."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime

import trio

from timer_trio.domain.project import ProjectId
from timer_trio.domain.query import Position
from timer_trio.domain.timer import ENDED, TimerId
from timer_trio.storage.memory.database import Database, Row
from timer_trio.storage.pages import FIRST_PAGE, START
from timer_trio.storage.protocols import Pruned, PrunePosition


class MemoryRetention(Database):
    """RetentionStorage in memory."""

    async def prune(self, cutoff: datetime, after: PrunePosition | None, limit: int) -> Pruned:
        await trio.lowlevel.checkpoint()
        project, behind = after or FIRST_PAGE
        page = self._next_created(project, cutoff, behind, limit)
        ended = [
            row
            for row in page
            if row.timer.status in ENDED
            and row.timer.updated_at < cutoff
            and row.timer.id not in self.locked
        ]
        for row in ended:
            timer = row.timer
            del self._rows[timer.id]
            if timer.key is not None and self._names.get((row.project, timer.key)) == timer.id:
                del self._names[row.project, timer.key]
        following: PrunePosition | None = None
        if len(page) == limit:
            following = PrunePosition(project, Position(*_place_of(page[-1])))
        elif later := [row.project for row in self._rows.values() if row.project > project]:
            following = PrunePosition(min(later), START)
        return Pruned(count=len(ended), next=following)

    def _next_created(
        self, project: ProjectId, before: datetime, behind: Position, limit: int
    ) -> Sequence[Row]:
        mark = (behind.instant, behind.id)
        created = (
            row
            for row in self._rows.values()
            if row.project == project and row.timer.created_at < before and _place_of(row) > mark
        )
        return heapq.nsmallest(limit, created, key=_place_of)


def _place_of(row: Row) -> tuple[datetime, TimerId]:
    return row.timer.created_at, row.timer.id
