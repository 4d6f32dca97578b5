"""The promises, stated over a history: each checker names what broke its promise.

What real replicas are held to as well is in tests/promises.py. The rest needs what only a
simulation knows: every request and its verdict, every trouble, and who died when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import inf
from typing import Final

from tests import promises
from tests.promises import Ending, Sent
from tests.simulation.far_end import BRIEF, Behaviour, behaviour_at
from tests.simulation.history import Asked, History, Life, Request, Send, TimerLog, Trouble, Verdict
from tests.simulation.world import TAKEOVER_S, second
from timer_trio.domain.timer import ENDED, Delivery, Status, Timer, TimerSpec, shard_of

ROUNDING_S: Final = 2e-6
"""An instant has microseconds, the world's clock more."""
PUNCTUAL_S: Final = 0.15
"""The modelled delays: a create, a claim and a connection, each there and back."""
SETTLING_S: Final = 0.3
"""An answer is written within the linger of a group and one call."""
LOCK_MET_S: Final = 0.15
"""Who is in one statement with a locked row waits for it once, and for the statement after that."""


def never_early(history: History) -> Iterator[str]:
    """Nothing is sent before its instant."""
    return promises.never_early(sent_of(history), ROUNDING_S)


def hardly_late(history: History) -> Iterator[str]:
    """Each timer of a healthy receiver is sent at its instant, or soon after the trouble ends."""
    for timer_log in history.timer_logs:
        if (
            timer_log.row is None
            or timer_log.row.status is Status.CANCELED
            or not is_brief(timer_log)
        ):
            continue
        due_s = expected_s(history, timer_log, timer_log.row)
        latest_s = latest(history, timer_log, due_s)
        fired_s = first_fired_s(timer_log, timer_log.row)
        if fired_s is None or fired_s > latest_s:
            fired = "never" if fired_s is None else f"{fired_s - due_s:.3f}s late"
            yield f"{timer_log.number} fired {fired}; {latest_s - due_s:.3f}s would do"


def acknowledged_holds(history: History) -> Iterator[str]:
    """What was acknowledged is what happens; what was refused never does."""
    for timer_log in history.timer_logs:
        for index, request in enumerate(timer_log.requests):
            later = timer_log.requests[index:]
            match request.asked, request.verdict:
                case Asked.CANCEL, Verdict.ACKNOWLEDGED:
                    yield from _canceled_for_good(timer_log)
                case Asked.UPDATE, Verdict.ACKNOWLEDGED:
                    yield from _fires_as_updated(timer_log, request, later)
                case ((Asked.UPDATE | Asked.CREATE), Verdict.REFUSED):
                    if any(send.version == request.version for send in timer_log.sends):
                        yield f"{timer_log.number} was sent as refused version {request.version}"
                case _:
                    pass
        if (
            not_asked_to_cancel(timer_log)
            and timer_log.row
            and timer_log.row.status is Status.CANCELED
        ):
            yield f"{timer_log.number} is canceled, though every cancel was refused"


def pending_is_unsent(history: History) -> Iterator[str]:
    """Who sees a timer pending or canceled may rely on it: nothing was sent."""
    for timer_log in history.timer_logs:
        for sight in timer_log.sights:
            sent = [send for send in timer_log.sends if send.sent_s < sight.asked_s]
            if sent and sight.status in {Status.PENDING, Status.CANCELED}:
                yield f"{timer_log.number} was seen {sight.status} after it had been sent"
            answered = any(send.status == 200 for send in timer_log.sends)
            if sight.status is Status.COMPLETED and not answered:
                yield f"{timer_log.number} was seen completed without an answer"


def nothing_lost(history: History) -> Iterator[str]:
    """Every timer that was acknowledged, or is there all the same, has ended."""
    return promises.all_ended(
        {
            str(timer_log.number): ending_of(timer_log.row)
            for timer_log in history.timer_logs
            if timer_log.row or timer_log.created.verdict is Verdict.ACKNOWLEDGED
        }
    )


def nothing_leaks(history: History) -> Iterator[str]:
    """An idle process holds no slot and no outcome."""
    yield from history.leaks


def sent_once(history: History) -> Iterator[str]:
    """Nothing is sent again, unless whoever sent it was lost before the outcome was written.

    That attempts go up is checked here alone: to receivers elsewhere two of them may come in
    another order than they were sent.
    """

    def is_excused(before: Sent, after: Sent) -> bool:
        return history.was_lost(before.process, before.sent_s, after.sent_s)

    sent = sent_of(history)
    yield from promises.sent_again_with_excuse(sent, is_excused)
    yield from promises.at_most_once(sent)
    yield from promises.one_webhook_id(sent)
    for name, sends in sent.items():
        for before, after in pairwise(sends):
            if after.attempt <= before.attempt:
                yield f"{name} was sent as attempt {before.attempt} and {after.attempt}"


def outcome_is_true(history: History) -> Iterator[str]:
    """A timer is completed if and only if a receiver answered 2xx, and its words tell the truth."""
    for timer_log in history.timer_logs:
        if timer_log.row is None:
            continue
        row, sends = timer_log.row, timer_log.sends
        answers = [send for send in sends if send.status is not None]
        delivered = [send for send in answers if send.status == 200]
        if row.status is Status.COMPLETED and not delivered:
            yield f"{timer_log.number} is completed, and no receiver said so"
        for send in delivered:
            lost = history.was_lost(send.process, send.sent_s)
            if row.status is not Status.COMPLETED and not lost:
                yield f"{timer_log.number} is {row.status}, and its receiver answered 200"
        if row.status is Status.FAILED:
            yield from _failed_truly(history, timer_log, row)
        if row.attempt < max((send.attempt for send in sends), default=0):
            yield f"{timer_log.number} counts {row.attempt} attempts, and more were sent"


