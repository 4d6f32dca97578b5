"""The stage that forgets: what ended long ago, expired keys, old counts, rules that are gone."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.domain.destination import KEPT
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.probes import KEPT as PROBES_KEPT
from timer_trio.maintenance.pages import delete_in_pages
from timer_trio.storage import RetentionStorage
from timer_trio.storage.postgres.retention import PAGE_ROWS, pause_s
from timer_trio.storage.protocols import PrunePosition
from timer_trio.telemetry.metrics import Metrics

FIRST_PASS_S: Final = 60.0
"""After a start there are better things to do; yet who restarts every hour must prune as well."""

INTERVAL_S: Final = 3600.0
"""A pass reads all that was created before the cutoff, timers that wait for years included."""

log = structlog.get_logger()


class Retention:
    """Deletes expired keys and old counts, once an hour, and what ended more than `keep` ago.

    None: nothing of the last. Likewise what replicas have heard of rules that are gone. It pauses
    for as long as it works.

    Several replicas may do so at once; while one is at a page the others give their pass up.
    """

    def __init__(
        self, *, storage: RetentionStorage, clock: Clock, metrics: Metrics, keep: timedelta | None
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._metrics = metrics
        self._keep = keep
        self._timers = self._schedules = self._keys = 0

    async def run(self) -> NoReturn:
        """Prune for ever; what an outage cuts short is left for the next hour."""
        await trio.sleep(FIRST_PASS_S)
        while True:
            await self._pass()
            await trio.sleep(INTERVAL_S)

    async def _pass(self) -> None:
        began = trio.current_time()
        self._timers = self._schedules = self._keys = 0
        cut_short = None
        try:
            await delete_in_pages(self._prune_keys)
            await delete_in_pages(self._prune_rules)
            await delete_in_pages(self._prune_destinations)
            await delete_in_pages(self._prune_probes)
            if self._keep is not None:
                cutoff = self._clock.now() - self._keep
                await delete_in_pages(partial(self._prune_schedules, cutoff))
                await self._prune(cutoff)
        except (StorageUnavailableError, ContentionError) as error:
            cut_short = str(error)
        if self._keep is None and not self._keys:
            return  # nobody has asked it for anything
        log.info(
            "pruned",
            timers=self._timers,
            schedules=self._schedules,
            keys=self._keys,
            cut_short=cut_short,
            duration_ms=round((trio.current_time() - began) * 1000, 1),
        )

    async def _prune_keys(self, limit: int) -> int:
        count = await self._storage.prune_keys(self._clock.now(), limit)
        self._keys += count  # page by page: what cuts a pass short leaves it told
        return count

    async def _prune_rules(self, limit: int) -> int:
        return await self._storage.prune_rules(self._clock.now(), limit)

    async def _prune_destinations(self, limit: int) -> int:
        return await self._storage.prune_destinations(self._clock.now() - KEPT, limit)

    async def _prune_probes(self, limit: int) -> int:
        return await self._storage.prune_probes(self._clock.now() - PROBES_KEPT, limit)

    async def _prune_schedules(self, cutoff: datetime, limit: int) -> int:
        count = await self._storage.prune_schedules(cutoff, limit)
        self._schedules += count
        return count

    async def _prune(self, cutoff: datetime) -> None:
        after: PrunePosition | None = None
        while True:
            began = trio.current_time()
            pruned = await self._storage.prune(cutoff, after, PAGE_ROWS)
            self._timers += pruned.count
            self._metrics.pruned.inc(pruned.count)
            if pruned.next is None:
                return
            after = pruned.next
            await trio.sleep(pause_s(trio.current_time() - began))
