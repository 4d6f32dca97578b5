"""What is done to many timers, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import trio

from timer_trio.domain.bulk import TAKES, BulkAction, BulkPage, BulkReply, changed_at
from timer_trio.domain.query import Position
from timer_trio.domain.timer import DueTimer
from timer_trio.storage.memory.database import Row
from timer_trio.storage.memory.matching import matches
from timer_trio.storage.memory.redrive import MemoryRedrive, counting
from timer_trio.storage.memory.timers import canceled


class MemoryBulk(MemoryRedrive):
    """BulkStorage in memory."""

    async def bulk(self, page: BulkPage, now: datetime) -> BulkReply:
        await trio.lowlevel.checkpoint()
        bulk, rows = page.bulk, self._next_matching(page)
        allowed = [row for row in rows if row.timer.status in TAKES[bulk.action]]
        if not bulk.is_dry_run:
            allowed = [row for row in allowed if row.timer.id not in self.locked]
            if bulk.action is BulkAction.REDRIVE:
                allowed = [row for row in allowed if self._has_its_name(row)]
        if bulk.action is BulkAction.REDRIVE and not bulk.is_dry_run:
            self._count_in(bulk.wanted.project, bulk.max_live, len(allowed), now)
        last = rows[-1].timer if len(rows) == page.size else None
        return BulkReply(
            matched=len(rows),
            done=len(allowed),
            next=Position(last.created_at, last.id) if last else None,
            due=() if bulk.is_dry_run else self._do_all(allowed, page, changed_at(bulk, now)),
        )

    def _has_its_name(self, row: Row) -> bool:
        """Whether a timer has no name, or one that stands for it still."""
        key = row.timer.key
        return key is None or self._names.get((row.project, key)) == row.timer.id

    def _next_matching(self, page: BulkPage) -> Sequence[Row]:
        bulk = page.bulk
        behind = (page.after.instant, page.after.id) if page.after else None
        found = [
            row
            for row in self._rows.values()
            if row.project == bulk.wanted.project
            and max(row.timer.created_at, row.timer.updated_at) <= bulk.as_of
            and matches(row.timer, bulk.wanted)
            and (behind is None or (row.timer.created_at, row.timer.id) > behind)
        ]
        found.sort(key=lambda row: (row.timer.created_at, row.timer.id))
        return found[: page.size]

    def _do_all(self, rows: Sequence[Row], page: BulkPage, at: datetime) -> Sequence[DueTimer]:
        due: list[DueTimer] = []
        for place, row in enumerate(rows):
            timer_id = row.timer.id
            match page.bulk.action:
                case BulkAction.CANCEL:
                    self._put(canceled(row, at))
                case BulkAction.REDRIVE:
                    due_at = page.due_at + place * page.bulk.spacing
                    self._redrive(counting(row, page.bulk.max_live), due_at, at)
                    due.append(self._due_timer(row, due_at))
                case BulkAction.DELETE:
                    if row.timer.key is not None and self._has_its_name(row):
                        del self._names[row.project, row.timer.key]
                    del self._rows[timer_id]
                    self._attempts.pop(timer_id, None)
        return tuple(due)
