"""Ended timers that live again, in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import trio

from timer_trio.domain.attempt import told_by_row_alone
from timer_trio.domain.errors import NotEndedError
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import ENDED, Status, TimerId, TimerSummary
from timer_trio.storage.memory.database import Database, Row
from timer_trio.storage.memory.timers import CHANGE_LOCK_S


class MemoryRedrive(Database):
    """RedriveStorage in memory."""

    async def redrive(
        self,
        timer_id: TimerId,
        due_at: datetime,
        now: datetime,
        holder: TimerId | None = None,
        project: ProjectId = DEFAULT_PROJECT,
        *,
        max_live: int | None = None,
    ) -> TimerSummary | None:
        await trio.lowlevel.checkpoint()
        await self._wait_unlocked([timer_id], CHANGE_LOCK_S)
        row = self._row(timer_id, project)
        if row.timer.status not in ENDED:
            raise NotEndedError(row.timer.status)
        if row.timer.key is not None:
            before = None if holder is None else self._rows.get(holder)
            is_live = before is not None and before.timer.status not in ENDED
            if is_live or self._names.get((project, row.timer.key)) != holder:
                return None
        self._count_in(project, max_live, 1, now)
        if row.timer.key is not None:
            self._names[project, row.timer.key] = timer_id
        self._redrive(counting(row, max_live), due_at, now)
        return self._row(timer_id, project).timer.summary

    def _redrive(self, row: Row, due_at: datetime, now: datetime) -> None:
        if record := told_by_row_alone(row.timer):
            self._attempts.setdefault(row.timer.id, []).append(record)
        self._put(_redriven(row, due_at, now))


def counting(row: Row, max_live: int | None) -> Row:
    """Return a row that counts from now on, if there is a limit."""
    return row if max_live is None else replace(row, is_counted=True)


def _redriven(row: Row, due_at: datetime, now: datetime) -> Row:
    timer = replace(
        row.timer,
        status=Status.PENDING,
        spec=replace(row.timer.spec, execute_at=due_at),
        updated_at=now,
    )
    return replace(
        row,
        timer=timer,
        due_at=due_at,
        requested_at=now,
        failures=0,
        next_attempt_at=None,
        first_due_at=None,
        settled_attempts=timer.attempt,
        claim=None if row.claim is None else -abs(row.claim),
        occurrence=row.occurrence and replace(row.occurrence, may_be_skipped=False),
    )
