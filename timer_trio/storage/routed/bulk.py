"""What is done to many timers, in several cells: one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from timer_trio.domain.bulk import BulkPage, BulkReply
from timer_trio.domain.cells import CellNumber
from timer_trio.domain.query import Position
from timer_trio.storage.pages import START
from timer_trio.storage.routed.timers import RoutedTimers


@dataclass(frozen=True, slots=True)
class CellPosition(Position):
    """A place in the order of creation within a cell: behind it are those after it, too."""

    cell: CellNumber


class RoutedBulk(RoutedTimers):
    """BulkStorage in several cells: in order of creation within each."""

    async def bulk(self, page: BulkPage, now: datetime) -> BulkReply:
        cells = self._cells_with(page.bulk.wanted)
        cell = page.after.cell if isinstance(page.after, CellPosition) else cells[0]
        max_live = self._part(page.bulk.max_live, cell)
        asked = replace(page, bulk=replace(page.bulk, max_live=max_live))
        reply = await self._read(cell, lambda storage: storage.bulk(asked, now))
        if reply.next is not None:
            return replace(reply, next=_within(cell, reply.next))
        following = next((each for each in cells if each > cell), None)
        return replace(reply, next=None if following is None else _within(following, START))


def _within(cell: CellNumber, place: Position) -> CellPosition:
    return CellPosition(place.instant, place.id, cell)
