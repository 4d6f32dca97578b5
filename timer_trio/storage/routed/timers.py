"""What consumers create, read and change, in several cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.cells import CellNumber, SeveralCellsError
from timer_trio.domain.errors import JustDividedError, RowRefusedError
from timer_trio.domain.flow import flow_shard
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import ListedTimer, Order, Sort, TimerFilter, TimerPage, TimerQuery
from timer_trio.domain.timer import NewTimer, SpecChange, Timer, TimerId, TimerSummary, shard_of
from timer_trio.storage.pages import page_of
from timer_trio.storage.protocols import Storage
from timer_trio.storage.routed.cells import Cells
from timer_trio.storage.routed.merging import merged

Row = TypeVar("Row")

ROUND_ROWS: Final = 1_000
"""How many rows of each cell are skipped at once: 8 MB if each has all the metadata it may."""
MOST_SKIPPED: Final = 100_000
"""Each row that is skipped is read: so many take some seconds."""


class RoutedTimers(Cells):
    """TimerStorage, RedriveStorage and AttemptHistory in several cells."""

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        # Each is by itself: while they waited, their cell may have been divided.
        for cell, own in self._by_cell(timers, lambda timer: self._cells.of_timer(timer.id)):
            counted = self._counted(own, cell)
            await self._ask(cell, partial(_create, counted, now))

    async def create_many(self, timers: Sequence[NewTimer], now: datetime) -> None:
        cell = self._cell_of(timers)
        if cell is not None:
            counted = self._counted(timers, cell)
            await self._ask(cell, lambda storage: storage.create_many(counted, now))

    async def get(self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT) -> Timer:
        cell = self._cells.of_timer(timer_id)
        return await self._ask(cell, lambda storage: storage.get(timer_id, project))

    async def list(self, query: TimerQuery) -> TimerPage:
        if query.after is not None or query.offset <= ROUND_ROWS:
            return await self._page(query)
        return await self._far_page(query)

    async def update(
        self,
        timer_id: TimerId,
        change: SpecChange,
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> TimerSummary:
        cell = self._cells.of_timer(timer_id)
        return await self._ask(cell, lambda own: own.update(timer_id, change, now, project))

    async def cancel(
        self, timer_id: TimerId, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> TimerSummary:
        cell = self._cells.of_timer(timer_id)
        return await self._ask(cell, lambda storage: storage.cancel(timer_id, now, project))

    async def redrive(
        self,
        timer_id: TimerId,
        due_at: datetime,
        now: datetime,
        holder: TimerId | None = None,
        project: ProjectId = DEFAULT_PROJECT,
        *,
        max_live: int | None = None,
    ) -> TimerSummary | None:
        cell = self._cells.of_timer(timer_id)
        part = self._part(max_live, cell)
        return await self._ask(
            cell, lambda own: own.redrive(timer_id, due_at, now, holder, project, max_live=part)
        )

    async def attempts(
        self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT
    ) -> Sequence[AttemptRecord]:
        cell = self._cells.of_timer(timer_id)
        return await self._ask(cell, lambda storage: storage.attempts(timer_id, project))

    def _cell_of(self, timers: Sequence[NewTimer]) -> CellNumber | None:
        """Return the cell of timers that are written together; None: there are none.

        Raises:
            JustDividedError: they were put together when they were of one, and it has been divided.
        """
        try:
            return self._cells.only(shard_of(timer.id) for timer in timers)
        except SeveralCellsError:
            raise JustDividedError from None

    def _by_cell(
        self, rows: Sequence[Row], cell_of: Callable[[Row], CellNumber]
    ) -> Iterator[tuple[CellNumber, Sequence[Row]]]:
        """Put together what is in the same cell."""
        parts: defaultdict[CellNumber, list[Row]] = defaultdict(list)
        for row in rows:
            parts[cell_of(row)].append(row)
        yield from parts.items()

    def _counted(self, timers: Sequence[NewTimer], cell: CellNumber) -> Sequence[NewTimer]:
        """Have timers of one project count towards the cell's part of the limit."""
        part = self._part(timers[0].max_live, cell)
        if part is None:
            return timers
        return [replace(timer, max_live=part) for timer in timers]

    def _cells_with(self, wanted: TimerFilter) -> Sequence[CellNumber]:
        """Return where timers can be that match: a flow and a schedule are in one cell."""
        if wanted.flow_key is not None:
            return [self._cells.of_shard(flow_shard(wanted.project, wanted.flow_key))]
        if wanted.schedule_id is not None:
            return [self._cells.of_timer(TimerId(wanted.schedule_id))]
        return self._all

    async def _page(self, query: TimerQuery) -> TimerPage:
        # One more than is to be shown tells whether another page follows.
        skipped = 0 if query.after else query.offset
        most = skipped + query.limit + 1
        asked = replace(query, offset=0, limit=most)
        pages = await self._ask_these(self._cells_with(query), lambda own: own.list(asked))
        totals = [page.total for page in pages if page.total is not None]
        found = merged(
            [page.timers for page in pages],
            most,
            by=_created if query.sort is Sort.CREATED_AT else _due,
            descends=query.order is Order.DESC,
        )
        return page_of(found[skipped:], sum(totals) if totals else None, query)

    async def _far_page(self, query: TimerQuery) -> TimerPage:
        """Read the page behind more rows than are merged at once.

        Raises:
            RowRefusedError: it is too far.
        """
        page = await self._page(replace(query, offset=0, limit=ROUND_ROWS))
        total, skipped = page.total, ROUND_ROWS
        if (total or 0) > query.offset > MOST_SKIPPED:
            raise RowRefusedError(
                f"offset may be {MOST_SKIPPED:,} at most where timers are in several cells: follow"
                " next_cursor"
            )
        while page.next is not None:
            left = query.offset - skipped
            limit = min(ROUND_ROWS, left) if left else query.limit
            page = await self._page(replace(query, offset=0, after=page.next, limit=limit))
            if not left:
                return replace(page, total=total)
            skipped += limit
        return TimerPage(timers=(), total=total, next=None)


async def _create(timers: Sequence[NewTimer], now: datetime, storage: Storage) -> None:
    await storage.create(timers, now)


def _created(timer: ListedTimer) -> tuple[datetime, TimerId]:
    return timer.created_at, timer.id


def _due(timer: ListedTimer) -> tuple[datetime, TimerId]:
    return timer.execute_at, timer.id
