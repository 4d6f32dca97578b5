"""The stage that asks for the right to probe where breakers are half open, and tells its end."""

from __future__ import annotations

from typing import Final, NoReturn

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.cluster.heartbeat import Heartbeat
from timer_trio.delivery.agenda import Agenda
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.storage import ProbeStorage
from timer_trio.storage.group_commit import RETRY_PAUSE_S

MAX_PROBES: Final = 100
"""In one statement: some milliseconds of the database's time."""
PAUSE_S: Final = 0.1
"""Between statements: what comes meanwhile goes together."""

log = structlog.get_logger()


class ProbeKeeper:
    """Asks and tells for the breakers of this replica; where none is half open it does nothing."""

    def __init__(
        self, *, storage: ProbeStorage, clock: Clock, agenda: Agenda, heartbeat: Heartbeat
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._agenda = agenda
        self._gates = agenda.gates
        self._breakers = agenda.gates.breakers
        self._heartbeat = heartbeat

    async def run(self) -> NoReturn:
        """Ask and tell, for ever."""
        while True:
            await self._agenda.wait_probe_news()
            try:
                await self._tell()
                await self._ask()
            except (StorageUnavailableError, ContentionError) as error:
                log.debug("probes_put_off", reason=str(error))
                await trio.sleep(RETRY_PAUSE_S)
            else:
                await trio.sleep(PAUSE_S)

    async def _tell(self) -> None:
        """Tell of rights that have ended, before any is asked for again."""
        while ends := self._breakers.ends(MAX_PROBES):
            await self._storage.end_probes(self._heartbeat.replica, ends, self._clock.now())
            self._breakers.note_told(len(ends))

    async def _ask(self) -> None:
        wishes = self._breakers.wishes(MAX_PROBES)
        if not wishes:
            return
        verdicts = await self._storage.ask_probes(
            self._heartbeat.replica, wishes, self._clock.now()
        )
        now_s = self._clock.now().timestamp()
        for wish in wishes:
            self._breakers.take(wish.lane, verdicts[wish.lane], now_s)
            self._gates.open(wish.lane)
        self._agenda.wake()
