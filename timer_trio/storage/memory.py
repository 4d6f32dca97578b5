"""Storage in memory: what PostgreSQL's does, without a thread hop and without keeping anything.

Deterministic tests run on it under a virtual clock. Every verb has one checkpoint, before it does
anything: canceled there, it has not happened.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NoReturn

import trio

from timer_trio.domain.errors import (
    ContentionError,
    NotPendingError,
    ReplicaGoneError,
    RowRefusedError,
    TimerNotFoundError,
)
from timer_trio.domain.membership import Identity, ReplicaRecord, Vitals
from timer_trio.domain.query import Position, TimerPage, TimerQuery
from timer_trio.domain.settlement import Settlement, stands
from timer_trio.domain.timer import (
    ENDED,
    SHARDS,
    Claim,
    ClaimedTimer,
    Destination,
    DueTimer,
    NewTimer,
    ReplicaId,
    SpecChange,
    Status,
    Timer,
    TimerId,
    TimerSummary,
    destination_of,
    shard_of,
)
from timer_trio.storage import Beat, ClaimReply, Hint, Looked, Pruned, ShardCursor, Swept
from timer_trio.storage.hints import hint_of, payload_of
from timer_trio.storage.matching import cut, page_of, select
from timer_trio.storage.refusal import settlement_refusal, spec_refusal

CHANGE_LOCK_S: Final = 1.0
STAGE_LOCK_S: Final = 0.1
"""How long a consumer's change, and a stage of ours, wait for a locked row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A row of the table `timers`; `schema/` says what its columns mean."""

    timer: Timer
    requested_at: datetime
    due_at: datetime | None
    settled_attempts: int = 0
    claim: int | None = None
    claimed_by: ReplicaId | None = None


