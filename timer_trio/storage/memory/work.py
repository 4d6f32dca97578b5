"""What the stages ask for, in memory."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import trio

from timer_trio.domain.errors import ReplicaGoneError
from timer_trio.domain.flow import NO_TERM, Terms
from timer_trio.domain.pace import BacklogKey
from timer_trio.domain.settlement import Settlement, stands
from timer_trio.domain.timer import (
    Claim,
    ClaimedTimer,
    DueTimer,
    Earlier,
    ReplicaId,
    Status,
    Timer,
    TimerId,
    shard_of,
)
from timer_trio.storage.memory.database import Database, Row, freed, new_row, refuse
from timer_trio.storage.protocols import ClaimReply, HeldClaim, Looked, ShardCursor
from timer_trio.storage.refusal import settlement_refusal

STAGE_LOCK_S: Final = 0.1
"""How long a stage of ours waits for a locked row."""


class MemoryWork(Database):
    """WorkStorage in memory."""

    async def load(
        self,
        cursors: Sequence[ShardCursor],
        until: datetime,
        per_shard: int,
        cut_off: Mapping[BacklogKey, datetime],
    ) -> Sequence[DueTimer]:
        await trio.lowlevel.checkpoint()
        return [
            timer
            for cursor in cursors
            if self._due[cursor.shard]  # most have none
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
        terms: Terms | None = None,
        skip_locked: bool = False,
    ) -> ClaimReply:
        await self._begin_claim(replica, timer_ids, waits=not skip_locked)
        return self._claim(replica, claim, timer_ids, until, now, terms=terms)

    async def _begin_claim(
        self, replica: ReplicaId, timer_ids: Collection[TimerId], *, waits: bool
    ) -> None:
        await trio.lowlevel.checkpoint()
        if waits:
            await self._wait_unlocked(timer_ids, STAGE_LOCK_S)
        if replica not in self._counters:
            raise ReplicaGoneError

    def _claim(
        self,
        replica: ReplicaId,
        claim: Claim,
        timer_ids: Collection[TimerId],
        until: datetime,
        now: datetime,
        *,
        terms: Terms | None,
    ) -> ClaimReply:
        claimed: list[ClaimedTimer] = []
        moved: list[DueTimer] = []
        locked: list[TimerId] = []
        foreign: list[TimerId] = []
        for timer_id in sorted(set(timer_ids) & self._rows.keys()):
            row = self._rows[timer_id]
            if timer_id in self.locked:
                if row.due_at is not None or (row.claim == claim and row.claimed_by == replica):
                    locked.append(timer_id)
            elif row.claim == claim and row.claimed_by == replica:
                claimed.append(_claimed(row, claim))
            elif row.due_at is not None and row.due_at > until:
                moved.append(self._due_timer(row, row.due_at))
            elif row.due_at is not None and not self._may_take(row, replica, terms):
                moved.append(self._due_timer(row, row.due_at))
                foreign.append(timer_id)
            elif row.due_at is not None and row.claim != -claim:
                taken = _taken(row, replica, claim, now)
                self._put(taken)
                claimed.append(_claimed(taken, claim))
        return ClaimReply(claimed=claimed, moved=moved, locked=locked, foreign=foreign)

    def _may_take(self, row: Row, replica: ReplicaId, terms: Terms | None) -> bool:
        """Whether a claim of this kind takes a timer: of flows, in the term it was asked in."""
        if terms is None:
            return row.timer.flow_key is None
        shard = shard_of(row.timer.id)
        return self._terms.get(shard) == (replica, terms.get(shard, NO_TERM))

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
                free.append(self._due_timer(row, row.due_at))
            elif is_held:
                held.append(timer_id)
        return Looked(free=free, held=held, locked=locked)

    async def held_claims(
        self, replica: ReplicaId, behind: TimerId | None, limit: int
    ) -> Sequence[HeldClaim]:
        await trio.lowlevel.checkpoint()
        held = sorted(
            HeldClaim(timer_id, Claim(row.claim))
            for timer_id, row in self._rows.items()
            if row.claimed_by == replica and row.claim is not None
        )
        return [one for one in held if behind is None or one.timer_id > behind][:limit]

    async def free(
        self, replica: ReplicaId, held: Collection[HeldClaim], now: datetime
    ) -> Sequence[DueTimer]:
        await trio.lowlevel.checkpoint()
        due: list[DueTimer] = []
        for timer_id, claim in held:
            row = self._rows.get(timer_id)
            if row is None or timer_id in self.locked:
                continue
            if row.claim == claim and row.claimed_by == replica:
                again = freed(row, now)
                self._put(again)
                due.append(self._due_timer(again, again.due_at or now))
        return due

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, *, skip_locked: bool = False
    ) -> Sequence[bool | None]:
        await trio.lowlevel.checkpoint()
        for settlement in settlements:
            refuse(settlement_refusal(settlement))
        if not skip_locked:
            await self._wait_unlocked([one.timer_id for one in settlements], STAGE_LOCK_S)
        return [self._settle(settlement, now) for settlement in settlements]

    def _behind(
        self, cursor: ShardCursor, until: datetime, cut_off: Mapping[BacklogKey, datetime]
    ) -> Iterator[DueTimer]:
        due = self._due[cursor.shard]
        for index in range(bisect_right(due, (cursor.due_at, cursor.id)), len(due)):
            due_at, timer_id = due[index]
            if due_at > until:
                return
            timer = self._due_timer(self._rows[timer_id], due_at)
            key = timer.flow or timer.lane
            if key not in cut_off or due_at < cut_off[key]:
                yield timer

    def _settle(self, settlement: Settlement, now: datetime) -> bool | None:
        row = self._rows.get(settlement.timer_id)
        if row is None or not stands(settlement, row.claim):
            return False
        if row.timer.id in self.locked:
            return None
        if row.claim == settlement.claim and row.timer.status is Status.EXECUTING:
            self._put(_settled(row, settlement, now))
            if settlement.attempts:
                self._attempts.setdefault(row.timer.id, []).extend(settlement.attempts)
            result = settlement.result
            if result is not None and result.id not in self._rows:
                told = replace(result, project=row.project, traceparent=row.traceparent)
                self._put(new_row(told, now, parent_id=row.timer.id))
        return True


def _taken(row: Row, replica: ReplicaId, claim: Claim, now: datetime) -> Row:
    timer = replace(
        row.timer,
        status=Status.EXECUTING,
        attempt=row.timer.attempt + 1,
        updated_at=now,
        next_attempt_at=None,
    )
    return replace(row, timer=timer, due_at=None, claim=claim, claimed_by=replica)


def _settled(row: Row, settlement: Settlement, now: datetime) -> Row:
    attempt = row.timer.attempt
    is_retrying = settlement.status is Status.RETRYING
    is_known = settlement.duration_ms is not None
    timer = replace(
        row.timer,
        status=settlement.status,
        attempt=attempt if settlement.is_begun else attempt - 1,
        updated_at=now,
        executed_at=settlement.executed_at or row.timer.executed_at,
        last_error=settlement.last_error or (row.timer.last_error if settlement.due_at else None),
        http_status=settlement.http_status if is_known else row.timer.http_status,
        duration_ms=settlement.duration_ms if is_known else row.timer.duration_ms,
        next_attempt_at=settlement.due_at if is_retrying else None,
    )
    return replace(
        row,
        timer=timer,
        settled_attempts=attempt if settlement.is_begun else row.settled_attempts,
        failures=row.failures if settlement.failures is None else settlement.failures,
        next_attempt_at=settlement.due_at if is_retrying else row.next_attempt_at,
        first_due_at=settlement.first_due_at or row.first_due_at,
        claim=settlement.claim_after,
        claimed_by=None,
        due_at=settlement.due_at,
    )


def _claimed(row: Row, claim: Claim) -> ClaimedTimer:
    return ClaimedTimer(
        id=row.timer.id,
        claim=claim,
        attempt=row.timer.attempt,
        unknown_attempts=row.timer.attempt - 1 - row.settled_attempts,
        requested_at=row.requested_at,
        failures=row.failures,
        next_attempt_at=row.next_attempt_at,
        first_due_at=row.first_due_at,
        spec=row.timer.spec,
        earlier=_earlier(row.timer) if row.timer.spec.has_results else None,
        project=row.project,
        traceparent=row.traceparent,
    )


def _earlier(timer: Timer) -> Earlier:
    return Earlier(
        created_at=timer.created_at,
        executed_at=timer.executed_at,
        http_status=timer.http_status,
        duration_ms=timer.duration_ms,
        key=timer.key,
        flow_key=timer.flow_key,
    )
