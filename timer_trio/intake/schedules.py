"""What consumers do with schedules: it is written, and what is near is offered to be fired."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeVar

import trio

from timer_trio.calendar import RuleError, check_rule
from timer_trio.clock import Clock
from timer_trio.cluster.releases import Releases
from timer_trio.domain.errors import (
    CreateUnknownError,
    ScheduleCreateUnknownError,
    ScheduleEndedError,
    ScheduleNameTakenError,
    ScheduleNotFoundError,
    StorageUnavailableError,
)
from timer_trio.domain.flow import FlowKey, refuse_other_flow
from timer_trio.domain.keys import FirstAnswer
from timer_trio.domain.occurrence import BACKFILL, extra_occurrence_id, occurrence_id
from timer_trio.domain.planning import (
    Calendar,
    changed,
    ended,
    new_schedule,
    paused,
    plan,
    resumed,
    upcoming,
)
from timer_trio.domain.project import ProjectId
from timer_trio.domain.schedule import (
    NewOccurrence,
    Plan,
    Schedule,
    ScheduleChange,
    ScheduleFacts,
    ScheduleId,
    ScheduleSpec,
    ScheduleStatus,
    Standing,
    due_occurrences,
)
from timer_trio.domain.schedule_rule import field_of
from timer_trio.domain.timer import DueTimer, TimerSummary, new_timer_id
from timer_trio.intake.intake import CREATE_DEADLINE_S, OFFER_SLICE, new_summary
from timer_trio.intake.places import Places
from timer_trio.storage.group_commit import repeat_until_answered
from timer_trio.storage.protocols import ScheduleBook

Reply = TypeVar("Reply")

_INSTANT: Final = timedelta(microseconds=1)


class Shown(NamedTuple):
    """A schedule as its consumer sees it: with what it did, and the instants that come next."""

    schedule: Schedule
    facts: ScheduleFacts
    next: Sequence[datetime]


class Written(NamedTuple):
    schedule: Schedule
    is_new: bool


class Backfill(NamedTuple):
    """Instants of the past, both ends included, of which `limit` are wanted, so far apart."""

    first: datetime
    last: datetime
    limit: int
    spacing: timedelta


class Backfilled(NamedTuple):
    """How many occurrences are new, and the first instant that was beyond the limit, if one was."""

    created: int
    next: datetime | None


class Schedules:
    """Writes what consumers ask of schedules.

    `offer` gets what is near, for whoever is to fire it, and `expect` when the planner is to go on.
    """

    def __init__(
        self,
        *,
        storage: ScheduleBook,
        clock: Clock,
        calendar: Calendar,
        offer: Callable[[Iterable[DueTimer]], None],
        expect: Callable[[datetime], None],
        releases: Releases,
        places: Places,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._calendar = calendar
        self._offer = offer
        self._expect = expect
        self._releases = releases
        self._places = places
        self._random_bits = random_bits

    def new(
        self,
        spec: ScheduleSpec,
        now: datetime,
        project: ProjectId,
        flow_key: FlowKey | None = None,
    ) -> Plan:
        """Return a schedule with an id of its own, and its first occurrences; nothing is written.

        Raises:
            RuleError: its rule has no instants, or cannot be read.
            SeveralCellsError: its name is of another cell than its flow.
        """
        schedule_id = self._new_id(spec.name, now, project, flow_key)
        schedule = new_schedule(schedule_id, spec, now, project, flow_key)
        check_rule(spec.timing.rule, schedule.bounds)
        new = plan(schedule, self._calendar, now)
        if new.schedule.status is ScheduleStatus.ENDED:
            raise RuleError(field_of(spec.timing.rule), "has no instant from now on")
        return new

    def show_new(self, new: Plan) -> Shown:
        """Return a schedule as it is shown once it is written."""
        pending = sum(each.skipped is None for each in new.occurrences)
        facts = ScheduleFacts(last_occurrence=None, pending=pending, skipped=0)
        return Shown(new.schedule, facts, self.next_of(new.schedule, pending))

    async def create(
        self, new: Plan, keyed: tuple[str, FirstAnswer] | None = None
    ) -> FirstAnswer | None:
        """Write a new schedule; it is durable when this returns.

        With an idempotency key, and what is to be answered if the key is free: returns what the
        key stands for.

        Raises:
            ScheduleNameTakenError: another one that has not ended has its name.
            RowRefusedError: the database refuses a value.
            OlderReplicasError: replicas are alive that know of no schedules.
            ScheduleCreateUnknownError: it was not answered in time, and may be there or not.
        """
        await self._releases.require_all_new()
        schedule = new.schedule
        first = await _answered(
            lambda: self._storage.create_schedule(
                schedule, new.occurrences, self._clock.now(), keyed
            ),
            ScheduleCreateUnknownError(schedule.id),
        )
        if first is None or schedule.id in first.timer_ids:
            await self._hand_on(schedule, new.occurrences)
        return first

    async def show(self, schedule_id: ScheduleId, project: ProjectId) -> Shown:
        """Read a schedule, what it did, and what it will do.

        Raises:
            ScheduleNotFoundError: there is none.
        """
        schedule = await self._storage.schedule(schedule_id, project)
        facts = await self._storage.schedule_facts(schedule_id, project)
        return Shown(schedule, facts, self.next_of(schedule, facts.pending))

    def next_of(self, schedule: Schedule, pending: int) -> Sequence[datetime]:
        """Return the instants that come next, of which `pending` are timers already."""
        return upcoming(schedule, pending, self._calendar, self._clock.now())

    async def change(
        self,
        schedule_id: ScheduleId,
        change: Callable[[ScheduleSpec], ScheduleSpec],
        project: ProjectId,
        flow_key: FlowKey | None = None,
    ) -> Schedule:
        """Change what is asked for; once this returns nothing of an older rule is pending.

        `flow_key` is the flow that it is said to be in; None: nothing is said. `change` may be
        called in a thread, and more than once; what it raises is raised here.

        Raises:
            RuleError: its rule has no instants then, or cannot be read; nothing was changed.
            FlowFixedError: it is not in that flow; nothing was changed.
            SeveralCellsError: its new name is of another cell; nothing was changed.
            ScheduleNotFoundError, ScheduleEndedError, ScheduleNameTakenError, RowRefusedError:
                nothing was changed.
            StorageUnavailableError: it may have been changed or not.
        """
        now = self._clock.now()

        def decide(schedule: Schedule, standing: Standing) -> ScheduleChange:
            refuse_other_flow(schedule.flow_key, flow_key)
            spec = change(schedule.spec)
            if spec.timing != schedule.spec.timing:
                check_rule(spec.timing.rule, replace(schedule, spec=spec).bounds)
            return changed(schedule, standing, spec, now, self._calendar)

        return await self._change(schedule_id, decide, now, project)

    async def put_named(
        self,
        name: str,
        spec: ScheduleSpec,
        now: datetime,
        project: ProjectId,
        flow_key: FlowKey | None = None,
    ) -> Written:
        """Write a new schedule under its name, or make the one that has it this one.

        Raises:
            FlowFixedError: as `change`.
            RuleError, RowRefusedError, OlderReplicasError, ScheduleCreateUnknownError: as `create`.
            StorageUnavailableError: it may have been changed or not.
        """
        while True:
            known = await self._storage.schedule_named(name, project)
            try:
                if known is None:
                    new = self.new(spec, now, project, flow_key)
                    await self.create(new)
                    return Written(new.schedule, is_new=True)
                schedule = await self.change(known, lambda _: spec, project, flow_key)
                return Written(schedule, is_new=False)
            except (ScheduleNameTakenError, ScheduleNotFoundError, ScheduleEndedError):
                continue  # somebody else was faster

    async def pause(self, schedule_id: ScheduleId, project: ProjectId) -> Schedule:
        """Pause a schedule; once this returns nothing of its rule is pending.

        Raises:
            ScheduleNotFoundError, ScheduleEndedError: nothing was changed.
            StorageUnavailableError: it may have been paused or not.
        """
        now = self._clock.now()
        return await self._change(
            schedule_id, lambda schedule, standing: paused(schedule, standing, now), now, project
        )

    async def resume(self, schedule_id: ScheduleId, project: ProjectId) -> Schedule:
        """Have a paused schedule go on; nothing of the pause is made up.

        Raises:
            RuleError: its rule cannot be followed (any more); nothing was changed.
            ScheduleNotFoundError, ScheduleEndedError: nothing was changed.
            StorageUnavailableError: it may have been resumed or not.
        """
        now = self._clock.now()

        def decide(schedule: Schedule, standing: Standing) -> ScheduleChange:
            return resumed(schedule, standing, now, self._calendar)

        return await self._change(schedule_id, decide, now, project)

    async def end(self, schedule_id: ScheduleId, project: ProjectId) -> Schedule:
        """End a schedule, and cancel all of it that waits; one that has ended stays so.

        Raises:
            ScheduleNotFoundError: there is none.
            StorageUnavailableError: it may have been ended or not.
        """
        now = self._clock.now()
        return await self._change(
            schedule_id, lambda schedule, _: ended(schedule, now), now, project
        )

    async def trigger(
        self, schedule_id: ScheduleId, project: ProjectId, max_live: int | None = None
    ) -> TimerSummary:
        """Write an occurrence beside the rule, due now.

        Raises:
            ScheduleNotFoundError, ScheduleEndedError: nothing was written.
            QuotaUsedUpError: the project has `max_live` live timers.
            CreateUnknownError: it was not answered in time, and may be there or not.
        """
        schedule = await self._storage.schedule(schedule_id, project)
        now = self._clock.now()
        overlap = schedule.spec.timing.overlap
        timer_id = extra_occurrence_id(schedule_id, now, overlap, self._random_bits)
        timer = replace(schedule.new_timer(timer_id, now, now), max_live=max_live)
        await self._add(
            [NewOccurrence(timer=timer, schedule_id=schedule_id, version=None, instant=now)]
        )
        return new_summary(timer)

    async def backfill(
        self,
        schedule_id: ScheduleId,
        wanted: Backfill,
        project: ProjectId,
        max_live: int | None = None,
    ) -> Backfilled:
        """Write occurrences of the past, due from now on; the same ones again are not new.

        Raises:
            ScheduleNotFoundError, ScheduleEndedError: nothing was written.
            QuotaUsedUpError: the project has no room for more of them; some may be there.
            StorageUnavailableError: some of them may be there; ask again.
        """
        schedule = await self._storage.schedule(schedule_id, project)
        now = self._clock.now()
        if schedule.status is ScheduleStatus.ENDED:
            raise ScheduleEndedError
        page: list[NewOccurrence] = []
        created, following = 0, None
        instants = self._calendar.after(schedule, wanted.first - _INSTANT)
        for taken, instant in enumerate(instants):
            if instant > wanted.last or taken == wanted.limit:
                following = instant if instant <= wanted.last else None
                break
            occurrence = _of_the_past(schedule, instant, now + taken * wanted.spacing, now)
            page.append(_counting(occurrence, max_live))
            if len(page) == OFFER_SLICE:
                created += await self._add(page)
                page = []
        created += await self._add(page)
        return Backfilled(created, following)

    async def _change(
        self,
        schedule_id: ScheduleId,
        decide: Callable[[Schedule, Standing], ScheduleChange],
        now: datetime,
        project: ProjectId,
    ) -> Schedule:
        change, _ = await self._storage.change_schedule(schedule_id, decide, now, project)
        await self._hand_on(change.schedule, change.occurrences)
        return change.schedule

    async def _hand_on(self, schedule: Schedule, occurrences: Sequence[NewOccurrence]) -> None:
        if schedule.plan_at is not None:
            self._expect(schedule.plan_at)
        await self._offer_all(occurrences)

    async def _add(self, occurrences: Sequence[NewOccurrence]) -> int:
        """Write occurrences beside the rule; answers how many are new."""
        if not occurrences:
            return 0
        schedule_id, first = occurrences[0].schedule_id, occurrences[0].timer
        new = await _answered(
            lambda: self._storage.add_occurrences(
                schedule_id, occurrences, self._clock.now(), first.project
            ),
            CreateUnknownError(first.id),
        )
        await self._offer_all(occurrences)
        return len(new)

    async def _offer_all(self, occurrences: Sequence[NewOccurrence]) -> None:
        """Offer what is pending; cancellation: not before all is offered."""
        with trio.CancelScope(shield=True):
            for start in range(0, len(occurrences), OFFER_SLICE):
                some = occurrences[start : start + OFFER_SLICE]
                self._offer(due_occurrences(some))
                await trio.lowlevel.checkpoint()

    def _new_id(
        self, name: str | None, now: datetime, project: ProjectId, flow_key: FlowKey | None
    ) -> ScheduleId:
        """Return the id of a new schedule: its flow or its name says the shard, or it is ours.

        Raises:
            SeveralCellsError: its name is of another cell than its flow.
        """
        shard = self._places.said(project, flow_key, name)
        if shard is None:
            shard = self._places.choose(own=True)
        return ScheduleId(new_timer_id(now, shard, self._random_bits))


def _of_the_past(
    schedule: Schedule, instant: datetime, due_at: datetime, now: datetime
) -> NewOccurrence:
    overlap = schedule.spec.timing.overlap
    timer_id = occurrence_id(schedule.id, BACKFILL, instant, overlap)
    timer = schedule.new_timer(timer_id, due_at, now)
    return NewOccurrence(timer=timer, schedule_id=schedule.id, version=None, instant=instant)


def _counting(occurrence: NewOccurrence, max_live: int | None) -> NewOccurrence:
    """Return an occurrence that counts, if there is a limit."""
    return replace(occurrence, timer=replace(occurrence.timer, max_live=max_live))


async def _answered(
    call: Callable[[], Awaitable[Reply]], unknown: StorageUnavailableError
) -> Reply:
    """Make the same call until it is answered, or it is not known whether it has been done."""
    with trio.move_on_after(CREATE_DEADLINE_S):
        return await repeat_until_answered(call)
    raise unknown
