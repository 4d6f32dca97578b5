"""The first stage: what falls due soon is read into the cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final, NoReturn
from uuid import UUID

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.delivery.agenda import Agenda
from timer_trio.delivery.refill import Wants
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.shards import HANDOVER_S
from timer_trio.domain.timer import DueTimer, TimerId, shard_of
from timer_trio.storage import ShardCursor, WorkStorage
from timer_trio.storage.group_commit import RETRY_PAUSE_S
from timer_trio.storage.halving import by_halves

PAGE_ROWS: Final = 4_096
"""In one page: what the event loop takes in within 15 ms."""
NEAR_EDGE_INTERVALS: Final = 2
"""What is due within two intervals is read again, so that nothing stays unseen for long."""
HINTS_LOST_INTERVAL_S: Final = 1.0
"""Between two looks while hints of other replicas do not arrive."""
LET_GO_SLICE: Final = 1_000
"""Entries looked at in one go when shards were lost: a millisecond."""

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOWEST_ID: Final = TimerId(UUID(int=0))

log = structlog.get_logger()


class Loader:
    """Reads the window of this replica's shards, and at once when somebody asks for it."""

    def __init__(
        self,
        *,
        storage: WorkStorage,
        clock: Clock,
        agenda: Agenda,
        interval_s: float,
        window_s: float,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._agenda = agenda
        self._cache = agenda.cache
        self._shards = agenda.shards
        self._refill = agenda.refill
        self._interval_s = interval_s
        self._window = timedelta(seconds=window_s)
        self._looked_s = -inf

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Load for ever; started once the first pass is through."""
        is_started = False
        self._refill.ask_window()
        while True:
            with trio.move_on_at(self._look_at_s):
                await self._refill.wait_wanted()
            if not await self._load(self._refill.take()):
                await trio.sleep(RETRY_PAUSE_S)
            elif not is_started:
                is_started = True
                task_status.started()

    @property
    def _look_at_s(self) -> float:
        """When to look next if nobody asks: looks at some shards do not put the near edge off."""
        lost_s = trio.current_time() + HINTS_LOST_INTERVAL_S if self._must_look_often else inf
        return min(self._looked_s + self._interval_s, lost_s)

    @property
    def _must_look_often(self) -> bool:
        return self._refill.hints_are_lost and self._shards.has_others

    async def _load(self, wants: Wants) -> bool:
        began_s = trio.current_time()
        try:
            rows = await self._pass(wants)
        except (StorageUnavailableError, ContentionError) as error:
            self._refill.ask(wants)
            log.debug("load_failed", reason=str(error))
            return False
        log.debug(
            "loaded",
            rows=rows,
            cached=len(self._cache),
            until=self._cache.horizon.isoformat(),
            duration_ms=round((trio.current_time() - began_s) * 1000, 1),
        )
        return True

    async def _pass(self, wants: Wants) -> int:
        now, rows = self._clock.now(), 0
        if wants.window:
            await self._let_go(now)
        began_s = trio.current_time()
        if wants.near or wants.window or began_s >= self._looked_s + self._interval_s:
            until = self._begin(now, anew=wants.window)
            self._cache.reopen_drained()
            rows += await self._read(self._shards.own, until)
            self._looked_s = began_s  # one that failed is made again, as far as it was to go
        elif self._must_look_often:
            until = now + timedelta(seconds=NEAR_EDGE_INTERVALS * HINTS_LOST_INTERVAL_S)
            rows += await self._read(self._shards.own, until)
        if wants.shards and not wants.window:
            own = self._shards.own.intersection(wants.shards)
            rows += await self._read(own, self._cache.horizon)
        return rows

    async def _let_go(self, now: datetime) -> None:
        """Forget what other replicas fire now, but for what they may not have found yet."""
        after = now + timedelta(seconds=HANDOVER_S)
        keys = self._cache.keys()
        for start in range(0, len(keys), LET_GO_SLICE):
            some = keys[start : start + LET_GO_SLICE]
            self._cache.let_go(some, self._shards.own, after)
            if not self._shards.are_all_kept:  # what is moved to another database nobody may claim
                self._cache.let_go(some, self._shards.within, _START)
            await trio.lowlevel.checkpoint()

    async def _read(self, shards: Collection[int], until: datetime) -> int:
        cursors = [ShardCursor(shard, _START, _LOWEST_ID) for shard in sorted(shards)]
        per_shard = PAGE_ROWS // max(1, len(cursors))
        rows = 0
        while cursors:
            page = await self._read_page(cursors, until, per_shard)
            rows += len(page)
            # A full cache has drawn its horizon in: what lies beyond is not worth reading now.
            until = min(until, self._cache.horizon)
            cursors = next_cursors(page, per_shard)
        return rows

    async def _read_page(
        self, cursors: Sequence[ShardCursor], until: datetime, per_shard: int
    ) -> Sequence[DueTimer]:
        """Read the next rows of each shard but those that the database cannot read."""
        page: list[DueTimer] = []

        async def read(some: Sequence[ShardCursor]) -> None:
            # What was cut off by the pages before need not be read by those that follow.
            found = await self._storage.load(some, until, per_shard, self._cache.cut_off)
            self._agenda.add_readings(found)
            page.extend(found)

        await by_halves(cursors, read, _note_unreadable)
        return page

    def _begin(self, now: datetime, *, anew: bool) -> datetime:
        near_edge = now + timedelta(seconds=NEAR_EDGE_INTERVALS * self._interval_s)
        if anew or self._cache.wants_refill or self._cache.horizon <= near_edge:
            self._cache.open_until(now + self._window)
            return now + self._window
        return near_edge


def _note_unreadable(cursor: ShardCursor, error: Exception) -> None:
    log.error("shard_unreadable", shard=cursor.shard, reason=str(error))


def next_cursors(page: Sequence[DueTimer], per_shard: int) -> list[ShardCursor]:
    """Name the shards of which a page holds as much as it may, and where each goes on."""
    shards = [shard_of(timer.id) for timer in page]
    full = [shard for shard, count in Counter(shards).items() if count >= per_shard]
    if not full:  # mostly
        return []
    last = dict(zip(shards, page, strict=True))
    return [ShardCursor(shard, last[shard].due_at, last[shard].id) for shard in full]
