"""What consumers do with schedules, in several cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from timer_trio.domain.cells import CellNumber
from timer_trio.domain.flow import flow_shard
from timer_trio.domain.keys import FirstAnswer, key_shard
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import Position
from timer_trio.domain.schedule import (
    Changed,
    NewOccurrence,
    Schedule,
    ScheduleChange,
    ScheduleFacts,
    ScheduleId,
    SchedulePage,
    ScheduleQuery,
    Standing,
)
from timer_trio.domain.timer import TimerId, shard_of
from timer_trio.storage.routed.cells import Cells
from timer_trio.storage.routed.merging import merged


class RoutedSchedules(Cells):
    """ScheduleBook in several cells: what has a name is in the cell of that name."""

    async def create_schedule(
        self,
        schedule: Schedule,
        occurrences: Sequence[NewOccurrence],
        now: datetime,
        keyed: tuple[str, FirstAnswer] | None = None,
    ) -> FirstAnswer | None:
        cell = self._cell_of_schedule(schedule.id)
        self._refuse_name_elsewhere(schedule)
        return await self._ask(
            cell, lambda storage: storage.create_schedule(schedule, occurrences, now, keyed)
        )

    async def schedule(
        self, schedule_id: ScheduleId, project: ProjectId = DEFAULT_PROJECT
    ) -> Schedule:
        cell = self._cell_of_schedule(schedule_id)
        return await self._ask(cell, lambda storage: storage.schedule(schedule_id, project))

    async def schedule_facts(
        self, schedule_id: ScheduleId, project: ProjectId = DEFAULT_PROJECT
    ) -> ScheduleFacts:
        cell = self._cell_of_schedule(schedule_id)
        return await self._ask(cell, lambda storage: storage.schedule_facts(schedule_id, project))

    async def schedule_named(
        self, name: str, project: ProjectId = DEFAULT_PROJECT
    ) -> ScheduleId | None:
        cell = self._cell_of_name(project, name)
        return await self._read(cell, lambda storage: storage.schedule_named(name, project))

    async def schedules(self, query: ScheduleQuery) -> SchedulePage:
        # One more than is to be shown tells whether another page follows.
        asked = replace(query, limit=query.limit + 1)
        pages = await self._ask_these(self._cells_of(query), lambda own: own.schedules(asked))
        found = merged([page.schedules for page in pages], asked.limit, by=_place_of, descends=True)
        shown = found[: query.limit]
        follows = len(found) > len(shown)
        last = Position(shown[-1].created_at, TimerId(shown[-1].id)) if follows else None
        return SchedulePage(schedules=shown, next=last)

    async def change_schedule(
        self,
        schedule_id: ScheduleId,
        decide: Callable[[Schedule, Standing], ScheduleChange],
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> Changed:
        def decide_here(schedule: Schedule, standing: Standing) -> ScheduleChange:
            change = decide(schedule, standing)
            if change.schedule.spec.name != schedule.spec.name:
                self._refuse_name_elsewhere(change.schedule)
            return change

        cell = self._cell_of_schedule(schedule_id)
        return await self._ask(
            cell, lambda own: own.change_schedule(schedule_id, decide_here, now, project)
        )

    async def add_occurrences(
        self,
        schedule_id: ScheduleId,
        occurrences: Sequence[NewOccurrence],
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> Sequence[TimerId]:
        cell = self._cell_of_schedule(schedule_id)
        counted = [self._counted_occurrence(each, cell) for each in occurrences]
        return await self._ask(
            cell, lambda storage: storage.add_occurrences(schedule_id, counted, now, project)
        )

    def _cell_of_schedule(self, schedule_id: ScheduleId) -> CellNumber:
        return self._cells.of_timer(TimerId(schedule_id))

    def _cells_of(self, query: ScheduleQuery) -> Sequence[CellNumber]:
        if query.flow_key is not None:
            return [self._cells.of_shard(flow_shard(query.project, query.flow_key))]
        return self._all

    def _refuse_name_elsewhere(self, schedule: Schedule) -> None:
        """Refuse a name by which the schedule would not be found, nor another one of that name.

        Raises:
            SeveralCellsError: the cell of its id is not that of its name.
        """
        name = schedule.spec.name
        if name is None:
            return
        shard = shard_of(TimerId(schedule.id))
        self._cells.require_one([shard, key_shard(schedule.project, name)])

    def _counted_occurrence(self, occurrence: NewOccurrence, cell: CellNumber) -> NewOccurrence:
        timer = occurrence.timer
        part = self._part(timer.max_live, cell)
        return (
            occurrence if part is None else replace(occurrence, timer=replace(timer, max_live=part))
        )


def _place_of(schedule: Schedule) -> tuple[datetime, UUID]:
    return schedule.created_at, schedule.id
