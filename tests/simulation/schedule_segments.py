"""The times in which a schedule was active with one rule, as it was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice, pairwise, takewhile
from math import inf
from typing import Final, NamedTuple

from tests.simulation.history import Verdict
from tests.simulation.schedule_history import Commit, OccurrenceLog, ScheduleAsked, ScheduleLog
from tests.simulation.schedule_world import ScheduleWorld
from tests.simulation.world import instant, second
from timer_trio.calendar import instants
from timer_trio.domain.schedule import Schedule, ScheduleStatus

_INSTANT: Final = timedelta(microseconds=1)


class Segment(NamedTuple):
    """From one commit on, and until another, a schedule followed one rule; `last` ends it.

    `planned_to` is how far its instants were dealt with.
    """

    first: Commit
    planned_to: datetime
    ended_s: float
    is_resumed: bool

    @property
    def schedule(self) -> Schedule:
        return self.first.schedule

    def instants(self) -> Sequence[datetime]:
        """List those of the rule that it is to deal with in any case."""
        until = self.planned_to
        if self.ended_s < inf:
            until = min(until, instant(self.ended_s))
        after = instants_of(self.schedule, instant(self.first.at_s))
        return [*takewhile(lambda one: one <= until, after)]


def segments(world: ScheduleWorld, log: ScheduleLog) -> Iterator[Segment]:
    """Yield the times in which a schedule was active with one rule, in their order."""
    first: Commit | None = None
    is_resumed = False
    for before, after in pairwise([None, *log.commits, None]):
        if first and before and (after is None or _breaks(world, log, before, after)):
            ended_s = after.at_s if after else inf
            yield Segment(first, _dealt_with_to(log, before.schedule), ended_s, is_resumed)
            first = None
        if first is None and after and after.schedule.status is ScheduleStatus.ACTIVE:
            first, is_resumed = after, bool(before and _is_paused(before))


def instants_of(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield the instants of its rule after one, in their order."""
    return iter(instants(schedule.spec.timing.rule, schedule.bounds, after))


def is_instant(schedule: Schedule, moment: datetime) -> bool:
    return next(instants_of(schedule, moment - _INSTANT), None) == moment


def next_to_plan(schedule: Schedule) -> datetime | None:
    """Return the first instant that is not dealt with; None: it has had all that it may have."""
    most = schedule.spec.timing.max_occurrences
    left = None if most is None else max(0, most - schedule.instants)
    return next(islice(instants_of(schedule, schedule.planned_to), left), None)


def was_ended(world: ScheduleWorld, log: ScheduleLog, commit: Commit) -> bool:
    """Tell whether somebody has asked for the end that was written then.

    Where that is not known, a rule without further instants has ended by itself.
    """
    verdicts = {Verdict.ACKNOWLEDGED}
    if next_to_plan(commit.schedule):
        verdicts.add(Verdict.UNKNOWN)
    return any(
        request.asked is ScheduleAsked.END
        and request.schedule_id == log.id
        and request.verdict in verdicts
        and request.asked_s <= commit.at_s <= request.answered_s
        for request in world.requests
    )


def begins(one: OccurrenceLog) -> Iterator[float]:
    """Yield when its row was inserted: again, if it had been deleted."""
    for before, after in pairwise([None, *one.statuses]):
        if after and (before is None or before.status is None):
            yield after.at_s


def began_s(one: OccurrenceLog) -> float:
    """Say when its row was inserted at last."""
    return [*begins(one)][-1]


def due_s(one: OccurrenceLog) -> float:
    return second(one.row.timer.spec.execute_at)


def _dealt_with_to(log: ScheduleLog, schedule: Schedule) -> datetime:
    """Say up to where each instant has a timer or a count: not beyond the last it may have."""
    most = schedule.spec.timing.max_occurrences
    if most is None or schedule.instants < most:
        return schedule.planned_to
    rows = [one.row.occurrence for one in log.occurrences.values()]
    version = schedule.version
    own = [row.occurs_at for row in rows if row and row.schedule_version == version]
    return min(schedule.planned_to, max(own, default=schedule.created_at))


def _breaks(world: ScheduleWorld, log: ScheduleLog, before: Commit, after: Commit) -> bool:
    """Tell whether a commit ends a segment; a rule that has no more instants does not."""
    if after.schedule.version != before.schedule.version or _is_paused(after):
        return True
    return after.schedule.status is ScheduleStatus.ENDED and was_ended(world, log, after)


def _is_paused(commit: Commit) -> bool:
    return commit.schedule.status is ScheduleStatus.PAUSED
