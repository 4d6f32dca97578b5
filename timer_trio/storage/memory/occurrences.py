"""What the stages ask for occurrences, in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from timer_trio.domain.flow import Terms
from timer_trio.domain.settlement import OVERLAPPED, SUPERSEDED
from timer_trio.domain.timer import (
    WAITING,
    Claim,
    ClaimedOccurrence,
    ClaimedTimer,
    DueTimer,
    ReplicaId,
    Status,
    TimerId,
)
from timer_trio.storage.memory.database import OccurrenceColumns, Row
from timer_trio.storage.memory.timers import canceled
from timer_trio.storage.memory.work import MemoryWork
from timer_trio.storage.protocols import ClaimReply, OccurrenceClaimReply


class MemoryOccurrences(MemoryWork):
    """OccurrenceStorage in memory."""

    async def claim_occurrences(
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
        reply = self._claim(replica, claim, timer_ids, until, now, terms=terms)
        return replace(reply, claimed=[self._as_occurrence(timer, now) for timer in reply.claimed])

    async def claim_exclusive(
        self,
        replica: ReplicaId,
        claim: Claim,
        timer_ids: Collection[TimerId],
        until: datetime,
        now: datetime,
        *,
        terms: Terms | None = None,
        skip_locked: bool = False,
    ) -> OccurrenceClaimReply:
        await self._begin_claim(replica, timer_ids, waits=not skip_locked)
        asked = [self._rows[each] for each in timer_ids if each in self._rows]
        due = [
            row
            for row in sorted(asked, key=_turn)
            if row.due_at is not None
            and row.due_at <= until
            and row.claim != -claim
            and row.timer.id not in self.locked
            and self._may_take(row, replica, terms)
        ]
        skipped = [row.timer.id for row in due if self._skip(row, SUPERSEDED, now)]
        skipped += [row.timer.id for row in due if self._skip(row, OVERLAPPED, now)]
        later = [*self._not_first(row for row in due if row.timer.id not in skipped)]
        rest = set(timer_ids) - {each.id for each in later}
        reply = self._claim(replica, claim, rest, until, now, terms=terms)
        return OccurrenceClaimReply(
            claimed=[self._as_occurrence(timer, now) for timer in reply.claimed],
            moved=[*reply.moved, *later],
            locked=reply.locked,
            foreign=reply.foreign,
            skipped=skipped,
        )

    def _skip(self, row: Row, reason: str, now: datetime) -> bool:
        """Skip an occurrence that has not begun, if there is this reason to."""
        row = self._rows[row.timer.id]
        if row.timer.status not in WAITING or not _may_be_skipped(row):
            return False
        holds = self._is_superseded(row, now) if reason == SUPERSEDED else self._overlaps(row)
        if holds:
            gone = canceled(row, now)
            self._put(replace(gone, timer=replace(gone.timer, last_error=reason)))
        return holds

    def _overlaps(self, row: Row) -> bool:
        """Whether another occurrence of its schedule is under way."""
        under_way = {Status.EXECUTING, Status.RETRYING}
        return any(
            other.timer.status in under_way
            for other in self._occurrences_of(row)
            if other.timer.id != row.timer.id
        )

    def _not_first(self, rows: Iterator[Row]) -> Iterator[DueTimer]:
        """Yield those that have not begun, and are not the first of their schedule."""
        seen: set[UUID | None] = set()
        for row in rows:
            if row.due_at is not None and row.timer.schedule_id in seen and _may_be_skipped(row):
                yield self._due_timer(row, row.due_at)
            seen.add(row.timer.schedule_id)

    def _occurrences_of(self, row: Row) -> Iterator[Row]:
        schedule_id = row.timer.schedule_id
        return (each for each in self._rows.values() if each.timer.schedule_id == schedule_id)

    def _as_occurrence(self, timer: ClaimedTimer, now: datetime) -> ClaimedTimer:
        row = self._rows[timer.id]
        if row.occurrence is None or row.timer.schedule_id is None:
            return timer
        occurrence = ClaimedOccurrence(
            schedule_id=row.timer.schedule_id,
            instant=row.occurrence.occurs_at,
            is_superseded=_may_be_skipped(row, begun=1) and self._is_superseded(row, now),
        )
        return replace(timer, occurrence=occurrence)

    def _is_superseded(self, row: Row, now: datetime) -> bool:
        """Whether the next occurrence is due as well, unless somebody has canceled that one."""
        own = row.occurrence
        if own is None or own.superseded_at is None:
            return False
        moved_by = row.timer.spec.execute_at - own.occurs_at
        return own.superseded_at + moved_by <= now and not any(
            _was_canceled(other, own.superseded_at) for other in self._occurrences_of(row)
        )


def _turn(row: Row) -> tuple[bool, datetime, TimerId]:
    """Return what comes first of a schedule: what has begun, then what is due earliest."""
    return _may_be_skipped(row), row.due_at or row.timer.spec.execute_at, row.timer.id


def _may_be_skipped(row: Row, begun: int = 0) -> bool:
    """Whether it is before its first attempt, of which so many are counted as begun already."""
    own: OccurrenceColumns | None = row.occurrence
    return own is not None and own.may_be_skipped and row.timer.attempt == begun


def _was_canceled(row: Row, instant: datetime) -> bool:
    is_there = row.occurrence is not None and row.occurrence.occurs_at == instant
    return is_there and row.timer.status is Status.CANCELED and row.timer.last_error is None
