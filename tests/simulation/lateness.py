"""How late a timer may be: its instant, and the troubles that it ran into."""

from __future__ import annotations

from math import inf
from typing import Final

from tests.simulation.far_end import BRIEF, Behaviour, behaviour_at
from tests.simulation.history import History, Life, Request, TimerLog, Trouble, Verdict
from tests.simulation.world import TAKEOVER_S, second
from timer_trio.domain.timer import TimerId, TimerSpec, shard_of

PUNCTUAL_S: Final = 0.15
"""The modelled delays: a create, a claim and a connection, each there and back."""
SETTLING_S: Final = 0.3
"""An answer is written within the linger of a group and one call."""
LOCK_MET_S: Final = 0.15
"""Who is in one statement with a locked row waits for it once, and for the statement after that."""

PUT_OFF_S: Final = 1.0
"""How long a hint may be tried again before it is lost."""


def latest(history: History, timer_log: TimerLog, due_s: float) -> float:
    """Say when a timer due at `due_s` must have been sent, after the troubles it ran into.

    Who is late because of one trouble may be so because of the next as well: an heir may die. Locks
    of other timers are none of its own.
    """
    punctual_s = PUNCTUAL_S + (
        LOCK_MET_S if any(each.locks for each in history.timer_logs) else 0.0
    )
    latest_s = in_time_s = due_s + punctual_s
    troubles = [*history.troubles, *timer_log.locks]
    for trouble in sorted(troubles, key=lambda trouble: trouble.began_s):
        over_s = recovered_s(history, trouble, timer_log)
        is_met = trouble.began_s <= latest_s and over_s >= due_s
        if is_met and (latest_s > in_time_s or concerns(history, trouble, timer_log)):
            latest_s = max(latest_s, over_s + punctual_s)
    return latest_s


def concerns(history: History, trouble: Trouble, timer_log: TimerLog) -> bool:
    """Tell whether a timer was in the hands of who has a trouble."""
    if trouble.process is None:
        return True
    took_part = {request.process for request in timer_log.requests} | {
        one.process for one in timer_log.tries
    }
    if trouble.process in took_part:
        return True
    timer_id = timer_log.row.id if timer_log.row else None
    was_held = any(
        timer_id in loss.held for loss in history.losses if loss.process == trouble.process
    )
    return was_held or (timer_id is not None and shard_of(timer_id) in trouble.shards)


def recovered_s(history: History, trouble: Trouble, timer_log: TimerLog) -> float:
    """Say when a timer's trouble is over: who has it goes on, or another one has taken over.

    What a process was still asked for after that it takes up when it goes on.
    """
    watchers = [life for life in history.lives.values() if life.process != trouble.process]
    taken_over_s = min((_taken_over_s(history, trouble, life) for life in watchers), default=inf)
    was_asked_late = any(
        request.process == trouble.process and request.answered_s > taken_over_s
        for request in timer_log.requests
    )
    gone_on_s = _gone_on_s(history, trouble)
    if trouble.process is None or was_asked_late:
        return gone_on_s
    return min(gone_on_s, taken_over_s)


def _gone_on_s(history: History, trouble: Trouble) -> float:
    since_s = trouble.ended_s
    for other in _of(history, trouble.process):
        if other.began_s <= since_s + trouble.recovery_s and other.ended_s < inf:
            since_s = max(since_s, other.ended_s)
    return since_s + trouble.recovery_s


def _taken_over_s(history: History, trouble: Trouble, watcher: Life) -> float:
    """Say when that one has noticed that who has a trouble is dead, and the heirs have read."""
    since_s = max(trouble.began_s, watcher.began_s)
    for other in _of(history, watcher.process):
        if other.blinds and other.began_s <= since_s + TAKEOVER_S:
            since_s = max(since_s, other.ended_s)
    return since_s + TAKEOVER_S if since_s + TAKEOVER_S < watcher.ended_s else inf


def _of(history: History, process: str | None) -> list[Trouble]:
    """List the troubles that a process has, alone or with everybody, or all; as they begin."""
    every = process is None
    troubles = [each for each in history.troubles if every or each.process in {None, process}]
    return sorted(troubles, key=lambda trouble: trouble.began_s)


def expected_s(history: History, timer_id: TimerId, request: Request) -> float:
    """Say when a timer is to fire as it was asked for."""
    known_s = request.answered_s
    if request.verdict is Verdict.UNKNOWN:
        known_s += history.interval_s
    return heard_s(history, timer_id, second(request.spec.execute_at), known_s)


def heard_s(history: History, timer_id: TimerId, due_s: float, known_s: float) -> float:
    """Say when a timer is to fire: what a lost reply or hint has hidden a loader finds later."""
    for unheard in history.unheard:
        is_meant = timer_id in unheard.timers or shard_of(timer_id) in unheard.shards
        if is_meant and unheard.at_s <= due_s + PUT_OFF_S:
            known_s = max(known_s, unheard.at_s + history.interval_s)
    return max(due_s, known_s)


def is_brief(timer_log: TimerLog) -> bool:
    return all(behaviour_of(request.spec) in BRIEF for request in timer_log.requests)


def behaviour_of(spec: TimerSpec) -> Behaviour:
    return behaviour_at(spec.callback.url.host)
