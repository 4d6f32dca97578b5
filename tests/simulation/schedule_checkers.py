"""The promises of schedules, stated over a world in which nothing goes on any more.

An occurrence is a timer, so the promises of timers are checked of each as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from json import loads
from typing import Final

from tests.simulation.catch_up_checkers import caught_up_as_told, overlap_never_runs_two
from tests.simulation.history import Verdict
from tests.simulation.occurrence_timers import is_a_timer
from tests.simulation.schedule_history import (
    Commit,
    OccurrenceLog,
    ScheduleAsked,
    ScheduleLog,
    ScheduleRequest,
)
from tests.simulation.schedule_segments import (
    Segment,
    begins,
    is_instant,
    next_to_plan,
    segments,
    was_ended,
)
from tests.simulation.schedule_world import ScheduleWorld
from tests.simulation.world import second
from timer_trio.domain.occurrence import is_exclusive
from timer_trio.domain.schedule import CatchUp, Schedule, ScheduleStatus
from timer_trio.domain.settlement import OVERLAPPED, SKIPPED
from timer_trio.domain.timer import Status

BEGUN: Final = {Status.EXECUTING, Status.RETRYING, Status.COMPLETED, Status.FAILED}
AHEAD_S: Final = 60.0
"""At any time what is due within it has been planned."""


def each_instant_once(world: ScheduleWorld) -> Iterator[str]:
    """Each instant of a rule, while it is followed, is dealt with once: by a timer, or a count."""
    for log in world.schedules.values():
        known = Counter((one.version, one.occurs_at) for one in log.planned)
        yield from (f"{key} of {log.id} is there {n} times" for key, n in known.items() if n > 1)
        missing = 0
        for segment in segments(world, log):
            for moment in segment.instants():
                is_known = (segment.schedule.version, moment) in known
                if not is_known and not _is_dealt_with(log, segment, moment):
                    missing += 1
                    if not _may_have_no_timer(log, segment, moment):
                        yield f"{moment} of {log.id} has no timer, and need not be skipped"
        if missing > log.last.unplanned:
            yield f"{missing} instants of {log.id} have no timer, {log.last.unplanned} are counted"


def nothing_beside_the_rule(world: ScheduleWorld) -> Iterator[str]:
    """Occurrences are at instants of their version's rule, and after what has begun before it."""
    for log in world.schedules.values():
        rules = {commit.schedule.version: commit.schedule for commit in log.commits}
        for one in log.planned:
            assert one.version is not None
            if not is_instant(rules[one.version], one.occurs_at):
                yield f"{one.occurs_at} is no instant of version {one.version} of {log.id}"
        for segment in segments(world, log):
            yield from _begins_rightly(log, segment)


def nothing_after_an_answer(world: ScheduleWorld) -> Iterator[str]:
    """What was pending when a change, a pause or an end was written is not sent after it.

    What was executing then may be; and what was retrying, unless the schedule was ended.
    """
    for log in world.schedules.values():
        for one in log.occurrences.values():
            for claimed in one.claims:
                then = log.at(claimed.at_s)
                since_s = _since_s(world, log, claimed.at_s)
                if one.status_at(since_s) is Status.EXECUTING:
                    continue
                is_first = claimed.attempt == 1 and one.version is not None
                if _is_ended(world, log, since_s):
                    yield f"{one.id} was claimed at {claimed.at_s}, after its schedule had ended"
                elif is_first and then.status is ScheduleStatus.PAUSED:
                    yield f"{one.id} was claimed at {claimed.at_s}, while its schedule was paused"
                elif is_first and then.version != one.version:
                    yield f"{one.id} of version {one.version} was claimed under {then.version}"


def canceled_is_not_sent(world: ScheduleWorld) -> Iterator[str]:
    """An occurrence that was canceled by itself is not sent after that."""
    for request in acknowledged(world, ScheduleAsked.CANCEL):
        assert request.timer_id is not None
        one = world.occurrence(request.timer_id)
        if one and any(send.sent_s > request.answered_s for send in one.sends):
            yield f"{one.id} was sent after it had been canceled"
        if one is None or one.row.timer.status is not Status.CANCELED:
            yield f"{request.timer_id} is not canceled, though that was acknowledged"


