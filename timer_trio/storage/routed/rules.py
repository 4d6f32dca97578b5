"""What holds callbacks back in all cells: pauses of destinations and of projects."""

from __future__ import annotations

from datetime import datetime

from timer_trio.domain.project import ProjectId
from timer_trio.domain.rules import DestinationPause, Pause
from timer_trio.domain.timer import Destination
from timer_trio.storage.routed.cells import Cells


class RoutedRules(Cells):
    """RuleBook but for flows, in several cells."""

    async def pause_destination(
        self, project: ProjectId, destination: Destination, now: datetime
    ) -> DestinationPause:
        return await self._tell_all(lambda own: own.pause_destination(project, destination, now))

    async def resume_destination(
        self, project: ProjectId, destination: Destination, now: datetime
    ) -> DestinationPause:
        return await self._tell_all(lambda own: own.resume_destination(project, destination, now))

    async def project_pause(self, project: ProjectId) -> Pause:
        return await self._ask_any(lambda storage: storage.project_pause(project))

    async def pause_project(self, project: ProjectId, now: datetime) -> Pause:
        return await self._tell_all(lambda storage: storage.pause_project(project, now))

    async def resume_project(self, project: ProjectId, now: datetime) -> Pause:
        return await self._tell_all(lambda storage: storage.resume_project(project, now))

    async def pause_all(self, now: datetime) -> int:
        return await self._tell_all(lambda storage: storage.pause_all(now))
