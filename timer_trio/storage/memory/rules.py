"""What holds callbacks back, in memory: pauses, and what replicas are told of all rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import trio

from timer_trio.domain.errors import TooManyPausesError
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.rules import (
    DELETED_FLOWS_KEPT,
    MAX_PAUSED_DESTINATIONS,
    NOT_PAUSED,
    RESUMPTIONS_KEPT,
    DestinationPause,
    Flow,
    Pause,
    ProjectRules,
    RuleChanges,
)
from timer_trio.domain.timer import Destination
from timer_trio.storage.memory.database import Database, DestinationRow, ProjectRow


class MemoryRules(Database):
    """RuleStorage but for flows, and what it forgets, in memory."""

    async def rules_since(self, version: int) -> RuleChanges:
        await trio.lowlevel.checkpoint()
        is_first = version == 0
        projects = (
            _project_rules_of(project, row)
            for project, row in self._projects.items()
            if is_first or row.changed > version
        )
        return RuleChanges(
            version=self._rules_version,
            projects=[
                each
                for each in projects
                if not is_first or each != ProjectRules(project=each.project)
            ],
            destinations=[
                DestinationPause(project=project, destination=destination, pause=row.pause)
                for (project, destination), row in self._paused_destinations.items()
                if row.changed > version
            ],
            flows={
                flow: row.flow.rules
                for flow, row in self._flows.items()
                if not is_first and row.changed > version
            },
            others_exist=any(
                row.closed_at is None and project != DEFAULT_PROJECT
                for project, row in self._projects.items()
            ),
        )

    async def pause_destination(
        self, project: ProjectId, destination: Destination, now: datetime
    ) -> DestinationPause:
        await trio.lowlevel.checkpoint()
        return self._change_destination(project, destination, lambda each: each.begun(now))

    async def resume_destination(
        self, project: ProjectId, destination: Destination, now: datetime
    ) -> DestinationPause:
        await trio.lowlevel.checkpoint()
        return self._change_destination(project, destination, lambda each: each.ended(now))

    async def project_pause(self, project: ProjectId) -> Pause:
        await trio.lowlevel.checkpoint()
        row = self._projects.get(project)
        return NOT_PAUSED if row is None else row.pause

    async def pause_project(self, project: ProjectId, now: datetime) -> Pause:
        await trio.lowlevel.checkpoint()
        return self._change_project_pause(project, lambda pause: pause.begun(now))

    async def resume_project(self, project: ProjectId, now: datetime) -> Pause:
        await trio.lowlevel.checkpoint()
        return self._change_project_pause(project, lambda pause: pause.ended(now))

    async def pause_all(self, now: datetime) -> int:
        await trio.lowlevel.checkpoint()
        version = self._raised_version()
        running = [each for each, row in self._projects.items() if row.pause.paused_at is None]
        for project in running:
            row = self._projects[project]
            self._projects[project] = replace(row, pause=row.pause.begun(now), changed=version)
        return len(running)

    async def prune_rules(self, now: datetime, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        flows = [each for each, row in self._flows.items() if _is_old(row.flow, now)][:limit]
        for flow in flows:
            del self._flows[flow]
        rows = self._paused_destinations.items()
        resumed = [each for each, row in rows if _is_long_over(row.pause, now)][:limit]
        for destination in resumed:
            del self._paused_destinations[destination]
        return len(flows) + len(resumed)

    def _change_destination(
        self, project: ProjectId, destination: Destination, decide: Callable[[Pause], Pause]
    ) -> DestinationPause:
        version = self._raised_version()
        known = self._paused_destinations.get((project, destination))
        pause = decide(NOT_PAUSED if known is None else known.pause)
        if known is not None or pause != NOT_PAUSED:
            if known is None:
                self._refuse_one_more(project)
            self._paused_destinations[project, destination] = DestinationRow(pause, version)
        return DestinationPause(project=project, destination=destination, pause=pause)

    def _refuse_one_more(self, project: ProjectId) -> None:
        count = sum(each == project for each, _ in self._paused_destinations)
        if count >= MAX_PAUSED_DESTINATIONS:
            raise TooManyPausesError(MAX_PAUSED_DESTINATIONS)

    def _change_project_pause(self, project: ProjectId, decide: Callable[[Pause], Pause]) -> Pause:
        version = self._raised_version()
        row = self._projects.get(project)
        if row is None:
            return NOT_PAUSED
        self._projects[project] = replace(row, pause=decide(row.pause), changed=version)
        return self._projects[project].pause


def _project_rules_of(project: ProjectId, row: ProjectRow) -> ProjectRules:
    return ProjectRules(
        project=project,
        max_in_flight=row.settings.max_in_flight,
        breaker=row.settings.breaker,
        pause=row.pause,
    )


def _is_old(flow: Flow, now: datetime) -> bool:
    if flow.deleted_at is None or flow.deleted_at > now - DELETED_FLOWS_KEPT:
        return False
    return flow.rules.resumed_at is None or _is_long_over(flow.rules.pause, now)


def _is_long_over(pause: Pause, now: datetime) -> bool:
    if pause.paused_at is not None or pause.resumed_at is None:
        return False
    return pause.resumed_at <= now - RESUMPTIONS_KEPT
