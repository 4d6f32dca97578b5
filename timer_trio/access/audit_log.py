"""Who has done what, written in the background."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.domain.audit import Act, Actor, AuditEntry, EntryId
from timer_trio.domain.audit_backlog import AuditBacklog
from timer_trio.domain.errors import RowRefusedError, StorageError
from timer_trio.storage.protocols import AuditTrail

INTERVAL_S: Final = 1.0
"""What a crash loses, and a little more."""
PAGE_ROWS: Final = 500
"""In one statement: some 10 ms of the database's time."""

log = structlog.get_logger()


class AuditLog:
    """Keeps what was done, and writes it once a second; what nobody does costs nothing.

    What the database does not take waits until it does, in so much memory: see AuditBacklog.
    `is_kept`: otherwise there is no audit, and nothing is noted.
    """

    def __init__(
        self,
        *,
        storage: AuditTrail,
        clock: Clock,
        is_kept: bool = True,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._is_kept = is_kept
        self._backlog = AuditBacklog(lambda: EntryId(new_id()))
        self._noted = trio.Event()
        self._is_late = False

    def note(self, actor: Actor, act: Act) -> None:
        """Keep what somebody has done just now, until it is written."""
        if not self._is_kept:
            return
        self._backlog.add(actor, act, self._clock.now())
        if not self._noted.is_set():
            self._noted.set()

    async def run(self) -> NoReturn:
        """Write for ever; after an outage all that has waited."""
        while True:
            await self._noted.wait()
            await trio.sleep(INTERVAL_S)
            self._noted = trio.Event()
            if not await self.write():
                self._noted.set()

    async def write(self) -> bool:
        """Write what waits now; answers whether all of it is written.

        Cancellation: what is being written may be written to its end.
        """
        waiting = self._backlog.waiting()
        try:
            for start in range(0, len(waiting), PAGE_ROWS):
                await self._write_page(waiting[start : start + PAGE_ROWS])
        except StorageError as error:
            if not self._is_late:
                log.info("audit_put_off", reason=str(error))
            self._is_late = True
            return False
        self._is_late = False
        self._tell_dropped()
        return True

    async def write_last(self) -> None:
        """Write what waits, and tell in the log how much of it is lost.

        Cancellation: what is not written by then is.
        """
        try:
            await self.write()
        finally:
            self._tell_dropped()
            if lost := len(self._backlog.waiting()):
                log.warning("audit_lost", entries=lost)

    async def _write_page(self, page: Sequence[AuditEntry]) -> None:
        try:
            await self._storage.write_audit(page)
        except RowRefusedError as error:
            # It would be refused again, and all that follows would wait for it.
            log.warning("audit_refused", entries=len(page), reason=str(error))
        self._backlog.forget(page)

    def _tell_dropped(self) -> None:
        if dropped := self._backlog.take_dropped():
            log.warning("audit_dropped", entries=dropped)
