"""When keys were last used, written in the background."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.domain.api_key import KeyId, to_the_minute
from timer_trio.domain.errors import StorageError
from timer_trio.storage import ApiKeyStorage

INTERVAL_S: Final = 60.0

log = structlog.get_logger()


class KeyUses:
    """Keeps when each key was last used, and writes the minute of what is new once a minute."""

    def __init__(self, storage: ApiKeyStorage) -> None:
        self._storage = storage
        self._last: dict[KeyId, datetime] = {}
        self._used = trio.Event()

    def note(self, key_id: KeyId, now: datetime) -> None:
        """Keep that a key of the service's own is used now."""
        self._last[key_id] = now
        if not self._used.is_set():
            self._used.set()

    async def run(self) -> NoReturn:
        """Write for ever; what the database does not take is lost, until the key is used again."""
        while True:
            await self._used.wait()
            await trio.sleep(INTERVAL_S)
            self._used = trio.Event()
            await self.write()

    async def write(self) -> None:
        """Write what is kept, if anything is."""
        uses = {key_id: to_the_minute(now) for key_id, now in self._last.items()}
        self._last = {}
        if not uses:
            return
        try:
            await self._storage.note_key_uses(uses)
        except StorageError as error:
            log.info("key_uses_lost", keys=len(uses), reason=str(error))
