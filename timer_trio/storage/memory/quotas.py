"""How many live timers those projects have that limit them, in memory."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import trio

from timer_trio.domain.project import ProjectId
from timer_trio.domain.query import Position
from timer_trio.domain.timer import ENDED, TimerId
from timer_trio.storage.memory.database import Database, Row
from timer_trio.storage.pages import START
from timer_trio.storage.protocols import Marked


class MemoryQuotas(Database):
    """QuotaStorage in memory."""

    async def unmarked_projects(self) -> Sequence[ProjectId]:
        await trio.lowlevel.checkpoint()
        return sorted(
            each
            for each, row in self._projects.items()
            if row.name is not None
            and row.settings.max_live_timers is not None
            and each not in self._marked
        )

    async def mark_counted(self, project: ProjectId, after: Position | None, limit: int) -> Marked:
        await trio.lowlevel.checkpoint()
        behind = after or START
        created = (
            row
            for row in self._rows.values()
            if row.project == project and _place_of(row) > (behind.instant, behind.id)
        )
        page = heapq.nsmallest(limit, created, key=_place_of)
        found = [row for row in page if _counts(row) and row.timer.id not in self.locked]
        for row in found:
            self._put(replace(row, is_counted=True))
        # Whoever asks next counts them all.
        self._live.pop(project, None)
        if len(page) == limit:
            return Marked(count=len(found), next=Position(*_place_of(page[-1])))
        self._marked.add(project)
        return Marked(count=len(found), next=None)


def _counts(row: Row) -> bool:
    """Whether it is to count, and does not yet."""
    is_planned = row.occurrence is not None and row.occurrence.schedule_version is not None
    is_own = row.timer.parent_id is None and not is_planned
    return is_own and not row.is_counted and row.timer.status not in ENDED


def _place_of(row: Row) -> tuple[datetime, TimerId]:
    return row.timer.created_at, row.timer.id
