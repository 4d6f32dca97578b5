"""Which occurrences of a schedule are written next, and when it must be looked at again.

Pure: a `Calendar` says which instants the rule has, since calendars are libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple

from timer_trio.domain.errors import ScheduleEndedError
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.jitter import jittered
from timer_trio.domain.occurrence import occurrence_id
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.schedule import (
    CatchUp,
    NewOccurrence,
    PendingFate,
    Plan,
    Schedule,
    ScheduleChange,
    ScheduleId,
    ScheduleSpec,
    ScheduleStatus,
    Standing,
)
from timer_trio.domain.schedule_rule import Bounds, EveryRule, Rule
from timer_trio.domain.settlement import SUPERSEDED

WINDOW: Final = timedelta(minutes=10)
"""How far ahead occurrences are written; where there is none within it, the next one is."""
LEAST_LEAD: Final = timedelta(minutes=3)
LEAD_SPREAD: Final = timedelta(minutes=4)
"""An instant is planned so long before it at least, and up to so much earlier, as the schedule's id
says: those of one rule would else all be planned at once."""
MAX_INSTANTS: Final = 250
"""Of one schedule, in one go: some five milliseconds."""
MAX_SKIPPED: Final = 100
"""Of those that are skipped in one go the newest become timers that say so; others are counted."""
SHOWN_INSTANTS: Final = 5
_INSTANT: Final = timedelta(microseconds=1)


class Calendar(NamedTuple):
    """Which instants rules have, by one release of the zone data."""

    instants: Callable[[Rule, Bounds, datetime], Iterable[datetime]]
    """Those of a rule that come after an instant, ascending."""
    zone_data: str

    def after(self, schedule: Schedule, instant: datetime) -> Iterable[datetime]:
        """Return the instants of a schedule's rule that come after an instant, ascending."""
        return self.instants(schedule.spec.timing.rule, schedule.bounds, instant)


class _Step(NamedTuple):
    """An instant of a rule, and the one after it; None: there is none."""

    instant: datetime
    following: datetime | None


def new_schedule(
    schedule_id: ScheduleId,
    spec: ScheduleSpec,
    now: datetime,
    project: ProjectId = DEFAULT_PROJECT,
    flow_key: FlowKey | None = None,
) -> Schedule:
    """Return a schedule that is active from `now` on, and of which nothing is planned yet."""
    return Schedule(
        id=schedule_id,
        project=project,
        flow_key=flow_key,
        created_at=now,
        updated_at=now,
        status=ScheduleStatus.ACTIVE,
        version=1,
        spec=spec,
        planned_to=now - _INSTANT,
        plan_at=now,
    )


def plan(
    schedule: Schedule,
    calendar: Calendar,
    now: datetime,
    canceled: Collection[datetime] = (),
) -> Plan:
    """Decide what to write of an active schedule: up to WINDOW from now, and at least one ahead.

    What is late is skipped as its `catch_up` says, and if it is beyond the grace of its timers;
    `canceled` are instants that are left out.
    """
    taken, following = _take(schedule, calendar, now, canceled)
    steps = [*map(_Step, taken, [*taken[1:], following])]
    counted = [step for step in steps if _is_beyond_grace(schedule, step, now)]
    skipped = [step for step in steps[len(counted) :] if _is_superseded(schedule, step, now)]
    told = skipped[-MAX_SKIPPED:]
    first_told = len(counted) + len(skipped) - len(told)
    left_out = [each for each in canceled if following is None or each < following]
    planned_to = max([schedule.planned_to, *taken[-1:], *left_out])
    plan_at = _plan_at(schedule.id, planned_to, following, now)
    return Plan(
        planned_from=schedule.planned_to,
        schedule=replace(
            schedule,
            status=schedule.status if plan_at else ScheduleStatus.ENDED,
            updated_at=schedule.updated_at if plan_at else now,
            planned_to=planned_to,
            plan_at=plan_at,
            instants=schedule.instants + len(taken),
            unplanned=schedule.unplanned + first_told,
            zone_data=calendar.zone_data if _knows_zone(schedule) else None,
        ),
        occurrences=[
            _occurrence(schedule, step, now, skipped=SUPERSEDED if place < len(told) else None)
            for place, step in enumerate(steps[first_told:])
        ],
        skipped=len(counted) + len(skipped),
    )


