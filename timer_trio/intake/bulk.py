"""Many timers changed at once, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import trio

from timer_trio.clock import Clock
from timer_trio.cluster.releases import Releases
from timer_trio.domain.bulk import Bulk, BulkAction, BulkProgress
from timer_trio.domain.timer import DueTimer
from timer_trio.intake.intake import OFFER_SLICE
from timer_trio.storage import BulkStorage
from timer_trio.telemetry.metrics import Metrics


class BulkWriter:
    """Does bulk actions, and offers what lives again to be fired."""

    def __init__(
        self,
        *,
        storage: BulkStorage,
        clock: Clock,
        offer: Callable[[Iterable[DueTimer]], None],
        metrics: Metrics,
        releases: Releases,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._offer = offer
        self._metrics = metrics
        self._releases = releases

    async def require_allowed(self, bulk: Bulk) -> None:
        """Return if it may begin.

        Raises:
            OlderReplicasError: replicas are alive that know of no redrive.
            StorageUnavailableError, ContentionError: the database does not tell.
        """
        if bulk.action is BulkAction.REDRIVE:
            await self._releases.require_all_new()

    async def write_page(self, progress: BulkProgress) -> bool:
        """Do the next page, and count it; false: there was none.

        Raises:
            RowRefusedError: the database refuses a value of the filter.
            StorageUnavailableError: it may be done or not, and is not counted.
            ContentionError: it is not done.
            QuotaUsedUpError: the project has not room for all that it would make live.

        Cancellation: a page under way is done to its end, and what it redrives is offered.
        """
        now, began = self._clock.now(), trio.current_time()
        page = progress.next_page(now)
        if page is None:
            return False
        reply = await self._storage.bulk(page, now)
        progress.add(reply)
        with trio.CancelScope(shield=True):
            await self._offer_all(reply.due)
        self._metrics.flushed(
            f"bulk_{progress.bulk.action}", reply.matched, trio.current_time() - began
        )
        return True

    async def _offer_all(self, timers: Sequence[DueTimer]) -> None:
        for start in range(0, len(timers), OFFER_SLICE):
            self._offer(timers[start : start + OFFER_SLICE])
            await trio.lowlevel.checkpoint()
