"""Occurrences as the timers that they are: what is promised of timers holds for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tests.simulation import checkers
from tests.simulation.history import Asked, History, Request, TimerLog, Trouble, Verdict
from tests.simulation.retry_checkers import attempts_are_told, budget_holds, retried_in_time
from tests.simulation.schedule_history import OccurrenceLog
from tests.simulation.schedule_segments import began_s, due_s
from tests.simulation.schedule_world import ScheduleWorld

FAR_S: Final = 120.0
"""A trouble of single calls has no consequences so much later."""
SCHEDULE_VERBS: Final = ("plan:", "change_schedule:", "create_schedule:", "add_occurrences:")
"""What these have written although their reply was lost a loader finds."""


def is_a_timer(world: ScheduleWorld) -> Iterator[str]:
    """What is promised of timers holds for occurrences."""
    history = eased(world)
    yield from (*world.strays, *checkers.nothing_leaks(history))
    for log in world.schedules.values():
        for number, one in enumerate(log.occurrences.values()):
            if one.is_there:
                alone = replace(near(history, one), timer_logs=[timer_log_of(one, number)])
                yield from (
                    f"{checker.__name__}: {violation} ({one.id})"
                    for checker in TIMER_CHECKERS
                    for violation in checker(alone)
                )


TIMER_CHECKERS: Final = (
    checkers.never_early,
    checkers.hardly_late,
    checkers.nothing_lost,
    checkers.sent_once,
    checkers.outcome_is_true,
    retried_in_time,
    budget_holds,
    attempts_are_told,
)


def timer_log_of(one: OccurrenceLog, number: int) -> TimerLog:
    """Tell of an occurrence as of any timer: it was asked for when it was planned."""
    created_s = began_s(one)
    request = Request(
        asked=Asked.CREATE,
        version=0,
        spec=one.row.timer.spec,
        asked_s=created_s,
        answered_s=created_s,
        verdict=Verdict.ACKNOWLEDGED,
    )
    return TimerLog(
        number=number,
        requests=[request],
        tries=[replace(each, version=0) for each in one.tries],
        sends=[replace(each, version=0) for each in one.sends],
        row=one.row.timer,
        attempts=one.attempts,
    )


def eased(world: ScheduleWorld) -> History:
    """Return what happened, with the time that it takes to find what a lost reply has hidden."""
    history = world.history
    return replace(
        history,
        timer_logs=[],
        troubles=[
            *(_eased(each, history.interval_s) for each in history.troubles),
            *(_unheard(each.at_s, each.at_s, history) for each in history.unheard),
            *(
                _unheard(request.asked_s, request.answered_s, history)
                for request in world.requests
                if request.verdict is Verdict.UNKNOWN
            ),
        ],
    )


def near(history: History, one: OccurrenceLog) -> History:
    """Leave out the troubles that were over long before an occurrence was due."""
    since_s = due_s(one) - FAR_S
    return replace(history, troubles=[each for each in history.troubles if each.ended_s > since_s])


def _eased(trouble: Trouble, interval_s: float) -> Trouble:
    if any(verb in trouble.cause for verb in SCHEDULE_VERBS):
        return replace(trouble, process=None, recovery_s=interval_s + trouble.recovery_s)
    return trouble


def _unheard(began_s: float, ended_s: float, history: History) -> Trouble:
    return Trouble(cause="unheard", began_s=began_s, ended_s=ended_s, recovery_s=history.interval_s)
