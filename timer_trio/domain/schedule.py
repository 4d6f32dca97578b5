"""What a schedule is: a rule, and what each of its occurrences has of a timer.

Theory of operation. Each occurrence is a timer, written ahead of its instant by whoever owns the
schedule's shard, under an id that schedule, version and instant determine: planning twice writes
once. `planned_to` says up to where the rule's instants have been dealt with. A change of what says
when raises the version, takes away what has not begun, and plans anew; so nothing of an older
version is pending once it is answered.

Every instant is a timezone-aware UTC datetime by the database's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, NewType
from uuid import UUID

from timer_trio.domain.flow import FlowKey
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import JsonScalar, Position
from timer_trio.domain.schedule_rule import Bounds, Rule
from timer_trio.domain.timer import DueTimer, NewTimer, Timer, TimerId, TimerSpec, due_timer

ScheduleId = NewType("ScheduleId", UUID)


class ScheduleStatus(StrEnum):
    """An active schedule is planned ahead; a paused one is not; one that has ended stays so."""

    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"


class CatchUp(StrEnum):
    """What becomes of occurrences that are late because the service or its database was away."""

    LATEST = "latest"
    """One is skipped if the next one is due as well."""
    ALL = "all"
    """Each fires that is within its grace."""


class Overlap(StrEnum):
    """What becomes of an occurrence while an earlier one is executing or retrying."""

    ALLOW = "allow"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What says when a schedule's occurrences are: a change of it is a new version."""

    rule: Rule
    start_at: datetime | None = None
    """Nothing before it, and where the rule counts from; None: the schedule's creation."""
    end_at: datetime | None = None
    """Nothing after it."""
    max_occurrences: int | None = None
    """How many instants of the rule there are, those included that are skipped; None: all."""
    catch_up: CatchUp = CatchUp.LATEST
    overlap: Overlap = Overlap.ALLOW
    jitter_s: float = 0.0
    """Each occurrence is later by up to so much, which its id determines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """What the consumer asked for: the writable part of a schedule."""

    name: str | None
    timing: Timing
    template: TimerSpec
    """What each occurrence asks for; its own `execute_at` says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A whole schedule."""

    id: ScheduleId
    project: ProjectId = DEFAULT_PROJECT
    """Whose it is, and its occurrences."""
    created_at: datetime
    updated_at: datetime
    status: ScheduleStatus
    version: int
    spec: ScheduleSpec
    planned_to: datetime
    """All instants of the rule up to here have been dealt with: planned, or skipped."""
    plan_at: datetime | None
    """When the next ones must be planned; None while there is nothing to plan."""
    instants: int = 0
    """How many have been dealt with."""
    unplanned: int = 0
    """How many of them have no timer: they were skipped."""
    zone_data: str | None = None
    """The version of the zone data that it was planned with; None: its rule knows no zone."""
    last_error: str | None = None
    """Why the service has paused it."""
    flow_key: FlowKey | None = None
    """The flow that its occurrences are in, whose shard its id must say; None: in none."""

    @property
    def bounds(self) -> Bounds:
        """Where its rule counts from, and ends."""
        timing = self.spec.timing
        return Bounds(
            anchor=timing.start_at or self.created_at,
            starts_at_anchor=timing.start_at is not None,
            end_at=timing.end_at,
        )

    def new_timer(self, timer_id: TimerId, due_at: datetime, now: datetime) -> NewTimer:
        """Return the timer of one of its occurrences, created `now`."""
        return NewTimer(
            id=timer_id,
            created_at=now,
            spec=replace(self.spec.template, execute_at=due_at),
            project=self.project,
            flow_key=self.flow_key,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOccurrence:
    """A timer to be written for one instant of a schedule."""

    timer: NewTimer
    schedule_id: ScheduleId
    version: int | None
    """None: somebody asks for it beside the rule."""
    instant: datetime
    superseded_at: datetime | None = None
    """The next instant, at which this one is skipped if it has not begun; None: it never is."""
    skipped: str | None = None
    """Why it is skipped already, in words for `last_error`; None: it is pending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be written of a schedule: occurrences, and how far its instants are dealt with.

    It holds if the schedule is active, has still this version, and is planned to `planned_from`.
    """

    schedule: Schedule
    """As it will be."""
    planned_from: datetime
    occurrences: Sequence[NewOccurrence]
    skipped: int
    """How many instants it skips, those included that become no timer."""


class PendingFate(StrEnum):
    """What a change makes of the planned occurrences that have not begun."""

    KEPT = "kept"

    REPLACED = "replaced"
    """Those that the new plan does not hold are deleted."""
    CHANGED = "changed"
    """They keep their instants, and ask for what the template says now."""
    CANCELED = "canceled"
    """They are canceled, and so are those beside the rule and those that are retrying."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleChange:
    """What a schedule is to be from now on, and its occurrences."""

    schedule: Schedule
    pending: PendingFate
    occurrences: Sequence[NewOccurrence] = ()


class Changed(NamedTuple):
    """A change that is written, and how many occurrences it has deleted."""

    change: ScheduleChange
    removed: int


def due_occurrences(occurrences: Iterable[NewOccurrence]) -> Iterator[DueTimer]:
    """Yield what is pending of new occurrences, as the cache knows timers."""
    return (due_timer(each.timer) for each in occurrences if each.skipped is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a schedule's occurrences are at the moment of a change, those of its rule alone.

    `last_begun` is the latest instant that has begun, or was canceled by itself and is past,
    `first_overdue` the first one that has not begun although its instant is past, `pending` counts
    those not begun. `canceled` are instants still to come that were canceled by themselves.
    """

    last_begun: datetime | None
    first_overdue: datetime | None
    pending: int
    canceled: frozenset[datetime] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFacts:
    """What a schedule has done, for whoever looks at it.

    `last_occurrence` is the latest one that has begun or ended, `pending` counts those that have
    not begun, `skipped` those timers that were skipped.
    """

    last_occurrence: Timer | None
    pending: int
    skipped: int


class UnreadableSchedule(NamedTuple):
    """A schedule whose row makes none, and why, in words."""

    id: ScheduleId
    version: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleQuery:
    """A page of schedules, the newest first, behind `after`; None asks for nothing.

    `metadata` is as in a TimerFilter.
    """

    project: ProjectId = DEFAULT_PROJECT
    """Whose: nobody sees the schedules of several."""
    status: ScheduleStatus | None = None
    name: str | None = None
    flow_key: FlowKey | None = None
    metadata: Mapping[str, Sequence[JsonScalar]] = field(default_factory=dict)
    limit: int = 50
    after: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePage:
    """`next` is None on the last page."""

    schedules: Sequence[Schedule]
    next: Position | None