class MemoryStorage:
    """A Storage whose database is this object, and whose database's clock is `now`.

    `locked` are rows that somebody else's transaction holds, who has changed nothing.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.locked: set[TimerId] = set()
        self._rows: dict[TimerId, _Row] = {}
        self._due: list[list[tuple[datetime, TimerId]]] = [[] for _ in range(SHARDS)]
        self._counters: dict[ReplicaId, int] = {}
        self._replicas: dict[ReplicaId, ReplicaRecord] = {}
        self._listening: list[Callable[[Hint], None]] = []

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        await trio.lowlevel.checkpoint()
        self._create(timers, now)

    async def create_many(self, timers: Sequence[NewTimer], now: datetime) -> None:
        await trio.lowlevel.checkpoint()
        if timers and timers[0].id in self._rows:
            return
        if any(timer.id in self._rows for timer in timers):
            raise RowRefusedError("an id is there already")
        self._create(timers, now)

    async def get(self, timer_id: TimerId) -> Timer:
        await trio.lowlevel.checkpoint()
        return self._row(timer_id).timer

    async def list(self, query: TimerQuery) -> TimerPage:
        await trio.lowlevel.checkpoint()
        found = select((row.timer for row in self._rows.values()), query)
        # One more than asked for shows whether another page follows.
        page = [_summary(timer) for timer in itertools.islice(cut(found, query), query.limit + 1)]
        return page_of(page, None if query.after else len(found), query)

    async def update(self, timer_id: TimerId, change: SpecChange, now: datetime) -> TimerSummary:
        await trio.lowlevel.checkpoint()
        await self._wait_unlocked([timer_id], CHANGE_LOCK_S)
        row = self._row(timer_id)
        if row.timer.status is not Status.PENDING:
            raise NotPendingError(row.timer.status)
        spec = replace(row.timer.spec, **change)
        _refuse(spec_refusal(spec))
        timer = replace(row.timer, spec=spec, updated_at=now)
        self._put(replace(row, timer=timer, requested_at=now, due_at=spec.execute_at))
        return _summary(timer)

    async def cancel(self, timer_id: TimerId, now: datetime) -> TimerSummary:
        await trio.lowlevel.checkpoint()
        await self._wait_unlocked([timer_id], CHANGE_LOCK_S)
        row = self._row(timer_id)
        if row.timer.status is Status.CANCELED:
            return _summary(row.timer)
        if row.timer.status is not Status.PENDING:
            raise NotPendingError(row.timer.status)
        timer = replace(row.timer, status=Status.CANCELED, updated_at=now)
        self._put(replace(row, timer=timer, due_at=None))
        return _summary(timer)

    async def load(
        self,
        cursors: Sequence[ShardCursor],
        until: datetime,
        per_shard: int,
        cut_off: Mapping[Destination, datetime],
    ) -> Sequence[DueTimer]:
        await trio.lowlevel.checkpoint()
        return [
            timer
            for cursor in cursors
            for timer in itertools.islice(self._behind(cursor, until, cut_off), per_shard)
        ]

    async def claim(
        self,
        replica: ReplicaId,
        claim: Claim,
        timer_ids: Collection[TimerId],
        until: datetime,
        now: datetime,
        *,
        skip_locked: bool = False,
    ) -> ClaimReply:
        await trio.lowlevel.checkpoint()
        if not skip_locked:
            await self._wait_unlocked(timer_ids, STAGE_LOCK_S)
        if replica not in self._counters:
            raise ReplicaGoneError
        claimed: list[ClaimedTimer] = []
        moved: list[DueTimer] = []
        locked: list[TimerId] = []
        for timer_id in sorted(set(timer_ids) & self._rows.keys()):
            row = self._rows[timer_id]
            if timer_id in self.locked:
                if row.due_at is not None or (row.claim == claim and row.claimed_by == replica):
                    locked.append(timer_id)
            elif row.claim == claim and row.claimed_by == replica:
                claimed.append(_claimed(row, claim))
            elif row.due_at is not None and row.due_at > until:
                moved.append(DueTimer(row.due_at, timer_id, self._destination(timer_id)))
            elif row.due_at is not None and row.claim != -claim:
                taken = _taken(row, replica, claim, now)
                self._put(taken)
                claimed.append(_claimed(taken, claim))
        return ClaimReply(claimed=claimed, moved=moved, locked=locked)

    async def look_again(self, replica: ReplicaId, claims: Mapping[TimerId, Claim]) -> Looked:
        await trio.lowlevel.checkpoint()
        free: list[DueTimer] = []
        held: list[TimerId] = []
        locked: list[TimerId] = []
        for timer_id in sorted(claims.keys() & self._rows.keys()):
            row = self._rows[timer_id]
            is_held = row.claim == claims[timer_id] and row.claimed_by == replica
            if timer_id in self.locked:
                if row.due_at is not None or is_held:
                    locked.append(timer_id)
            elif row.due_at is not None:
                free.append(DueTimer(row.due_at, timer_id, self._destination(timer_id)))
            elif is_held:
                held.append(timer_id)
        return Looked(free=free, held=held, locked=locked)

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, *, skip_locked: bool = False
    ) -> Sequence[bool | None]:
        await trio.lowlevel.checkpoint()
        for settlement in settlements:
            _refuse(settlement_refusal(settlement))
        if not skip_locked:
            await self._wait_unlocked([one.timer_id for one in settlements], STAGE_LOCK_S)
        return [self._settle(settlement, now) for settlement in settlements]

    async def prune(self, cutoff: datetime, after: Position | None, limit: int) -> Pruned:
        await trio.lowlevel.checkpoint()
        page = self._next_created(cutoff, after, limit)
        ended = [
            timer
            for timer in page
            if timer.status in ENDED and timer.updated_at < cutoff and timer.id not in self.locked
        ]
        for timer in ended:
            del self._rows[timer.id]
        is_full = len(page) == limit
        return Pruned(
            count=len(ended), next=Position(page[-1].created_at, page[-1].id) if is_full else None
        )

    async def join(
        self,
        replica: ReplicaId,
        now: datetime,
        identity: Identity = Identity(),  # noqa: B008 - frozen
    ) -> None:
        await trio.lowlevel.checkpoint()
        if replica not in self._replicas:
            self._replicas[replica] = ReplicaRecord(
                id=replica,
                identity=identity,
                vitals=Vitals(),
                started_at=now,
                beaten_at=None,
                is_leaving=False,
            )
            self._counters[replica] = 0

    async def beat(
        self,
        replica: ReplicaId,
        vitals: Vitals = Vitals(),  # noqa: B008 - frozen
    ) -> Beat:
        await trio.lowlevel.checkpoint()
        now = self._now()
        if replica in self._counters:
            self._counters[replica] += 1
            record = self._replicas[replica]
            self._replicas[replica] = replace(record, vitals=vitals, beaten_at=now)
        leaving = frozenset(each.id for each in self._replicas.values() if each.is_leaving)
        return Beat(now=now, counters=dict(self._counters), leaving=leaving)

    async def leave(self, replica: ReplicaId) -> None:
        await trio.lowlevel.checkpoint()
        if replica in self._replicas:
            self._replicas[replica] = replace(self._replicas[replica], is_leaving=True)

    async def sweep(
        self, replica: ReplicaId | None, counter: int | None, now: datetime
    ) -> Swept | None:
        await trio.lowlevel.checkpoint()
        if replica is not None:
            if counter is not None and self._counters.get(replica) != counter:
                return None
            self._counters.pop(replica, None)
            self._replicas.pop(replica, None)
        held = [row for row in self._rows.values() if row.claimed_by not in {None, *self._counters}]
        free = [row for row in held if row.timer.id not in self.locked]
        for row in free:
            self._put(replace(row, claimed_by=None, due_at=now))
        return Swept(freed=len(free), left=len(held) - len(free))

    async def replicas(self) -> Sequence[ReplicaRecord]:
        await trio.lowlevel.checkpoint()
        return sorted(self._replicas.values(), key=lambda record: (record.started_at, record.id))

    async def hint(
        self, timers: Sequence[DueTimer], shards: AbstractSet[int] = frozenset()
    ) -> None:
        await trio.lowlevel.checkpoint()
        hint = hint_of(payload_of(timers, shards))
        for on_hint in tuple(self._listening):
            on_hint(hint)

    async def listen(
        self, on_listening: Callable[[], None], on_hint: Callable[[Hint], None]
    ) -> NoReturn:
        await trio.lowlevel.checkpoint()
        self._listening.append(on_hint)
        on_listening()
        try:
            await trio.sleep_forever()
        finally:
            self._listening.remove(on_hint)

    def _create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        for timer in timers:
            _refuse(spec_refusal(timer.spec))
        for timer in timers:
            if timer.id not in self._rows:
                self._put(_new_row(timer, now))

    async def _wait_unlocked(self, timer_ids: Collection[TimerId], at_most_s: float) -> None:
        asked = self._rows.keys() & set(timer_ids)
        if asked & self.locked:
            await trio.sleep(at_most_s)
        if asked & self.locked:
            raise ContentionError("somebody else holds the row")

    def _row(self, timer_id: TimerId) -> _Row:
        row = self._rows.get(timer_id)
        if row is None:
            raise TimerNotFoundError(timer_id)
        return row

    def _put(self, row: _Row) -> None:
        timer_id = row.timer.id
        due = self._due[shard_of(timer_id)]
        before = self._rows.get(timer_id)
        if before is not None and before.due_at is not None:
            del due[bisect_left(due, (before.due_at, timer_id))]
        if row.due_at is not None:
            insort(due, (row.due_at, timer_id))
        self._rows[timer_id] = row

    def _next_created(
        self, before: datetime, after: Position | None, limit: int
    ) -> Sequence[Timer]:
        behind = (after.instant, after.id) if after else None
        created = (
            timer
            for timer in (row.timer for row in self._rows.values())
            if timer.created_at < before
            and (behind is None or (timer.created_at, timer.id) > behind)
        )
        return heapq.nsmallest(limit, created, key=lambda timer: (timer.created_at, timer.id))

    def _behind(
        self, cursor: ShardCursor, until: datetime, cut_off: Mapping[Destination, datetime]
    ) -> Iterator[DueTimer]:
        due = self._due[cursor.shard]
        for index in range(bisect_right(due, (cursor.due_at, cursor.id)), len(due)):
            due_at, timer_id = due[index]
            if due_at > until:
                return
            destination = self._destination(timer_id)
            if destination not in cut_off or due_at < cut_off[destination]:
                yield DueTimer(due_at, timer_id, destination)

    def _destination(self, timer_id: TimerId) -> Destination:
        return destination_of(self._rows[timer_id].timer.spec.callback_url)

    def _settle(self, settlement: Settlement, now: datetime) -> bool | None:
        row = self._rows.get(settlement.timer_id)
        if row is None or not stands(settlement, row.claim):
            return False
        if row.timer.id in self.locked:
            return None
        if row.claim == settlement.claim and row.timer.status is Status.EXECUTING:
            self._put(_settled(row, settlement, now))
        return True


def _refuse(reason: str | None) -> None:
    if reason:
        raise RowRefusedError(reason)


def _new_row(timer: NewTimer, now: datetime) -> _Row:
    return _Row(
        timer=Timer(
            id=timer.id,
            created_at=timer.created_at,
            updated_at=now,
            spec=timer.spec,
            status=Status.PENDING,
            executed_at=None,
            attempt=0,
            last_error=None,
        ),
        requested_at=now,
        due_at=timer.spec.execute_at,
    )


def _taken(row: _Row, replica: ReplicaId, claim: Claim, now: datetime) -> _Row:
    timer = replace(
        row.timer, status=Status.EXECUTING, attempt=row.timer.attempt + 1, updated_at=now
    )
    return replace(row, timer=timer, due_at=None, claim=claim, claimed_by=replica)


def _settled(row: _Row, settlement: Settlement, now: datetime) -> _Row:
    attempt = row.timer.attempt
    timer = replace(
        row.timer,
        status=settlement.status,
        attempt=attempt if settlement.is_begun else attempt - 1,
        updated_at=now,
        executed_at=settlement.executed_at or row.timer.executed_at,
        last_error=settlement.last_error,
    )
    return replace(
        row,
        timer=timer,
        settled_attempts=attempt if settlement.is_begun else row.settled_attempts,
        claim=settlement.claim_after,
        claimed_by=None,
        due_at=settlement.due_at,
    )


def _claimed(row: _Row, claim: Claim) -> ClaimedTimer:
    return ClaimedTimer(
        id=row.timer.id,
        claim=claim,
        attempt=row.timer.attempt,
        unknown_attempts=row.timer.attempt - 1 - row.settled_attempts,
        requested_at=row.requested_at,
        spec=row.timer.spec,
    )


def _summary(timer: Timer) -> TimerSummary:
    return TimerSummary(
        id=timer.id,
        created_at=timer.created_at,
        execute_at=timer.spec.execute_at,
        callback_url=timer.spec.callback_url,
        status=timer.status,
        executed_at=timer.executed_at,
    )
