"""The promises of further attempts: how many there are, when each begins, and what is told of them.

They are held against what receivers saw of each try. What became of a try whose process was lost
nobody knows: it may have counted, and the next one may come whenever somebody takes over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tests.simulation.far_end import BODY, OK, Behaviour
from tests.simulation.history import Asked, Ending, History, Request, TimerLog, Try, Verdict
from tests.simulation.lateness import (
    SETTLING_S,
    behaviour_of,
    expected_s,
    heard_s,
    is_brief,
    latest,
)
from tests.simulation.world import second
from timer_trio.domain.attempt import UNKNOWN, AttemptRecord
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import ENDED, Delivery, Status, Timer, TimerSpec

ROUNDING_S: Final = 1e-6
CLOCK_S: Final = 0.02
"""A replica's clock is behind by the way from the database, and so may be when it saw an end."""
STARTED_S: Final = 0.05
"""How far when a try began and when it is said to have started may be apart: as the clocks are."""
LEAST_CAP_S: Final = 3_600.0
"""With listed delays a receiver may put the next attempt off as far at least."""


@dataclass(frozen=True, slots=True)
class Due:
    """The earliest and the latest instant at which an attempt may be due."""

    earliest_s: float
    latest_s: float


def retried_in_time(history: History) -> Iterator[str]:
    """No attempt is earlier than policy and receiver say, or later than its trouble allows."""
    for timer_log in history.timer_logs:
        for before, after in pairwise(fired(timer_log)):
            if policy_of(timer_log) is None or not has_failed(timer_log, before):
                continue
            due = next_due(history, timer_log, before, after.version)
            name = f"attempt {after.attempt} of {timer_log.number}"
            if after.began_s < due.earliest_s and not is_lost(history, before, after):
                yield f"{name} was {due.earliest_s - after.began_s:.3f}s early"
            latest_s = latest(history, timer_log, due.latest_s)
            waits_for_nobody = is_brief(timer_log) and timer_log.flow is None
            if waits_for_nobody and after.fired_s > latest_s:
                late_s = after.fired_s - due.latest_s
                yield f"{name} was {late_s:.3f}s late; {latest_s - due.latest_s:.3f}s would do"


def budget_holds(history: History) -> Iterator[str]:
    """Attempts do not go beyond the budget, what nobody knows of apart; nor does it go to waste."""
    for timer_log in history.timer_logs:
        policy, row = policy_of(timer_log), timer_log.row
        most = policy.max_attempts if policy else 1
        known = [one for one in fired(timer_log) if not is_lost(history, one, None)]
        if len({one.attempt for one in known}) > most:
            yield f"{timer_log.number} was tried {len(known)} times, {most} allowed"
        unknown = sum(record.outcome == UNKNOWN for record in timer_log.attempts)
        if row and row.attempt > most + unknown and not is_poisoned(timer_log):
            yield f"{timer_log.number} counts {row.attempt} attempts, {most} + {unknown} allowed"
        if policy and row and row.status is Status.FAILED and is_worth_another(timer_log, policy):
            yield f"{timer_log.number} was given up with a part of its budget left"


def gives_up_in_time(history: History) -> Iterator[str]:
    """No further attempt begins later than its policy allows, unless it was moved there."""
    for timer_log in history.timer_logs:
        policy, tries = policy_of(timer_log), fired(timer_log)
        if policy is None or policy.give_up_after_s is None or not tries:
            continue
        last_s = last_begin_s(history, timer_log, policy)
        for before, after in pairwise(tries):
            is_moved = moves_between(timer_log, tries[0].version, after.version)
            follows = has_failed(timer_log, before) and not is_lost(history, before, after)
            if follows and not is_moved and after.began_s > last_s + CLOCK_S:
                yield f"attempt {after.attempt} of {timer_log.number} began after its time"