CHECKERS: Final[tuple[Callable[[History], Iterator[str]], ...]] = (
    never_early,
    hardly_late,
    acknowledged_holds,
    pending_is_unsent,
    nothing_lost,
    nothing_leaks,
    sent_once,
    outcome_is_true,
)


def broken_promises(history: History) -> list[str]:
    """Name all that is wrong with a history."""
    return [
        f"{checker.__name__}: {violation}" for checker in CHECKERS for violation in checker(history)
    ]


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
        send.process for send in timer_log.sends
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


def sent_of(history: History) -> dict[str, list[Sent]]:
    """What was sent of each timer, by its number."""
    return {
        str(timer_log.number): [_sent(timer_log, send) for send in timer_log.sends]
        for timer_log in history.timer_logs
    }


def _sent(timer_log: TimerLog, send: Send) -> Sent:
    spec = spec_sent(timer_log, send)
    return Sent(
        timer_id=send.timer_id,
        webhook_id=send.webhook_id,
        attempt=send.attempt,
        due_s=second(spec.execute_at),
        sent_s=send.sent_s,
        is_once=spec.callback.delivery is Delivery.AT_MOST_ONCE,
        process=send.process,
    )


def ending_of(row: Timer | None) -> Ending:
    return Ending(row.status, row.last_error) if row else Ending(None)


def spec_sent(timer_log: TimerLog, send: Send) -> TimerSpec:
    return timer_log.requests[send.version].spec


def is_brief(timer_log: TimerLog) -> bool:
    return all(behaviour_of(request.spec) in BRIEF for request in timer_log.requests)


def behaviour_of(spec: TimerSpec) -> Behaviour:
    return behaviour_at(spec.callback.url.host)


def request_of(timer_log: TimerLog, row: Timer) -> Request:
    """Find the request that the row has come to."""
    return next(
        request
        for request in timer_log.requests
        if request.spec.callback.payload == row.spec.callback.payload
        and request.asked != Asked.CANCEL
    )


def expected_s(history: History, timer_log: TimerLog, row: Timer) -> float:
    """Say when a timer is to fire: what a lost reply or hint has hidden a loader finds later."""
    request = request_of(timer_log, row)
    known_s, due_s = request.answered_s, second(row.spec.execute_at)
    if request.verdict is Verdict.UNKNOWN:
        known_s += history.interval_s
    for unheard in history.unheard:
        is_meant = row.id in unheard.timers or shard_of(row.id) in unheard.shards
        if is_meant and unheard.at_s <= due_s:
            known_s = max(known_s, unheard.at_s + history.interval_s)
    return max(due_s, known_s)


def first_fired_s(timer_log: TimerLog, row: Timer) -> float | None:
    """Say when a timer was first sent, or ended without that."""
    if timer_log.sends:
        return timer_log.sends[0].sent_s
    if row.status in ENDED:
        return second(row.executed_at or row.updated_at)
    return None


def not_asked_to_cancel(timer_log: TimerLog) -> bool:
    return not any(
        request.asked is Asked.CANCEL and request.verdict is not Verdict.REFUSED
        for request in timer_log.requests
    )


def _canceled_for_good(timer_log: TimerLog) -> Iterator[str]:
    versions = [send.version for send in timer_log.sends]
    yield from promises.canceled_is_not_sent(str(timer_log.number), versions)
    if timer_log.row is None or timer_log.row.status is not Status.CANCELED:
        yield f"{timer_log.number} is not canceled, though that was acknowledged"


def _fires_as_updated(timer_log: TimerLog, request: Request, later: list[Request]) -> Iterator[str]:
    allowed = {
        each.version
        for each in later
        if each.asked is Asked.UPDATE and each.verdict is not Verdict.REFUSED
    }
    if any(send.sent_s < request.asked_s for send in timer_log.sends):
        yield f"{timer_log.number} was sent before version {request.version} was acknowledged"
    later_versions = [send.version for send in timer_log.sends if send.sent_s >= request.asked_s]
    yield from promises.sent_as_told(str(timer_log.number), later_versions, allowed)


def _failed_truly(history: History, timer_log: TimerLog, row: Timer) -> Iterator[str]:
    words = row.last_error or ""
    if words.startswith("missed"):
        if row.spec.misfire_grace_s is None:
            yield f"{timer_log.number} has no grace to miss: {words}"
        else:
            over_s = second(row.spec.execute_at) + row.spec.misfire_grace_s
            lost = any(history.was_lost(send.process, send.sent_s) for send in timer_log.sends)
            in_time = latest(history, timer_log, expected_s(history, timer_log, row)) < over_s
            if is_brief(timer_log) and in_time and not lost:
                yield f"{timer_log.number} was missed without need: {words}"
    elif words.startswith("outcome unknown"):
        if not history.losses:
            yield f"{timer_log.number} has an unknown outcome, and nobody died"
    elif words.startswith("HTTP"):
        if not any(words.startswith(f"HTTP {send.status} ") for send in timer_log.sends):
            yield f"{timer_log.number} failed with an answer that nobody gave: {words}"
    elif words.startswith("internal error") and behaviour_of(row.spec) is not Behaviour.POISON:
        yield f"{timer_log.number} broke our own code: {words}"
