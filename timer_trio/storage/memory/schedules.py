"""What consumers and the planner do with schedules, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import trio

from timer_trio.domain.errors import (
    ScheduleEndedError,
    ScheduleNameTakenError,
    ScheduleNotFoundError,
)
from timer_trio.domain.keys import IDEMPOTENCY_PERIOD, FirstAnswer
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import Position
from timer_trio.domain.schedule import (
    Changed,
    NewOccurrence,
    PendingFate,
    Plan,
    Schedule,
    ScheduleChange,
    ScheduleFacts,
    ScheduleId,
    SchedulePage,
    ScheduleQuery,
    ScheduleStatus,
    Standing,
    UnreadableSchedule,
)
from timer_trio.domain.settlement import SKIPPED
from timer_trio.domain.timer import WAITING, Status, TimerId, shard_of
from timer_trio.storage.memory.database import KeyRow, OccurrenceColumns, Row, new_row, refuse
from timer_trio.storage.memory.keys import MemoryKeys
from timer_trio.storage.memory.matching import has_all
from timer_trio.storage.memory.timers import CHANGE_LOCK_S, canceled
from timer_trio.storage.refusal import flow_refusal, spec_refusal


class MemorySchedules(MemoryKeys):
    """ScheduleStorage in memory."""

    async def create_schedule(
        self,
        schedule: Schedule,
        occurrences: Sequence[NewOccurrence],
        now: datetime,
        keyed: tuple[str, FirstAnswer] | None = None,
    ) -> FirstAnswer | None:
        await trio.lowlevel.checkpoint()
        key, answer = keyed or ("", None)
        if answer is not None and (first := self._answer_of((schedule.project, key), now)):
            return first
        if schedule.id in self._schedules:
            return answer
        self._refuse_taken_name(schedule)
        refuse(flow_refusal(schedule.flow_key) or spec_refusal(schedule.spec.template))
        if answer is not None:
            self._keys[schedule.project, key] = KeyRow(answer, now + IDEMPOTENCY_PERIOD)
        self._schedules[schedule.id] = schedule
        self._insert(occurrences, now)
        return answer

    async def schedule(
        self, schedule_id: ScheduleId, project: ProjectId = DEFAULT_PROJECT
    ) -> Schedule:
        await trio.lowlevel.checkpoint()
        return self._schedule(schedule_id, project)

    async def schedule_facts(
        self, schedule_id: ScheduleId, project: ProjectId = DEFAULT_PROJECT
    ) -> ScheduleFacts:
        await trio.lowlevel.checkpoint()
        rows = [row for row in self._of(schedule_id) if row.project == project]
        begun = [row for row in rows if row.timer.status is not Status.PENDING]
        return ScheduleFacts(
            last_occurrence=max(begun, key=_instant_of).timer if begun else None,
            pending=sum(_is_planned(row) for row in rows),
            skipped=sum((row.timer.last_error or "").startswith(SKIPPED) for row in rows),
        )

    async def schedule_named(
        self, name: str, project: ProjectId = DEFAULT_PROJECT
    ) -> ScheduleId | None:
        await trio.lowlevel.checkpoint()
        return self._holder_of(name, project)

    async def schedules(self, query: ScheduleQuery) -> SchedulePage:
        await trio.lowlevel.checkpoint()
        after = query.after
        found = [
            each
            for each in self._schedules.values()
            if (after is None or _place_of(each) < (after.instant, after.id))
            and _matches(each, query)
        ]
        found.sort(key=_place_of, reverse=True)
        page = found[: query.limit]
        has_more = len(found) > len(page)
        last = Position(page[-1].created_at, TimerId(page[-1].id)) if has_more else None
        return SchedulePage(schedules=page, next=last)

    async def change_schedule(
        self,
        schedule_id: ScheduleId,
        decide: Callable[[Schedule, Standing], ScheduleChange],
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> Changed:
        await trio.lowlevel.checkpoint()
        rows = [*self._of(schedule_id)]
        await self._wait_unlocked([row.timer.id for row in rows], CHANGE_LOCK_S)
        rows = [*self._of(schedule_id)]
        change = decide(self._schedule(schedule_id, project), _standing(rows, now))
        self._refuse_taken_name(change.schedule)
        refuse(spec_refusal(change.schedule.spec.template))
        removed = self._settle_pending(rows, change, now)
        self._insert(change.occurrences, now)
        self._schedules[schedule_id] = change.schedule
        return Changed(change, removed)

    async def next_plan_at(self, shards: Collection[int]) -> datetime | None:
        await trio.lowlevel.checkpoint()
        planned = (each.plan_at for each in self._in(shards) if each.plan_at is not None)
        return min(planned, default=None)

    async def due_schedules(
        self, shards: Collection[int], until: datetime, limit: int
    ) -> Sequence[Schedule | UnreadableSchedule]:
        await trio.lowlevel.checkpoint()
        due = [
            (each.plan_at, each.id, each)
            for each in self._in(shards)
            if each.plan_at is not None and each.plan_at <= until
        ]
        return [each for _, _, each in sorted(due)[:limit]]

    async def outdated_schedules(
        self, shards: Collection[int], zone_data: str, limit: int
    ) -> Sequence[Schedule | UnreadableSchedule]:
        await trio.lowlevel.checkpoint()
        outdated = [
            each
            for each in self._in(shards)
            if each.status is ScheduleStatus.ACTIVE
            and each.zone_data is not None
            and each.zone_data < zone_data
        ]
        return outdated[:limit]

    async def plan(self, plans: Sequence[Plan], now: datetime) -> Sequence[bool]:
        await trio.lowlevel.checkpoint()
        for each in plans:
            refuse(spec_refusal(each.schedule.spec.template))
        return [self._plan(each, now) for each in plans]

    async def break_schedule(
        self, schedule_id: ScheduleId, version: int, reason: str, now: datetime
    ) -> bool:
        await trio.lowlevel.checkpoint()
        known = self._schedules.get(schedule_id)
        if known is None or known.version != version or known.status is not ScheduleStatus.ACTIVE:
            return False
        self._schedules[schedule_id] = replace(
            known,
            status=ScheduleStatus.PAUSED,
            plan_at=None,
            last_error=reason,
            updated_at=now,
        )
        return True

    async def add_occurrences(
        self,
        schedule_id: ScheduleId,
        occurrences: Sequence[NewOccurrence],
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> Sequence[TimerId]:
        await trio.lowlevel.checkpoint()
        if self._schedule(schedule_id, project).status is ScheduleStatus.ENDED:
            raise ScheduleEndedError
        new = [each.timer for each in occurrences if each.timer.id not in self._rows]
        if new:
            self._count_in(project, new[0].max_live, len(new), now)
        return self._insert(occurrences, now)

    async def count_schedules(self) -> Mapping[str, int]:
        await trio.lowlevel.checkpoint()
        broken = (ScheduleStatus.PAUSED, True)
        counts = Counter(
            "broken" if (each.status, each.last_error is not None) == broken else each.status.value
            for each in self._schedules.values()
        )
        return {name: counts[name] for name in (*ScheduleStatus, "broken")}

    async def prune_schedules(self, cutoff: datetime, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        ended = [
            each.id
            for each in self._schedules.values()
            if each.status is ScheduleStatus.ENDED and each.updated_at < cutoff
        ]
        for schedule_id in ended[:limit]:
            del self._schedules[schedule_id]
        return len(ended[:limit])

    def _schedule(self, schedule_id: ScheduleId, project: ProjectId = DEFAULT_PROJECT) -> Schedule:
        schedule = self._schedules.get(schedule_id)
        if schedule is None or schedule.project != project:
            raise ScheduleNotFoundError
        return schedule

    def _in(self, shards: Collection[int]) -> Iterator[Schedule]:
        return (each for each in self._schedules.values() if shard_of(TimerId(each.id)) in shards)

    def _of(self, schedule_id: ScheduleId) -> Iterator[Row]:
        return (row for row in self._rows.values() if row.timer.schedule_id == schedule_id)

    def _holder_of(self, name: str | None, project: ProjectId) -> ScheduleId | None:
        live = (each for each in self._schedules.values() if each.status != ScheduleStatus.ENDED)
        own = (each for each in live if each.project == project)
        return next((each.id for each in own if name and each.spec.name == name), None)

    def _refuse_taken_name(self, schedule: Schedule) -> None:
        holder = self._holder_of(schedule.spec.name, schedule.project)
        is_live = schedule.status is not ScheduleStatus.ENDED
        if is_live and holder is not None and holder != schedule.id:
            raise ScheduleNameTakenError(holder)

    def _plan(self, wanted: Plan, now: datetime) -> bool:
        known = self._schedules.get(wanted.schedule.id)
        stands = (
            known is not None
            and known.status is ScheduleStatus.ACTIVE
            and known.version == wanted.schedule.version
            and known.planned_to == wanted.planned_from
        )
        if stands:
            self._insert(wanted.occurrences, now)
            self._schedules[wanted.schedule.id] = wanted.schedule
        return stands

    def _settle_pending(self, rows: Sequence[Row], change: ScheduleChange, now: datetime) -> int:
        """Do with what has not begun as a change says; answers how many it has deleted."""
        match change.pending:
            case PendingFate.KEPT:
                pass
            case PendingFate.REPLACED:
                stay = {each.timer.id for each in change.occurrences}
                gone = [row for row in rows if _is_planned(row) and row.timer.id not in stay]
                for row in gone:
                    self._delete(row.timer.id)
                return len(gone)
            case PendingFate.CHANGED:
                for row in filter(_is_pending, rows):
                    self._put(_asking_for(row, change.schedule, now))
            case PendingFate.CANCELED:
                for row in rows:
                    if row.timer.status in WAITING:
                        self._put(canceled(row, now))
        return 0

    def _insert(self, occurrences: Iterable[NewOccurrence], now: datetime) -> Sequence[TimerId]:
        """Write what is not there, and when it is superseded of what is there and has not begun."""
        new: list[TimerId] = []
        for each in occurrences:
            known = self._rows.get(each.timer.id)
            if known is None:
                new.append(each.timer.id)
                self._put(_row_of(each, now))
            elif known.occurrence is not None and _is_pending(known):
                own = replace(known.occurrence, superseded_at=each.superseded_at)
                self._put(replace(known, occurrence=own))
        return new


def _row_of(occurrence: NewOccurrence, now: datetime) -> Row:
    row = new_row(occurrence.timer, now)
    columns = OccurrenceColumns(
        schedule_version=occurrence.version,
        occurs_at=occurrence.instant,
        superseded_at=occurrence.superseded_at,
    )
    timer = replace(row.timer, schedule_id=occurrence.schedule_id)
    row = replace(row, timer=timer, occurrence=columns)
    if occurrence.skipped is None:
        return row
    gone = canceled(row, now)
    return replace(gone, timer=replace(gone.timer, last_error=occurrence.skipped))


def _asking_for(row: Row, schedule: Schedule, now: datetime) -> Row:
    spec = replace(schedule.spec.template, execute_at=row.timer.spec.execute_at)
    return replace(row, timer=replace(row.timer, spec=spec, updated_at=now))


def _standing(rows: Sequence[Row], now: datetime) -> Standing:
    planned = [row for row in rows if row.occurrence and row.occurrence.schedule_version]
    pending = [_instant_of(row) for row in planned if _is_pending(row)]
    canceled = [row for row in planned if row.timer.status is Status.CANCELED]
    ahead = frozenset(at for at in map(_instant_of, canceled) if at > now)
    begun = [_instant_of(row) for row in planned if not _is_pending(row)]
    return Standing(
        last_begun=max((each for each in begun if each not in ahead), default=None),
        first_overdue=min((each for each in pending if each <= now), default=None),
        pending=len(pending),
        canceled=ahead,
    )


def _is_pending(row: Row) -> bool:
    return row.timer.status is Status.PENDING


def _is_planned(row: Row) -> bool:
    """Whether it has not begun, and is of the rule."""
    return _is_pending(row) and bool(row.occurrence and row.occurrence.schedule_version)


def _instant_of(row: Row) -> datetime:
    return row.occurrence.occurs_at if row.occurrence else row.timer.spec.execute_at


def _place_of(schedule: Schedule) -> tuple[datetime, UUID]:
    return schedule.created_at, schedule.id


def _matches(schedule: Schedule, query: ScheduleQuery) -> bool:
    return (
        schedule.project == query.project
        and (query.status is None or schedule.status is query.status)
        and (query.name is None or schedule.spec.name == query.name)
        and (query.flow_key is None or schedule.flow_key == query.flow_key)
        and has_all(schedule.spec.template.metadata or {}, query.metadata)
    )
