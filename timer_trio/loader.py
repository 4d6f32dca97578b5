"""The first stage: what falls due soon is read into the cache."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn
from uuid import UUID

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.domain.cache import Cache
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.timer import SHARDS, DueTimer, TimerId, shard_of
from timer_trio.executor import Executor
from timer_trio.storage import ShardCursor, Storage
from timer_trio.storage.group_commit import RETRY_PAUSE_S

PER_SHARD: Final = 16
"""Rows of one shard in one page: 4,096 in all, which the event loop takes in within 15 ms."""
NEAR_EDGE_INTERVALS: Final = 2
"""What is due within two intervals is read again, so that nothing stays unseen for long."""

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOWEST_ID: Final = TimerId(UUID(int=0))

log = structlog.get_logger()


class Loader:
    """Reads the window every `interval_s`, and at once when somebody calls `wake`."""

    def __init__(
        self,
        *,
        storage: Storage,
        clock: Clock,
        cache: Cache,
        executor: Executor,
        interval_s: float,
        window_s: float,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._cache = cache
        self._executor = executor
        self._interval_s = interval_s
        self._window = timedelta(seconds=window_s)
        self._near_edge = timedelta(seconds=NEAR_EDGE_INTERVALS * interval_s)
        self._wanted = trio.Event()

    def wake(self) -> None:
        """Ask for a pass right now."""
        self._wanted.set()

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Load for ever; started once the first pass is through."""
        is_started = False
        self.wake()
        while True:
            with trio.move_on_after(self._interval_s):
                await self._wanted.wait()
            self._wanted = trio.Event()
            if not await self._load():
                self.wake()
                await trio.sleep(RETRY_PAUSE_S)
            elif not is_started:
                is_started = True
                task_status.started()

    async def _load(self) -> bool:
        began = trio.current_time()
        try:
            rows = await self._read_window()
        except (StorageUnavailableError, ContentionError) as error:
            log.debug("load_failed", reason=str(error))
            return False
        log.debug(
            "loaded",
            rows=rows,
            cached=len(self._cache),
            until=self._cache.horizon.isoformat(),
            duration_ms=round((trio.current_time() - began) * 1000, 1),
        )
        return True

    async def _read_window(self) -> int:
        until = self._begin(self._clock.now())
        left_out = self._cache.reopen_drained_lanes()
        cursors = [ShardCursor(shard, _START, _LOWEST_ID) for shard in range(SHARDS)]
        rows = 0
        while cursors:
            page = await self._storage.load(cursors, until, PER_SHARD, left_out)
            self._executor.offer_readings(page)
            rows += len(page)
            # A full cache has drawn its horizon in: what lies beyond is not worth reading now.
            until = min(until, self._cache.horizon)
            cursors = next_cursors(page, PER_SHARD)
        return rows

    def _begin(self, now: datetime) -> datetime:
        near_edge = now + self._near_edge
        if self._cache.is_hungry or self._cache.horizon <= near_edge:
            self._cache.open_until(now + self._window)
            return now + self._window
        return near_edge


def next_cursors(page: Sequence[DueTimer], per_shard: int) -> list[ShardCursor]:
    """Name the shards of which a page holds as much as it may, and where each goes on."""
    counts: dict[int, int] = {}
    last: dict[int, DueTimer] = {}
    for timer in page:
        shard = shard_of(timer.id)
        counts[shard] = counts.get(shard, 0) + 1
        last[shard] = timer
    return [
        ShardCursor(shard, last[shard].due_at, last[shard].id)
        for shard, count in counts.items()
        if count >= per_shard
    ]