def acknowledged_is_written(world: ScheduleWorld) -> Iterator[str]:
    """What a consumer was told is done was written before it was told."""
    statuses = {
        ScheduleAsked.PAUSE: {ScheduleStatus.PAUSED},
        ScheduleAsked.RESUME: {ScheduleStatus.ACTIVE, ScheduleStatus.ENDED},
        ScheduleAsked.END: {ScheduleStatus.ENDED},
    }
    for request in acknowledged(world, *statuses, ScheduleAsked.CREATE, ScheduleAsked.CHANGE):
        written = [
            commit.schedule
            for commit in _log_of(world, request).commits
            if request.asked_s <= commit.at_s <= request.answered_s
        ]
        if not any(
            each.status in statuses.get(request.asked, {each.status})
            and (request.spec is None or each.spec == request.spec)
            for each in written
        ):
            yield f"{request} was acknowledged, and not written"


def sent_as_told(world: ScheduleWorld) -> Iterator[str]:
    """An occurrence of the rule asks for what the schedule said when it was claimed first."""
    for log in world.schedules.values():
        for one in log.planned:
            told = {each.version for each in one.tries}
            first = next((each for each in one.claims if each.before is Status.PENDING), None)
            if told and first and told != {template_version(log.at(first.at_s))}:
                yield f"{one.id} was sent as versions {told}"


def counts_agree(world: ScheduleWorld) -> Iterator[str]:
    """What a schedule counts is what there is, and never more than it may have."""
    for log in world.schedules.values():
        there, last = [one for one in log.planned if one.is_there], log.last
        if last.instants != len(there) + last.unplanned:
            yield f"{log.id} counts {last.instants}, not {len(there)} and {last.unplanned}"
        skipped = sum(
            one.is_there and one.words.startswith(SKIPPED) for one in log.occurrences.values()
        )
        if log.facts and log.facts.skipped != skipped:
            yield f"{log.id} says that it skipped {log.facts.skipped}, not {skipped}"
        for before, after in pairwise(commit.schedule for commit in log.commits):
            most = after.spec.timing.max_occurrences
            if most is not None and after.instants > max(most, before.instants):
                yield f"{log.id} counts {after.instants} instants, {most} allowed"


def planned_ahead(world: ScheduleWorld) -> Iterator[str]:
    """At the end what is active is planned ahead; what nobody ended has no instants."""
    for log in world.schedules.values():
        schedule = log.at(world.ended_s)
        if schedule.status is ScheduleStatus.ACTIVE:
            following = next_to_plan(schedule)
            if following and second(following) < world.ended_s + AHEAD_S:
                yield f"{log.id} is planned to {schedule.planned_to} only"
        for commit in log.commits:
            is_over = commit.schedule.status is ScheduleStatus.ENDED
            if is_over and next_to_plan(commit.schedule) and not was_ended(world, log, commit):
                yield f"{log.id} has ended, and nobody has asked for that"


def asked_for_fires(world: ScheduleWorld) -> Iterator[str]:
    """An occurrence that was asked for beside the rule fires, or says why not."""
    asked = acknowledged(world, ScheduleAsked.TRIGGER)
    for request in asked:
        assert request.timer_id is not None
        if world.occurrence(request.timer_id) is None:
            yield f"{request.timer_id} was acknowledged, and is not there"
    for log in world.schedules.values():
        for one in log.occurrences.values():
            if one.version is None and not (one.sends or one.tries or _has_reason(world, log, one)):
                yield f"{one.id} was asked for, and is {one.row.timer.status}: {one.words}"


SCHEDULE_CHECKERS: Final[tuple[Callable[[ScheduleWorld], Iterator[str]], ...]] = (
    each_instant_once,
    nothing_beside_the_rule,
    nothing_after_an_answer,
    canceled_is_not_sent,
    acknowledged_is_written,
    sent_as_told,
    overlap_never_runs_two,
    caught_up_as_told,
    counts_agree,
    planned_ahead,
    asked_for_fires,
    is_a_timer,
)


def broken_schedule_promises(world: ScheduleWorld) -> list[str]:
    """Name all that is wrong with a history of schedules."""
    return [
        f"{checker.__name__}: {violation}"
        for checker in SCHEDULE_CHECKERS
        for violation in checker(world)
    ]


