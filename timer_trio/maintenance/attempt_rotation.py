"""The stage that makes room for attempts, and forgets them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.maintenance.pages import delete_in_pages
from timer_trio.storage import AttemptStorage

INTERVAL_S: Final = 3600.0
"""Days are made two ahead: some of these passes may fail."""
AGAIN_S: Final = 10.0
"""After a pass in which something was put off, if somebody used the table just then."""
TRIES: Final = 6
"""Passes so soon after each other; what is in the way for longer is left for the next hour."""

log = structlog.get_logger()


class AttemptRotation:
    """Makes days for attempts ahead, and deletes what ended more than `keep` ago."""

    def __init__(self, *, storage: AttemptStorage, clock: Clock, keep: timedelta) -> None:
        self._storage = storage
        self._clock = clock
        self._keep = keep

    async def run(self) -> NoReturn:
        """Do so at once and then once an hour, for ever; an outage leaves it for the next time."""
        while True:
            for _ in range(TRIES):
                if await self._pass():
                    break
                await trio.sleep(AGAIN_S)
            await trio.sleep(INTERVAL_S)

    async def _pass(self) -> bool:
        """Answer whether nothing was put off."""
        now = self._clock.now()
        try:
            rotated = await self._storage.rotate_attempts(now, now - self._keep)
            pruned = await delete_in_pages(self._prune)
        except (StorageUnavailableError, ContentionError) as error:
            log.debug("rotation_failed", reason=str(error))
            return False
        if rotated.made or rotated.dropped or pruned or rotated.put_off:
            log.info(
                "attempts_rotated",
                days_made=rotated.made,
                days_dropped=rotated.dropped,
                attempts=pruned,
                put_off=rotated.put_off,
            )
        return rotated.put_off is None

    async def _prune(self, limit: int) -> int:
        return await self._storage.prune_attempts(self._clock.now() - self._keep, limit)
