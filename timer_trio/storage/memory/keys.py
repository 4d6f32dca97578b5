"""Keys that consumers choose, in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import trio

from timer_trio.domain.keys import (
    IDEMPOTENCY_PERIOD,
    FirstAnswer,
    HeldName,
    KeyedCreate,
    NameHolder,
)
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import NewTimer, TimerId
from timer_trio.storage.memory.database import KeyRow, ProjectKey
from timer_trio.storage.memory.timers import CHANGE_LOCK_S, MemoryTimers


class MemoryKeys(MemoryTimers):
    """KeyStorage in memory."""

    async def create_keyed(
        self, creates: Sequence[KeyedCreate], now: datetime
    ) -> Sequence[FirstAnswer]:
        await trio.lowlevel.checkpoint()
        free = [each for each in creates if self._answer_of((each.project, each.key), now) is None]
        self._create([timer for each in free for timer in each.timers], now)
        for each in free:
            row = KeyRow(each.answer, now + IDEMPOTENCY_PERIOD)
            self._keys[each.project, each.key] = row
        return [self._keys[each.project, each.key].answer for each in creates]

    async def first_answer(
        self, key: str, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> FirstAnswer | None:
        await trio.lowlevel.checkpoint()
        return self._answer_of((project, key), now)

    async def name_holder(
        self, key: str, project: ProjectId = DEFAULT_PROJECT
    ) -> NameHolder | None:
        await trio.lowlevel.checkpoint()
        timer_id = self._names.get((project, key))
        if timer_id is None:
            return None
        row = self._rows.get(timer_id)
        return NameHolder(timer_id, row.timer if row is not None else None)

    async def held_names(
        self, keys: Collection[str], project: ProjectId = DEFAULT_PROJECT
    ) -> Mapping[str, HeldName]:
        await trio.lowlevel.checkpoint()
        holders = {key: self._names.get((project, key)) for key in keys}
        return {key: self._held(holder) for key, holder in holders.items() if holder is not None}

    async def create_named(
        self, timers: Sequence[NewTimer], before: Mapping[str, TimerId], now: datetime
    ) -> bool:
        await trio.lowlevel.checkpoint()
        names = {(timer.project, timer.key): timer.id for timer in timers if timer.key is not None}
        known = {name: before[name[1]] for name in names if name[1] in before}
        await self._wait_unlocked(known.values(), CHANGE_LOCK_S)
        if timers[0].id in self._rows:
            return True
        if any(self._names.get(name) != known.get(name) for name in names):
            return False
        if any(self._held(timer_id).is_live for timer_id in known.values()):
            return False
        self._create(timers, now)
        self._names |= names
        return True

    async def prune_keys(self, now: datetime, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        expired = [key for key, row in self._keys.items() if row.expires_at <= now]
        for key in expired[:limit]:
            del self._keys[key]
        return len(expired[:limit])

    def _held(self, timer_id: TimerId) -> HeldName:
        row = self._rows.get(timer_id)
        return HeldName(timer_id, row.timer.status if row is not None else None)

    def _answer_of(self, key: ProjectKey, now: datetime) -> FirstAnswer | None:
        row = self._keys.get(key)
        return row.answer if row is not None and row.expires_at > now else None
