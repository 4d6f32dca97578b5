"""Whose things are, in several cells: all know the same projects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from timer_trio.domain.errors import ProjectNameTakenError
from timer_trio.domain.project import Live, Project, ProjectId, SettingsChange
from timer_trio.storage.protocols import Storage
from timer_trio.storage.routed.cells import FIRST, Cells
from timer_trio.storage.routed.common import put_project


class RoutedProjects(Cells):
    """ProjectStorage in several cells."""

    async def create_project(
        self, name: str, now: datetime, number: ProjectId | None = None
    ) -> Project:
        async with self._changing():
            taken = None
            try:
                made = await self._ask(FIRST, lambda own: own.create_project(name, now, number))
            except ProjectNameTakenError as error:
                taken = error
            # Also if it is there already: whoever created it may not have come to his end.
            await self._have_others_know(name)
            if taken is not None:
                raise taken
            return made

    async def projects(self) -> Sequence[Project]:
        return await self._ask_any(lambda storage: storage.projects())

    async def project_named(self, name: str) -> Project | None:
        return await self._ask_any(lambda storage: storage.project_named(name))

    async def change_project(self, project: ProjectId, change: SettingsChange) -> Project:
        async with self._changing():
            changed = await self._ask(FIRST, lambda own: own.change_project(project, change))
            await self._have_others_know(changed.name)
            return changed

    async def close_project(self, project: ProjectId, now: datetime) -> None:
        await self._tell_all(lambda storage: storage.close_project(project, now))

    async def open_project(self, project: ProjectId) -> None:
        await self._tell_all(lambda storage: storage.open_project(project))

    async def live_in(self, project: ProjectId) -> Live:
        found = await self._ask_all(lambda storage: storage.live_in(project))
        return Live(*map(sum, zip(*found, strict=True)))

    async def empty_project(self, project: ProjectId, limit: int, now: datetime) -> int:
        count = 0
        for cell in self._all:
            empty = partial(_empty, project=project, limit=limit - count, now=now)
            count += await self._read(cell, empty) if count < limit else 0
        return count

    async def delete_project(self, project: ProjectId) -> None:
        # The first last: as long as it has a name there, it can be deleted again.
        async with self._changing():
            await self._tell_others(lambda storage: storage.delete_project(project))
            await self._ask(FIRST, lambda storage: storage.delete_project(project))

    async def deleted_projects(self) -> Mapping[ProjectId, datetime]:
        found = await self._ask_all(lambda storage: storage.deleted_projects())
        return {project: at for each in reversed(found) for project, at in each.items()}

    async def forget_project(self, project: ProjectId) -> None:
        await self._tell_all(lambda storage: storage.forget_project(project))

    async def _have_others_know(self, name: str) -> None:
        """Have the others know a project as the first does, whoever else changes it meanwhile."""
        told = None
        while told != (known := await self._ask(FIRST, lambda own: own.project_named(name))):
            if known is None:  # somebody has deleted it
                return
            await self._tell_others(partial(put_project, known))
            told = known


async def _empty(storage: Storage, *, project: ProjectId, limit: int, now: datetime) -> int:
    return await storage.empty_project(project, limit, now)