def attempts_are_told(history: History) -> Iterator[str]:
    """Each attempt of an ended timer is listed once, as its receiver saw it or as unknown."""
    for timer_log in history.timer_logs:
        row, records = timer_log.row, timer_log.attempts
        if row is None or row.status not in ENDED or is_poisoned(timer_log):
            continue
        numbers = sorted(record.attempt for record in records)
        if numbers != list(range(1, row.attempt + 1)):
            yield f"{timer_log.number} counts {row.attempt} attempts, and lists {numbers}"
        for record in records:
            is_seen = any(tells(timer_log, record, one) for one in timer_log.tries)
            if not is_seen and record.outcome != UNKNOWN:
                yield f"{timer_log.number} lists an attempt that nobody saw: {record}"
        for one in fired(timer_log):
            is_told = any(tells(timer_log, record, one) for record in records)
            if not (is_told or is_lost(history, one, None)):
                yield f"{timer_log.number} does not list {one}"


def retrying_has_failed(history: History) -> Iterator[str]:
    """Who sees a timer retrying has given it a policy, and an attempt of it has failed."""
    for timer_log in history.timer_logs:
        for sight in timer_log.sights:
            began = any(one.began_s < sight.answered_s for one in timer_log.tries)
            if sight.status is Status.RETRYING and not (began and policy_of(timer_log)):
                yield f"{timer_log.number} was seen retrying, and nothing had failed"


def policy_of(timer_log: TimerLog) -> RetryPolicy | None:
    return timer_log.created.spec.retry


def is_poisoned(timer_log: TimerLog) -> bool:
    """Tell whether what is to be kept of its attempts may be refused by the database."""
    requests = timer_log.requests
    return any(behaviour_of(request.spec) is Behaviour.POISON for request in requests)


def fired(timer_log: TimerLog) -> Sequence[Try]:
    """List the tries that count, in their order.

    Not those that were withheld, or came to nothing at who did not hold the timer any more.
    """
    tries = [
        one
        for one in timer_log.tries
        if one.sent_s is not None or (one.is_held and has_failed(timer_log, one))
    ]
    return sorted(tries, key=lambda one: one.fired_s)


def has_failed(timer_log: TimerLog, one: Try) -> bool:
    """Tell whether who made it knows that it has failed."""
    if one.ending is Ending.BROKEN_OFF:
        return has_timed_out(timer_log, one)
    return one.ending in {Ending.REJECTED, Ending.UNREACHABLE}


def has_timed_out(timer_log: TimerLog, one: Try) -> bool:
    timeout_s = spec_of(timer_log, one).callback.timeout_s
    # To the instant: a stop that comes just before it gives the timer back.
    return one.ending is Ending.BROKEN_OFF and one.ended_s - one.began_s > timeout_s - ROUNDING_S


def is_excused(history: History, timer_log: TimerLog, before: Try, after: Try) -> bool:
    """Tell whether one try may follow the other: as its outcome is lost, or by the policy."""
    may_retry = has_failed(timer_log, before) and not before.is_final and policy_of(timer_log)
    return is_lost(history, before, after) or bool(may_retry)


def is_lost(history: History, one: Try, before: Try | None) -> bool:
    """Tell whether a try's process was lost before its outcome can have been written for sure."""
    until_s = float("inf") if before is None else before.fired_s
    return history.was_lost(one.process, one.fired_s, until_s)


def spec_of(timer_log: TimerLog, one: Try) -> TimerSpec:
    return timer_log.requests[one.version].spec


def next_due(history: History, timer_log: TimerLog, before: Try, version: int) -> Due:
    """Say when the attempt is due that follows a failed one, and is of this version."""
    assert timer_log.row is not None
    timer_id, settled_s = timer_log.row.id, before.ended_s + SETTLING_S
    if moves := moves_between(timer_log, before.version, version):
        due_s = expected_s(history, timer_id, moves[-1])
        earliest_s = second(moves[-1].spec.execute_at) - CLOCK_S
        return Due(earliest_s, max(due_s, settled_s))
    policy = policy_of(timer_log)
    assert policy is not None
    due = _by_policy(history, timer_log, policy, before)
    return Due(due.earliest_s, heard_s(history, timer_id, max(due.latest_s, settled_s), 0.0))


