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
from tests.simulation.far_end import OK, Behaviour
from tests.simulation.flow_checkers import may_be_missed
from tests.simulation.history import Asked, History, Request, Send, TimerLog, Verdict
from tests.simulation.lateness import behaviour_of, expected_s, is_brief, latest
from tests.simulation.retry_checkers import (
    attempts_are_told,
    budget_holds,
    fired,
    gives_up_in_time,
    has_failed,
    is_excused,
    next_due,
    policy_of,
    retried_in_time,
    retrying_has_failed,
)
from tests.simulation.world import second
from timer_trio.domain.timer import ENDED, Delivery, Status, Timer, TimerSpec

ROUNDING_S: Final = 2e-6
"""An instant has microseconds, the world's clock more."""


def never_early(history: History) -> Iterator[str]:
    """Nothing is sent before its instant."""
    return promises.never_early(sent_of(history), ROUNDING_S)


def hardly_late(history: History) -> Iterator[str]:
    """Each timer of a healthy receiver is sent at its instant, or soon after the trouble ends.

    Those in flows wait for their turn: flow_checkers.py has when that is.
    """
    for timer_log in history.timer_logs:
        if (
            timer_log.row is None
            or timer_log.flow is not None
            or timer_log.row.status is Status.CANCELED
            or not is_brief(timer_log)
        ):
            continue
        due_s = expected_s(history, timer_log.row.id, first_request(timer_log, timer_log.row))
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
                    yield from _canceled_for_good(history, timer_log, request)
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
    """Who sees a timer pending may rely on it: nothing was sent.

    So he may who sees it canceled, if it has no policy: of one that has an attempt may have failed.
    """
    for timer_log in history.timer_logs:
        unsent = {Status.PENDING} if policy_of(timer_log) else {Status.PENDING, Status.CANCELED}
        for sight in timer_log.sights:
            sent = [send for send in timer_log.sends if send.sent_s < sight.asked_s]
            if sent and sight.status in unsent:
                yield f"{timer_log.number} was seen {sight.status} after it had been sent"
            answered = any(send.status == OK for send in timer_log.sends)
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
    """Nothing is sent again, unless it has failed and its policy says so, or who sent it was lost.

    That attempts go up is checked here alone: to receivers elsewhere two of them may come in
    another order than they were sent.
    """
    sent = sent_of(history)
    yield from promises.at_most_once(sent)
    yield from promises.one_webhook_id(sent)
    for timer_log in history.timer_logs:
        for before, after in pairwise(fired(timer_log)):
            if not is_excused(history, timer_log, before, after):
                yield f"{timer_log.number} was sent again: {before}, {after}"
            if after.attempt <= before.attempt:
                yield f"{timer_log.number} was sent as attempt {before.attempt} and {after.attempt}"


def outcome_is_true(history: History) -> Iterator[str]:
    """A timer is completed if and only if a receiver answered 2xx, and its words tell the truth."""
    for timer_log in history.timer_logs:
        if timer_log.row is None:
            continue
        row, sends = timer_log.row, timer_log.sends
        answers = [send for send in sends if send.status is not None]
        delivered = [send for send in answers if send.status == OK]
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


def all_are_genuine(history: History) -> Iterator[str]:
    """Nothing goes out that its receiver could not verify."""
    for timer_log in history.timer_logs:
        if not all(send.is_genuine for send in timer_log.sends):
            yield f"{timer_log.number} was sent without a signature that holds"


CHECKERS: Final[tuple[Callable[[History], Iterator[str]], ...]] = (
    never_early,
    hardly_late,
    acknowledged_holds,
    pending_is_unsent,
    nothing_lost,
    nothing_leaks,
    sent_once,
    outcome_is_true,
    retried_in_time,
    budget_holds,
    gives_up_in_time,
    attempts_are_told,
    retrying_has_failed,
    all_are_genuine,
)


def broken_promises(history: History) -> list[str]:
    """Name all that is wrong with a history."""
    return [
        f"{checker.__name__}: {violation}" for checker in CHECKERS for violation in checker(history)
    ]


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


def request_of(timer_log: TimerLog, row: Timer) -> Request:
    """Find the request that the row has come to."""
    return next(
        request
        for request in timer_log.requests
        if request.spec.callback.payload == row.spec.callback.payload
        and request.asked != Asked.CANCEL
    )


