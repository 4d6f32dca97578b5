"""The stage that has timers count which were there before their project limited how many live."""

from __future__ import annotations

from typing import Final, NoReturn

import structlog
import trio

from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.project import ProjectId
from timer_trio.domain.query import Position
from timer_trio.storage import QuotaStorage

FIRST_PASS_S: Final = 75.0
"""After a start there are better things to do."""
INTERVAL_S: Final = 3600.0
"""Nothing is left to do then, but what a replica that has died did not end."""
SETTLED_S: Final = 20.0
"""After a change of a setting: by then all replicas know of it, and no create is older."""
PAGE_ROWS: Final = 200
"""If all are marked, that is 30 ms of the database's time, for which a claim may have to wait."""
MIN_PAUSE_S: Final = 0.01
AGAIN_S: Final = 60.0
"""After a pass that an outage has cut short."""

log = structlog.get_logger()


class QuotaMarks:
    """Marks timers page by page, and pauses for as long as it works."""

    def __init__(self, *, storage: QuotaStorage) -> None:
        self._storage = storage
        self._was_set = trio.Event()

    def look(self) -> None:
        """Look soon: a project has been given a limit."""
        self._was_set.set()

    async def run(self) -> NoReturn:
        """Mark for ever; several replicas that do so at once do no harm."""
        wait_s = FIRST_PASS_S
        while True:
            with trio.move_on_after(wait_s):
                await self._was_set.wait()
            if self._was_set.is_set():
                self._was_set = trio.Event()
                await trio.sleep(SETTLED_S)
            wait_s = INTERVAL_S if await self._pass() else AGAIN_S

    async def _pass(self) -> bool:
        """Answer whether all was looked through."""
        try:
            for project in await self._storage.unmarked_projects():
                await self._mark(project)
        except (StorageUnavailableError, ContentionError) as error:
            log.info("timers_left_uncounted", reason=str(error))
            return False
        return True

    async def _mark(self, project: ProjectId) -> None:
        count = 0
        after: Position | None = None
        while True:
            began_s = trio.current_time()
            marked = await self._storage.mark_counted(project, after, PAGE_ROWS)
            count += marked.count
            if marked.next is None:
                break
            after = marked.next
            await trio.sleep(max(MIN_PAUSE_S, trio.current_time() - began_s))
        log.info("timers_counted", project=project, timers=count)
