"""The stage that forgets who has done what."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.maintenance.pages import delete_in_pages
from timer_trio.storage import AuditStorage

FIRST_PASS_S: Final = 75.0
"""After a start there are better things to do."""
INTERVAL_S: Final = 3600.0

log = structlog.get_logger()


class AuditRetention:
    """Deletes once an hour what was done more than `keep` ago, in deleted projects as well."""

    def __init__(self, *, storage: AuditStorage, clock: Clock, keep: timedelta) -> None:
        self._storage = storage
        self._clock = clock
        self._keep = keep

    async def run(self) -> NoReturn:
        """Delete for ever; what an outage cuts short is left for the next hour."""
        await trio.sleep(FIRST_PASS_S)
        while True:
            try:
                if count := await delete_in_pages(self._prune):
                    log.info("audit_pruned", entries=count)
            except (StorageUnavailableError, ContentionError) as error:
                log.debug("audit_prune_failed", reason=str(error))
            await trio.sleep(INTERVAL_S)

    async def _prune(self, limit: int) -> int:
        return await self._storage.prune_audit(self._clock.now() - self._keep, limit)