def moves_between(timer_log: TimerLog, before: int, after: int) -> Sequence[Request]:
    """List the changes of the instant that came after one version and not after another."""
    return [
        request
        for request in timer_log.requests[before + 1 : after + 1]
        if request.asked is Asked.UPDATE
        and request.moves
        and request.verdict is not Verdict.REFUSED
    ]


def _by_policy(history: History, timer_log: TimerLog, policy: RetryPolicy, before: Try) -> Due:
    failed = [one for one in fired(timer_log) if has_failed(timer_log, one)]
    so_far = [one for one in failed if one.fired_s <= before.fired_s]
    lost = sum(is_lost(history, one, None) for one in so_far)
    counts = range(max(1, len(so_far) - lost), len(so_far) + 1)
    delays_s = [_delay_s(policy, count) for count in counts]
    earliest_s = before.ended_s + min(delays_s) * (1 - policy.jitter)
    latest_s = before.ended_s + max(delays_s) * (1 + policy.jitter)
    if before.not_before_s is not None:
        cap_s = max(*policy.delays, LEAST_CAP_S) if policy.delays else policy.max_delay_s
        put_off_s = min(before.not_before_s, before.ended_s + cap_s)
        earliest_s, latest_s = max(earliest_s, put_off_s), max(latest_s, put_off_s)
    return Due(earliest_s - CLOCK_S, latest_s)


def _delay_s(policy: RetryPolicy, failures: int) -> float:
    if policy.delays:
        return [*policy.delays, *[policy.delays[-1]] * failures][failures - 1]
    grown_s = policy.initial_delay_s * policy.factor ** (failures - 1)
    return min(grown_s, policy.max_delay_s)


def last_begin_s(history: History, timer_log: TimerLog, policy: RetryPolicy) -> float:
    """Say after which instant no attempt begins; the policy gives up after some time."""
    assert policy.give_up_after_s is not None
    assert timer_log.row is not None
    first = timer_log.requests[fired(timer_log)[0].version]
    return expected_s(history, timer_log.row.id, first) + policy.give_up_after_s


def is_worth_another(timer_log: TimerLog, policy: RetryPolicy) -> bool:
    """Tell whether a timer failed by an answer, after which it should have been tried again."""
    tries = fired(timer_log)
    if not tries or is_poisoned(timer_log) or not _failed_by_itself(timer_log.row):
        return False
    last = tries[-1]
    is_once = spec_of(timer_log, last).callback.delivery is Delivery.AT_MOST_ONCE
    if last.is_final or (is_once and last.sent_s is not None):
        return False
    failures = sum(has_failed(timer_log, one) for one in tries)
    return failures < policy.max_attempts and policy.give_up_after_s is None


def _failed_by_itself(row: Timer | None) -> bool:
    words = (row and row.last_error) or ""
    return not words.startswith(("missed", "gave up", "outcome unknown"))


def tells(timer_log: TimerLog, record: AttemptRecord, one: Try) -> bool:
    """Tell whether a record is that of this try, and says what its receiver saw."""
    if record.attempt != one.attempt or record.started_at is None:
        return False
    is_answered = one.ending is Ending.REJECTED
    kept = record.answer.body if record.answer else None
    return (
        abs(second(record.started_at) - one.began_s) < STARTED_S
        and record.outcome == _outcome(timer_log, one)
        and record.http_status == (one.status if is_answered or record.http_status == OK else None)
        and kept == (BODY if is_answered else None)
    )


def _outcome(timer_log: TimerLog, one: Try) -> str:
    if one.ending is Ending.BROKEN_OFF:
        return "timed_out" if has_timed_out(timer_log, one) else "interrupted"
    return str(one.ending)