def acknowledged(world: ScheduleWorld, *asked: ScheduleAsked) -> list[ScheduleRequest]:
    return [
        request
        for request in world.requests
        if request.asked in asked and request.verdict is Verdict.ACKNOWLEDGED
    ]


def template_version(schedule: Schedule) -> int:
    """Read from a template's payload which one it is."""
    return int(loads(schedule.spec.template.callback.payload or "")["version"])


def _log_of(world: ScheduleWorld, request: ScheduleRequest) -> ScheduleLog:
    assert request.schedule_id is not None
    return world.schedules[request.schedule_id]


def _is_dealt_with(log: ScheduleLog, segment: Segment, moment: datetime) -> bool:
    """Tell whether an instant had been canceled by itself, or a later one had begun before it."""
    at_s = segment.first.at_s
    return any(
        (one.occurs_at == moment and one.status_at(at_s) is Status.CANCELED)
        or (one.occurs_at >= moment and one.status_at(at_s) in BEGUN)
        for one in log.planned
    )


def _may_have_no_timer(log: ScheduleLog, segment: Segment, moment: datetime) -> bool:
    """Tell whether an instant was so late when it was planned that it is only counted."""
    commits = [each for each in log.commits if segment.first.at_s <= each.at_s <= segment.ended_s]
    return any(
        before.schedule.planned_to < moment <= after.schedule.planned_to
        and after.schedule.unplanned > before.schedule.unplanned
        and _is_too_late(after, moment)
        for before, after in pairwise(commits)
    )


def _is_too_late(planned: Commit, moment: datetime) -> bool:
    grace_s = planned.schedule.spec.template.misfire_grace_s
    is_missed = grace_s is not None and planned.at_s > second(moment) + grace_s
    is_latest = planned.schedule.spec.timing.catch_up is CatchUp.LATEST
    return is_missed or (is_latest and planned.at_s > second(moment))


def _begins_rightly(log: ScheduleLog, segment: Segment) -> Iterator[str]:
    """Name what a rule repeats that has begun, or makes up of a pause."""
    at_s = segment.first.at_s
    before = [one for one in log.planned if min(begins(one)) < at_s]
    statuses = {one.id: one.status_at(at_s - 1e-9) for one in before}
    begun = [one.occurs_at for one in before if statuses[one.id] in BEGUN]
    last_begun = max(begun, default=None)
    overdue = [one.occurs_at for one in before if statuses[one.id] is Status.PENDING]
    first = min([segment.schedule.updated_at, *([] if segment.is_resumed else overdue)])
    for one in log.planned:
        if at_s not in begins(one):
            continue
        if last_begun is not None and one.occurs_at <= last_begun:
            yield f"{one.occurs_at} of {log.id} is planned anew, and {last_begun} has begun"
        if one.occurs_at < first:
            yield f"{one.occurs_at} of {log.id} is made up, and its rule began at {first}"


def _since_s(world: ScheduleWorld, log: ScheduleLog, at_s: float) -> float:
    """Say since when a schedule has been as it was at an instant: active, paused, of a version."""
    since_s = log.commits[0].at_s
    for before, after in pairwise(each for each in log.commits if each.at_s <= at_s):
        is_ended = _is_ended(world, log, after.at_s) and not _is_ended(world, log, before.at_s)
        was, becomes = before.schedule, after.schedule
        if is_ended or was.version != becomes.version or was.status is not becomes.status:
            since_s = after.at_s
    return since_s


def _is_ended(world: ScheduleWorld, log: ScheduleLog, at_s: float) -> bool:
    """Tell whether somebody had ended a schedule by then: what has no more instants may fire."""
    then = log.at(at_s)
    return then.status is ScheduleStatus.ENDED and any(
        each.at_s <= at_s
        and each.schedule.status is ScheduleStatus.ENDED
        and was_ended(world, log, each)
        for each in log.commits
    )


def _has_reason(world: ScheduleWorld, log: ScheduleLog, one: OccurrenceLog) -> bool:
    """Tell whether an occurrence says why it was not sent, or was canceled by its consumer."""
    if one.row.timer.status is Status.CANCELED and not one.words:
        canceled = any(each.timer_id == one.id for each in world.requests)
        return canceled or _is_ended(world, log, float("inf"))
    is_skipped = one.words == OVERLAPPED and is_exclusive(one.id)
    return is_skipped or one.words.startswith(("missed", "outcome unknown"))