def first_request(timer_log: TimerLog, row: Timer) -> Request:
    """Find the request as which a timer was first sent; that which the row has come to if never."""
    tries = fired(timer_log)
    return timer_log.requests[tries[0].version] if tries else request_of(timer_log, row)


def first_fired_s(timer_log: TimerLog, row: Timer) -> float | None:
    """Say when a timer was first sent, or ended without that."""
    if tries := fired(timer_log):
        return tries[0].fired_s
    if row.status in ENDED:
        return second(row.executed_at or row.updated_at)
    return None


def not_asked_to_cancel(timer_log: TimerLog) -> bool:
    return not any(
        request.asked is Asked.CANCEL and request.verdict is not Verdict.REFUSED
        for request in timer_log.requests
    )


def _canceled_for_good(history: History, timer_log: TimerLog, request: Request) -> Iterator[str]:
    tries = fired(timer_log)
    if policy_of(timer_log):
        # What was sent before has failed, or who sent it was lost, and the timer was retrying.
        known = [
            one
            for one in tries
            if not history.was_lost(one.process, one.fired_s, request.answered_s)
        ]
        if any(not has_failed(timer_log, one) for one in known):
            yield f"{timer_log.number} was canceled, though it was sent and has not failed"
        tries = [one for one in tries if one.fired_s > request.answered_s]
    yield from promises.canceled_is_not_sent(str(timer_log.number), [one.version for one in tries])
    if timer_log.row is None or timer_log.row.status is not Status.CANCELED:
        yield f"{timer_log.number} is not canceled, though that was acknowledged"


def _fires_as_updated(timer_log: TimerLog, request: Request, later: list[Request]) -> Iterator[str]:
    allowed = {
        each.version
        for each in later
        if each.asked is Asked.UPDATE and each.verdict is not Verdict.REFUSED
    }
    since_s = request.asked_s
    if policy_of(timer_log):
        # An attempt that was under way when it was asked for may have failed before it was written.
        since_s = request.answered_s
    elif any(send.sent_s < request.asked_s for send in timer_log.sends):
        yield f"{timer_log.number} was sent before version {request.version} was acknowledged"
    later_versions = [send.version for send in timer_log.sends if send.sent_s >= since_s]
    yield from promises.sent_as_told(str(timer_log.number), later_versions, allowed)


def _is_missed_without_need(history: History, timer_log: TimerLog, row: Timer) -> bool:
    if row.spec.misfire_grace_s is None:
        return True
    if timer_log.flow is not None:
        return not may_be_missed(history, timer_log, row)
    request, tries = request_of(timer_log, row), fired(timer_log)
    due_s, latest_due_s = second(row.spec.execute_at), expected_s(history, row.id, request)
    if policy_of(timer_log) and tries and has_failed(timer_log, tries[-1]):
        due = next_due(history, timer_log, tries[-1], request.version)
        due_s, latest_due_s = due.earliest_s, due.latest_s
    over_s = due_s + row.spec.misfire_grace_s
    lost = any(history.was_lost(one.process, one.began_s) for one in tries)
    in_time = latest(history, timer_log, latest_due_s) < over_s
    return is_brief(timer_log) and in_time and not lost


def _gives_up_s(timer_log: TimerLog, row: Timer) -> float:
    """Say before which instant its policy does not give up."""
    policy = policy_of(timer_log)
    if policy is None or policy.give_up_after_s is None:
        return inf
    return second(first_request(timer_log, row).spec.execute_at) + policy.give_up_after_s


def _failed_truly(history: History, timer_log: TimerLog, row: Timer) -> Iterator[str]:
    words = row.last_error or ""
    if words.startswith("missed"):
        if _is_missed_without_need(history, timer_log, row):
            yield f"{timer_log.number} was missed without need: {words}"
    elif words.startswith("gave up"):
        if second(row.updated_at) < _gives_up_s(timer_log, row):
            yield f"{timer_log.number} was given up without need: {words}"
    elif words.startswith("outcome unknown"):
        if not history.losses:
            yield f"{timer_log.number} has an unknown outcome, and nobody died"
    elif words.startswith("HTTP"):
        if not any(words.startswith(f"HTTP {send.status} ") for send in timer_log.sends):
            yield f"{timer_log.number} failed with an answer that nobody gave: {words}"
    elif words.startswith("internal error") and behaviour_of(row.spec) is not Behaviour.POISON:
        yield f"{timer_log.number} broke our own code: {words}"
