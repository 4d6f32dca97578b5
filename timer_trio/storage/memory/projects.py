"""Whose things are, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import trio

from timer_trio.domain.errors import ProjectNameTakenError, ProjectNotFoundError
from timer_trio.domain.project import (
    Live,
    Project,
    ProjectId,
    SettingsChange,
)
from timer_trio.domain.schedule import ScheduleStatus
from timer_trio.domain.timer import ENDED, WAITING
from timer_trio.storage.memory.database import Database, ProjectRow, Row
from timer_trio.storage.memory.timers import canceled


class MemoryProjects(Database):
    """ProjectStorage in memory."""

    async def create_project(
        self, name: str, now: datetime, number: ProjectId | None = None
    ) -> Project:
        await trio.lowlevel.checkpoint()
        named = (each for each, row in self._projects.items() if row.name == name)
        holder = next(named, None)
        if holder is not None and holder == number:
            return self._project(holder)
        if holder is not None or number in self._projects:
            raise ProjectNameTakenError
        project = ProjectId(self._next_project) if number is None else number
        self._next_project = max(self._next_project, project + 1)
        self._projects[project] = ProjectRow(name, now, changed=self._raised_version())
        return self._project(project)

    async def projects(self) -> Sequence[Project]:
        await trio.lowlevel.checkpoint()
        named = [self._project(each) for each, row in self._projects.items() if row.name]
        return sorted(named, key=lambda each: each.name)

    async def project_named(self, name: str) -> Project | None:
        await trio.lowlevel.checkpoint()
        found = (each for each, row in self._projects.items() if row.name == name)
        return next(map(self._project, found), None)

    async def change_project(self, project: ProjectId, change: SettingsChange) -> Project:
        await trio.lowlevel.checkpoint()
        row = self._projects.get(project)
        if row is None or row.closed_at is not None:
            raise ProjectNotFoundError
        settings = replace(row.settings, **change)
        self._change(project, replace(row, settings=settings))
        if "max_live_timers" in change:
            self._live.pop(project, None)
            self._marked.discard(project)
        return self._project(project)

    async def close_project(self, project: ProjectId, now: datetime) -> None:
        await trio.lowlevel.checkpoint()
        row = self._projects.get(project)
        if row is not None and row.closed_at is None:
            self._change(project, replace(row, closed_at=now))

    async def open_project(self, project: ProjectId) -> None:
        await trio.lowlevel.checkpoint()
        row = self._projects.get(project)
        if row is not None and row.name is not None:
            self._change(project, replace(row, closed_at=None))

    async def live_in(self, project: ProjectId) -> Live:
        await trio.lowlevel.checkpoint()
        timers = (row for row in self._in_project(project) if row.timer.status not in ENDED)
        live = (
            each
            for each in self._schedules.values()
            if each.project == project and each.status is not ScheduleStatus.ENDED
        )
        return Live(timers=sum(1 for _ in timers), schedules=sum(1 for _ in live))

    async def empty_project(self, project: ProjectId, limit: int, now: datetime) -> int:
        await trio.lowlevel.checkpoint()
        for each in [*self._schedules.values()]:
            if each.project == project and each.status is not ScheduleStatus.ENDED:
                self._schedules[each.id] = replace(
                    each, status=ScheduleStatus.ENDED, plan_at=None, updated_at=now
                )
        waiting = [
            row
            for row in self._in_project(project)
            if row.timer.status in WAITING and row.timer.id not in self.locked
        ]
        for row in waiting[:limit]:
            self._put(canceled(row, now))
        return len(waiting[:limit])

    async def delete_project(self, project: ProjectId) -> None:
        await trio.lowlevel.checkpoint()
        row = self._projects.get(project)
        if row is None or row.closed_at is None:
            return
        self._change(project, replace(row, name=None))
        self._delete_keys_of(project)
        self._signing.pop(project, None)

    async def deleted_projects(self) -> Mapping[ProjectId, datetime]:
        await trio.lowlevel.checkpoint()
        rows = self._projects.items()
        return {each: row.closed_at for each, row in rows if row.closed_at and row.name is None}

    async def forget_project(self, project: ProjectId) -> None:
        await trio.lowlevel.checkpoint()
        row = self._projects.get(project)
        if row is not None and row.name is None:
            del self._projects[project]
            self._forget_rules_of(project)
            self._live.pop(project, None)

    def _change(self, project: ProjectId, row: ProjectRow) -> None:
        self._projects[project] = replace(row, changed=self._raised_version())

    def _forget_rules_of(self, project: ProjectId) -> None:
        self._flows = {flow: row for flow, row in self._flows.items() if flow.project != project}
        rows = self._paused_destinations
        self._paused_destinations = {key: row for key, row in rows.items() if key[0] != project}

    def _project(self, project: ProjectId) -> Project:
        row = self._projects[project]
        return Project(
            id=project,
            name=row.name or "",
            created_at=row.created_at,
            settings=row.settings,
            closed_at=row.closed_at,
            paused_at=row.pause.paused_at,
        )

    def _delete_keys_of(self, project: ProjectId) -> None:
        kept = {each: row for each, row in self._api_keys.items() if row.key.project != project}
        self._api_keys = kept

    def _in_project(self, project: ProjectId) -> Iterator[Row]:
        return (row for row in self._rows.values() if row.project == project)
