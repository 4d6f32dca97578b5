"""Keys that consumers choose, in several cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from timer_trio.domain.cells import CellNumber
from timer_trio.domain.keys import FirstAnswer, HeldName, KeyedCreate, NameHolder, key_shard
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import NewTimer, TimerId, shard_of
from timer_trio.storage.protocols import Storage
from timer_trio.storage.routed.side_by_side import side_by_side
from timer_trio.storage.routed.timers import RoutedTimers


class RoutedKeys(RoutedTimers):
    """KeyStorage in several cells: what has a name is in the cell of that name."""

    async def create_keyed(
        self, creates: Sequence[KeyedCreate], now: datetime
    ) -> Sequence[FirstAnswer]:
        answers: dict[int, FirstAnswer] = {}
        for cell, own in self._by_cell(creates, self._cell_of_create):
            counted = [replace(each, timers=self._counted(each.timers, cell)) for each in own]
            found = await self._ask(cell, partial(_create_keyed, counted, now))
            answers |= {id(create): answer for create, answer in zip(own, found, strict=True)}
        return [answers[id(create)] for create in creates]

    async def first_answer(
        self, key: str, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> FirstAnswer | None:
        # A flow may have decided another cell.
        home = self._cell_of_name(project, key)
        for cell in (home, *(each for each in self._all if each != home)):
            first = await self._read(cell, lambda own: own.first_answer(key, now, project))
            if first is not None:
                return first
        return None

    async def name_holder(
        self, key: str, project: ProjectId = DEFAULT_PROJECT
    ) -> NameHolder | None:
        cell = self._cell_of_name(project, key)
        return await self._read(cell, lambda storage: storage.name_holder(key, project))

    async def held_names(
        self, keys: Collection[str], project: ProjectId = DEFAULT_PROJECT
    ) -> Mapping[str, HeldName]:
        asked: dict[CellNumber, list[str]] = defaultdict(list)
        for key in keys:
            asked[self._cell_of_name(project, key)].append(key)
        held = await side_by_side(
            [self._reading(cell, _held_by(own, project)) for cell, own in asked.items()]
        )
        return {key: name for each in held for key, name in each.items()}

    async def create_named(
        self, timers: Sequence[NewTimer], before: Mapping[str, TimerId], now: datetime
    ) -> bool:
        cell = self._cells.of_timer(timers[0].id)
        self._refuse_elsewhere(timers)
        counted = self._counted(timers, cell)
        return await self._ask(cell, lambda storage: storage.create_named(counted, before, now))

    def _cell_of_create(self, create: KeyedCreate) -> CellNumber:
        cell = self._cell_of(create.timers)
        return self._cell_of_name(create.project, create.key) if cell is None else cell

    def _refuse_elsewhere(self, timers: Sequence[NewTimer]) -> None:
        names = [(timer.project, timer.key) for timer in timers if timer.key is not None]
        self._cells.require_one(
            [*(shard_of(each.id) for each in timers), *(key_shard(*name) for name in names)]
        )


async def _create_keyed(
    creates: Sequence[KeyedCreate], now: datetime, storage: Storage
) -> Sequence[FirstAnswer]:
    return await storage.create_keyed(creates, now)


def _held_by(
    keys: Sequence[str], project: ProjectId
) -> Callable[[Storage], Awaitable[Mapping[str, HeldName]]]:
    return lambda storage: storage.held_names(keys, project)
