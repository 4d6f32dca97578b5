"""What becomes of late occurrences, and of those that meet an earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Final

from tests.simulation.history import History
from tests.simulation.lateness import expected_s, is_brief, latest
from tests.simulation.occurrence_timers import eased, near, timer_log_of
from tests.simulation.retry_checkers import CLOCK_S
from tests.simulation.schedule_history import OccurrenceLog, ScheduleLog
from tests.simulation.schedule_segments import began_s, due_s
from tests.simulation.schedule_world import ScheduleWorld
from tests.simulation.world import instant, second
from timer_trio.domain.occurrence import is_exclusive
from timer_trio.domain.schedule import CatchUp
from timer_trio.domain.settlement import OVERLAPPED, SKIPPED, SUPERSEDED
from timer_trio.domain.timer import ENDED, Status

SENT_S: Final = 0.5
"""From the claim, at which it is judged, an occurrence is sent within this time."""


def overlap_never_runs_two(world: ScheduleWorld) -> Iterator[str]:
    """None that is skipped while another one is under way begins while one is."""
    for log in world.schedules.values():
        begun = sorted((one for one in log.occurrences.values() if one.sends), key=first_sent_s)
        for before, after in combinations(begun, 2):
            # Another one that is not so is claimed whenever it is due, also right before this.
            at_once_s = 0.0 if is_exclusive(before.id) else SENT_S
            is_apart = ended_s(before) <= first_sent_s(after)
            is_beside = first_sent_s(after) - first_sent_s(before) <= at_once_s and at_once_s
            if is_exclusive(after.id) and not is_apart and not is_beside:
                yield f"{after.id} was sent while {before.id} was under way"


def caught_up_as_told(world: ScheduleWorld) -> Iterator[str]:
    """What is late is sent, skipped or missed as its schedule says, and only what is late."""
    history = eased(world)
    for log in world.schedules.values():
        for one in log.planned:
            superseded_s = superseded_at_s(one)
            if superseded_s is not None and one.tries:
                late_s = first_claim_s(one) - superseded_s
                if late_s > CLOCK_S and not _next_is_canceled(log, one):
                    yield f"{one.id} was sent {late_s:.3f}s after the next one was due"
            yield from _gone_rightly(history, log, one)


def superseded_at_s(one: OccurrenceLog) -> float | None:
    """Say when the next one is due as well; None: this one waits for no other."""
    assert one.row.occurrence is not None
    superseded_at = one.row.occurrence.superseded_at
    if superseded_at is None:
        return None
    return second(superseded_at + (one.row.timer.spec.execute_at - one.occurs_at))


def first_sent_s(one: OccurrenceLog) -> float:
    return min(send.sent_s for send in one.sends)


def first_claim_s(one: OccurrenceLog) -> float:
    """Say by which time the claim was judged of the attempt that was tried first."""
    tried_s = min(each.began_s for each in one.tries)
    return max(claimed.asked_s for claimed in one.claims if claimed.at_s <= tried_s)


def ended_s(one: OccurrenceLog) -> float:
    """Say when it was under way no longer."""
    return next((each.at_s for each in one.statuses if each.status in ENDED), float("inf"))


def _next_is_canceled(log: ScheduleLog, one: OccurrenceLog) -> bool:
    assert one.row.occurrence is not None
    return any(
        other.occurs_at == one.row.occurrence.superseded_at and not other.words
        for other in log.occurrences.values()
        if other.row.timer.status is Status.CANCELED
    )


def _gone_rightly(history: History, log: ScheduleLog, one: OccurrenceLog) -> Iterator[str]:
    """Name what an occurrence has been skipped or deleted for without need."""
    gone_s = one.statuses[-1].at_s
    if one.is_there and not one.words.startswith(SKIPPED):
        return
    latest_s = _latest_s(history, one) if gone_s > due_s(one) else float("inf")
    if not one.is_there and one.claims:
        yield f"{one.id} was deleted, though it had been claimed"
    if not one.is_there and latest_s < gone_s:
        yield f"{one.id} was due at {due_s(one)}, and deleted at {gone_s} before it was sent"
    if one.words == SUPERSEDED and one.is_there:
        yield from _superseded_rightly(log, one, gone_s, latest_s)
    if one.words == OVERLAPPED and not _was_one_under_way(log, one, gone_s):
        yield f"{one.id} was skipped, and no other was under way"


def _latest_s(history: History, one: OccurrenceLog) -> float:
    """Say by when an occurrence must have been sent, if its receiver is prompt."""
    timer_log, around = timer_log_of(one, 0), near(history, one)
    if not is_brief(timer_log):
        return float("inf")
    return latest(around, timer_log, expected_s(around, one.id, timer_log.created))


def _superseded_rightly(
    log: ScheduleLog, one: OccurrenceLog, gone_s: float, latest_s: float
) -> Iterator[str]:
    assert one.row.occurrence is not None
    assert one.version is not None
    following, version = one.row.occurrence.superseded_at, one.version
    timings = [
        each.schedule.spec.timing for each in log.commits if each.schedule.version == version
    ]
    if timings[-1].catch_up is not CatchUp.LATEST or following is None:
        yield f"{one.id} was skipped for the next one, and its schedule catches up with all"
    elif gone_s < second(following) - CLOCK_S:
        yield f"{one.id} was skipped {second(following) - gone_s:.3f}s before the next one was due"
    elif latest_s < second(following) and one.occurs_at > instant(began_s(one)):
        yield f"{one.id} was skipped, and could have been sent until {following}"


def _was_one_under_way(log: ScheduleLog, one: OccurrenceLog, at_s: float) -> bool:
    return any(
        other.status_at(at_s) in {Status.EXECUTING, Status.RETRYING}
        or any(claimed.at_s == at_s for claimed in other.claims)
        for other in log.occurrences.values()
        if other.id != one.id
    )
