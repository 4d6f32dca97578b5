"""How a project is deleted, so that nothing lives on in it that nobody can see.

First it is closed: its keys are found no more, and nobody can name it. What a replica has read
before, it uses for five seconds: so they are waited for, and then no new request is served in the
project anywhere. Now what waits is canceled, or counted; and if nothing lives, the project is
deleted, and its keys with it. What was on its way all the while, such as an import, is canceled by
`timer_trio.maintenance`: the number of the project is remembered for a day.
"""

from __future__ import annotations

from typing import Final

import trio

from timer_trio.access.key_ring import KeyRing
from timer_trio.access.recent import MAX_AGE_S
from timer_trio.clock import Clock
from timer_trio.domain.errors import TimerTrioError
from timer_trio.domain.project import Live, Project
from timer_trio.storage import ProjectStorage

PAGE_ROWS: Final = 1000
"""Some 20 ms of the database's time."""
CANCEL_S: Final = 8.0
"""How long one request cancels: whoever sent it may send it again."""


class ProjectNotEmptyError(TimerTrioError):
    """Something lives in the project."""

    def __init__(self, live: Live, advice: str) -> None:
        timers, schedules = live
        super().__init__(f"{timers:,} timers and {schedules:,} schedules live in it: {advice}")
        self.live = live


class ProjectEnd:
    """Deletes projects, in some six seconds each."""

    def __init__(
        self,
        *,
        storage: ProjectStorage,
        clock: Clock,
        key_ring: KeyRing,
        wait_s: float = MAX_AGE_S,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._key_ring = key_ring
        self._wait_s = wait_s

    async def delete_empty(self, project: Project) -> None:
        """Delete a project in which nothing lives; otherwise it stays as it is.

        Raises:
            ProjectNotEmptyError: something lives in it.
            StorageUnavailableError: it may be closed, until it is deleted or this is called again.

        Cancellation: once it is closed, this goes on for some seconds.
        """
        advice = "let them end, or send force=true to have them canceled"
        await self._refuse_live(project, advice)  # so that nobody is kept out in vain
        with trio.CancelScope(shield=True):
            await self._close(project)
            live = await self._storage.live_in(project.id)
            if not any(live):
                await self._storage.delete_project(project.id)
                return
            await self._storage.open_project(project.id)
            self._key_ring.forget_project(project.name)
        raise ProjectNotEmptyError(live, advice)

    async def delete_with_all(self, project: Project) -> None:
        """Delete a project, and cancel all that waits in it.

        Raises:
            ProjectNotEmptyError: something still lives in it; it stays closed.
            StorageUnavailableError: likewise, as far as it went.
        """
        await self._close(project)
        with trio.move_on_after(CANCEL_S):
            await self._cancel(project)
        await self._refuse_live(project, "it is closed; send this again to go on")
        await self._storage.delete_project(project.id)

    async def _close(self, project: Project) -> None:
        await self._storage.close_project(project.id, self._clock.now())
        self._key_ring.forget_project(project.name)
        await trio.sleep(self._wait_s)

    async def _cancel(self, project: Project) -> None:
        count = PAGE_ROWS
        while count == PAGE_ROWS:
            now = self._clock.now()
            count = await self._storage.empty_project(project.id, PAGE_ROWS, now)

    async def _refuse_live(self, project: Project, advice: str) -> None:
        live = await self._storage.live_in(project.id)
        if any(live):
            raise ProjectNotEmptyError(live, advice)