def changed(
    schedule: Schedule, standing: Standing, spec: ScheduleSpec, now: datetime, calendar: Calendar
) -> ScheduleChange:
    """Decide what becomes of a schedule that is to be `spec` from now on.

    A change of what says when is a new version, which goes on after what has begun.

    Raises:
        ScheduleEndedError: it has ended.
    """
    _require_live(schedule)
    new = replace(schedule, spec=spec, updated_at=now)
    if spec.timing == schedule.spec.timing:
        return ScheduleChange(schedule=new, pending=PendingFate.CHANGED)
    new = replace(new, version=schedule.version + 1)
    return _anew(new, standing, now, calendar)


def paused(schedule: Schedule, standing: Standing, now: datetime) -> ScheduleChange:
    """Decide what becomes of a schedule that is to pause: nothing of it is pending any more.

    Raises:
        ScheduleEndedError: it has ended.
    """
    _require_live(schedule)
    if schedule.status is ScheduleStatus.PAUSED:
        return ScheduleChange(schedule=schedule, pending=PendingFate.KEPT)
    new = replace(schedule, status=ScheduleStatus.PAUSED, updated_at=now)
    return _without_plan(new, standing)


def resumed(
    schedule: Schedule, standing: Standing, now: datetime, calendar: Calendar
) -> ScheduleChange:
    """Decide what becomes of a paused schedule that is to go on: nothing of the pause is made up.

    Raises:
        ScheduleEndedError: it has ended.
    """
    _require_live(schedule)
    if schedule.status is ScheduleStatus.ACTIVE:
        return ScheduleChange(schedule=schedule, pending=PendingFate.KEPT)
    new = replace(schedule, status=ScheduleStatus.ACTIVE, last_error=None, updated_at=now)
    # What a claim has given back in the pause is overdue, and the pause comes after it.
    return _anew(new, replace(standing, first_overdue=None), now, calendar)


def ended(schedule: Schedule, now: datetime) -> ScheduleChange:
    """Decide what becomes of a schedule that is to end: all that has not been sent is canceled."""
    if schedule.status is ScheduleStatus.ENDED:
        return ScheduleChange(schedule=schedule, pending=PendingFate.CANCELED)
    new = replace(schedule, status=ScheduleStatus.ENDED, plan_at=None, updated_at=now)
    return ScheduleChange(schedule=new, pending=PendingFate.CANCELED)


def replanned(
    schedule: Schedule, standing: Standing, now: datetime, calendar: Calendar
) -> ScheduleChange:
    """Decide what becomes of a schedule whose rule has other instants now, as zones have changed.

    What has still its instant keeps its timer.
    """
    if schedule.status is not ScheduleStatus.ACTIVE:
        return ScheduleChange(schedule=schedule, pending=PendingFate.KEPT)
    return _anew(schedule, standing, now, calendar)


def upcoming(schedule: Schedule, pending: int, calendar: Calendar, now: datetime) -> list[datetime]:
    """Return the next instants of an active schedule, of which `pending` are timers already."""
    if schedule.status is not ScheduleStatus.ACTIVE:
        return []
    most, at_most = schedule.spec.timing.max_occurrences, SHOWN_INSTANTS
    if most is not None:
        at_most = min(at_most, max(0, most - schedule.instants + pending))
    return [*islice(calendar.after(schedule, now), at_most)]


def next_instant(schedule: Schedule, calendar: Calendar, now: datetime) -> datetime | None:
    """Return the next instant of an active schedule, whatever of it is a timer already."""
    if schedule.status is not ScheduleStatus.ACTIVE:
        return None
    instant = next(iter(calendar.after(schedule, now)), None)
    most = schedule.spec.timing.max_occurrences
    is_planned = instant is not None and instant <= schedule.planned_to
    return instant if most is None or is_planned or schedule.instants < most else None


