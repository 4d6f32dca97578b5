"""The stage that looks after deleted projects, into which something may still be on its way."""

from __future__ import annotations

from functools import partial
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.project import KEPT_WHEN_DELETED, ProjectId
from timer_trio.maintenance.pages import delete_in_pages
from timer_trio.storage import ProjectStorage

FIRST_PASS_S: Final = 90.0
INTERVAL_S: Final = 3600.0

log = structlog.get_logger()


class DeletedProjects:
    """Cancels what lives in projects that are deleted, and forgets them after a day."""

    def __init__(self, *, storage: ProjectStorage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock

    async def run(self) -> NoReturn:
        """Look for ever; what an outage cuts short is left for the next time."""
        await trio.sleep(FIRST_PASS_S)
        while True:
            try:
                await self._pass()
            except (StorageUnavailableError, ContentionError) as error:
                log.info("deleted_projects_left", reason=str(error))
            await trio.sleep(INTERVAL_S)

    async def _pass(self) -> None:
        for project, closed_at in (await self._storage.deleted_projects()).items():
            if count := await delete_in_pages(partial(self._empty, project)):
                log.info("late_timers_canceled", project=project, timers=count)
            is_old = self._clock.now() - closed_at > KEPT_WHEN_DELETED
            if is_old and not any(await self._storage.live_in(project)):
                await self._storage.forget_project(project)

    async def _empty(self, project: ProjectId, limit: int) -> int:
        return await self._storage.empty_project(project, limit, self._clock.now())
