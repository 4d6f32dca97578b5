"""What consumers ask for, in memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import trio

from timer_trio.domain.errors import IsResultError, NotPendingError, RowRefusedError
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import MAX_LISTED_METADATA, ListedTimer, TimerPage, TimerQuery
from timer_trio.domain.timer import (
    WAITING,
    JsonText,
    NewTimer,
    SpecChange,
    Status,
    Timer,
    TimerId,
    TimerSummary,
    asks_for_results,
)
from timer_trio.storage.columns import changed
from timer_trio.storage.memory.database import Database, Row, new_row, refuse
from timer_trio.storage.memory.matching import cut, select
from timer_trio.storage.pages import page_of
from timer_trio.storage.refusal import spec_refusal, timer_refusal

CHANGE_LOCK_S: Final = 1.0
"""How long a consumer's change waits for a locked row."""


class MemoryTimers(Database):
    """TimerStorage in memory."""

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        await trio.lowlevel.checkpoint()
        self._create(timers, now)

    async def create_many(self, timers: Sequence[NewTimer], now: datetime) -> None:
        await trio.lowlevel.checkpoint()
        if timers and timers[0].id in self._rows:
            return
        if any(timer.id in self._rows for timer in timers):
            raise RowRefusedError("an id is there already")
        self._create(timers, now)

    async def get(self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT) -> Timer:
        await trio.lowlevel.checkpoint()
        return self._row(timer_id, project).timer

    async def list(self, query: TimerQuery) -> TimerPage:
        await trio.lowlevel.checkpoint()
        own = (row.timer for row in self._rows.values() if row.project == query.project)
        found = select(own, query)
        # One more than asked for shows whether another page follows.
        page = [_listed(timer) for timer in itertools.islice(cut(found, query), query.limit + 1)]
        return page_of(page, None if query.after else len(found), query)

    async def update(
        self,
        timer_id: TimerId,
        change: SpecChange,
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> TimerSummary:
        await trio.lowlevel.checkpoint()
        await self._wait_unlocked([timer_id], CHANGE_LOCK_S)
        row = self._row(timer_id, project)
        if row.timer.status not in WAITING:
            raise NotPendingError(row.timer.status)
        if row.timer.parent_id is not None and asks_for_results(change):
            raise IsResultError
        spec = changed(row.timer.spec, change)
        refuse(spec_refusal(spec))
        due_at = change.get("execute_at", row.due_at)
        retries_at = due_at if row.timer.status is Status.RETRYING else None
        timer = replace(row.timer, spec=spec, updated_at=now, next_attempt_at=retries_at)
        self._put(
            replace(row, timer=timer, requested_at=now, due_at=due_at, next_attempt_at=retries_at)
        )
        return timer.summary

    async def cancel(
        self, timer_id: TimerId, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> TimerSummary:
        await trio.lowlevel.checkpoint()
        await self._wait_unlocked([timer_id], CHANGE_LOCK_S)
        row = self._row(timer_id, project)
        if row.timer.status is Status.CANCELED:
            return row.timer.summary
        if row.timer.status not in WAITING:
            raise NotPendingError(row.timer.status)
        canceled_row = canceled(row, now)
        self._put(canceled_row)
        return canceled_row.timer.summary

    def _create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        for timer in timers:
            refuse(timer_refusal(timer))
        new = [timer for timer in timers if timer.id not in self._rows]
        if new:
            self._count_in(new[0].project, new[0].max_live, len(new), now)
        for timer in new:
            self._put(new_row(timer, now))


def canceled(row: Row, now: datetime) -> Row:
    timer = replace(row.timer, status=Status.CANCELED, updated_at=now, next_attempt_at=None)
    return replace(row, timer=timer, due_at=None)


def _listed(timer: Timer) -> ListedTimer:
    summary = timer.summary
    return ListedTimer(
        id=summary.id,
        created_at=summary.created_at,
        execute_at=summary.execute_at,
        callback_url=summary.callback_url,
        status=summary.status,
        executed_at=summary.executed_at,
        parent_id=summary.parent_id,
        flow_key=summary.flow_key,
        destination=timer.spec.callback.url.destination,
        attempt=timer.attempt,
        last_error=timer.last_error,
        http_status=timer.http_status,
        key=timer.key,
        schedule_id=timer.schedule_id,
        metadata=_listed_metadata(timer.spec.metadata),
    )


def _listed_metadata(metadata: Mapping[str, object] | None) -> JsonText | None:
    text = json.dumps(metadata, ensure_ascii=False)
    return JsonText(text) if len(text.encode()) <= MAX_LISTED_METADATA else None