def _require_live(schedule: Schedule) -> None:
    if schedule.status is ScheduleStatus.ENDED:
        raise ScheduleEndedError


def _anew(
    schedule: Schedule, standing: Standing, now: datetime, calendar: Calendar
) -> ScheduleChange:
    """Plan from what has begun, in place of all that has not; a paused schedule plans nothing."""
    if schedule.status is ScheduleStatus.PAUSED:
        return _without_plan(schedule, standing)
    new = replace(
        schedule,
        planned_to=_goes_on_after(standing, now),
        instants=schedule.instants - standing.pending,
    )
    planned = plan(new, calendar, now, standing.canceled)
    return ScheduleChange(
        schedule=planned.schedule, pending=PendingFate.REPLACED, occurrences=planned.occurrences
    )


def _without_plan(schedule: Schedule, standing: Standing) -> ScheduleChange:
    new = replace(schedule, plan_at=None, instants=schedule.instants - standing.pending)
    return ScheduleChange(schedule=new, pending=PendingFate.REPLACED)


def _goes_on_after(standing: Standing, now: datetime) -> datetime:
    """Return the instant after which the next one is to be planned: what is late is not lost."""
    first = min(now, standing.first_overdue or now) - _INSTANT
    return max(first, standing.last_begun or first)


def _take(
    schedule: Schedule, calendar: Calendar, now: datetime, canceled: Collection[datetime]
) -> tuple[list[datetime], datetime | None]:
    """Return the instants to deal with, and the one after them; None: there is none."""
    most, at_most = schedule.spec.timing.max_occurrences, MAX_INSTANTS
    left = None if most is None else max(0, most - schedule.instants)
    after = calendar.after(schedule, schedule.planned_to)
    rest = iter(islice((each for each in after if each not in canceled), left))
    taken: list[datetime] = []
    planned_to, until = schedule.planned_to, now + WINDOW
    following = next(rest, None)
    while following is not None and len(taken) < at_most:
        if following > until and planned_to > now:
            break
        planned_to = following
        taken.append(following)
        following = next(rest, None)
    return taken, following


def _knows_zone(schedule: Schedule) -> bool:
    return not isinstance(schedule.spec.timing.rule, EveryRule)


def _is_beyond_grace(schedule: Schedule, step: _Step, now: datetime) -> bool:
    grace_s = schedule.spec.template.misfire_grace_s
    return grace_s is not None and now - step.instant > timedelta(seconds=grace_s)


def _is_superseded(schedule: Schedule, step: _Step, now: datetime) -> bool:
    is_latest = schedule.spec.timing.catch_up is CatchUp.LATEST
    return is_latest and step.following is not None and step.following <= now


def _plan_at(
    schedule_id: ScheduleId, planned_to: datetime, following: datetime | None, now: datetime
) -> datetime | None:
    if following is None:
        return planned_to if planned_to > now else None
    if planned_to <= now:
        return now  # there was more than fits in one go
    share = (schedule_id.int >> 8 & 0xFFFF) / 0x1_0000
    return max(now, min(planned_to, following - LEAST_LEAD - LEAD_SPREAD * share))


def _occurrence(
    schedule: Schedule, step: _Step, now: datetime, *, skipped: str | None
) -> NewOccurrence:
    timing = schedule.spec.timing
    timer_id = occurrence_id(schedule.id, schedule.version, step.instant, timing.overlap)
    execute_at = step.instant
    if timing.jitter_s:
        execute_at = jittered(step.instant, timer_id, timing.jitter_s)
    return NewOccurrence(
        timer=schedule.new_timer(timer_id, execute_at, now),
        schedule_id=schedule.id,
        version=schedule.version,
        instant=step.instant,
        superseded_at=step.following if timing.catch_up is CatchUp.LATEST else None,
        skipped=skipped,
    )
