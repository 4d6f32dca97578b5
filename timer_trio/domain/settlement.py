"""What becomes of a claimed timer: decided here, completely; a storage only writes it.

A claim freezes its row: nobody else changes it until the claim is settled. So the claimed timer is
all that a settlement needs to be decided from, and the claim all that guards it when it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar, Final, NamedTuple, TypeVar, assert_never

from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import UNKNOWN, AttemptRecord, all_attempts, duration_ms
from timer_trio.domain.masking import USUAL, Sensitive
from timer_trio.domain.outcome import (
    Broken,
    CallbackOutcome,
    Delivered,
    Interrupted,
    Phase,
    Rejected,
    Short,
    TimedOut,
    Unreachable,
    Withheld,
)
from timer_trio.domain.result import result_of
from timer_trio.domain.retry import Advice, RetryPolicy, advice_of, last_begin_at, next_attempt_at
from timer_trio.domain.timer import (
    Claim,
    ClaimedTimer,
    Delivery,
    Destination,
    Earlier,
    NewTimer,
    Status,
    Timer,
    TimerId,
)
from timer_trio.domain.value import value
from timer_trio.domain.words import clean, in_words

SKIPPED: Final = "skipped: "
"""With it begins `last_error` of what its schedule has skipped."""
SUPERSEDED: Final = f"{SKIPPED}the next occurrence was due as well"
OVERLAPPED: Final = f"{SKIPPED}an earlier occurrence was still under way"
MAX_UNKNOWN_ATTEMPTS: Final = 3
"""A timer that kills its replica must not kill them all."""


@value(frozen=True, slots=True, kw_only=True)
class Completed:
    """The callback was sent at `executed_at`, and has arrived."""

    status: ClassVar[Status] = Status.COMPLETED
    due_at: ClassVar[datetime | None] = None
    failures: ClassVar[int | None] = None
    first_due_at: ClassVar[datetime | None] = None
    last_error: ClassVar[str | None] = None
    is_begun: ClassVar[bool] = True

    timer_id: TimerId
    claim: Claim
    executed_at: datetime
    http_status: int
    duration_ms: int
    attempts: Sequence[AttemptRecord] = ()
    result: NewTimer | None = None

    @property
    def claim_after(self) -> int:
        return self.claim


class WhyFailed(StrEnum):
    """Why a timer ended as failed."""

    CALLBACK = "callback"
    """Its last attempt has failed."""
    MISSED = "missed"
    """It was not sent within its grace."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    GAVE_UP = "gave_up"
    """There was no time left for another attempt."""
    UNREADABLE = "unreadable"
    """No code can read its row, or no key opens it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The timer has failed, and why; `is_begun` is false if this attempt has sent nothing."""

    status: ClassVar[Status] = Status.FAILED
    due_at: ClassVar[datetime | None] = None
    first_due_at: ClassVar[datetime | None] = None

    timer_id: TimerId
    claim: Claim
    is_begun: bool
    executed_at: datetime | None
    """None: as it was."""
    last_error: str
    why: WhyFailed = WhyFailed.CALLBACK
    http_status: int | None = None
    duration_ms: int | None = None
    failures: int | None = None
    attempts: Sequence[AttemptRecord] = ()
    result: NewTimer | None = None

    @property
    def claim_after(self) -> int:
        return self.claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """The timer is canceled, as its schedule has it: nothing of it was sent."""

    status: ClassVar[Status] = Status.CANCELED
    due_at: ClassVar[datetime | None] = None
    executed_at: ClassVar[datetime | None] = None
    is_begun: ClassVar[bool] = False
    http_status: ClassVar[int | None] = None
    duration_ms: ClassVar[int | None] = None
    failures: ClassVar[int | None] = None
    first_due_at: ClassVar[datetime | None] = None
    attempts: ClassVar[Sequence[AttemptRecord]] = ()
    result: ClassVar[NewTimer | None] = None

    timer_id: TimerId
    claim: Claim
    last_error: str

    @property
    def claim_after(self) -> int:
        return self.claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The attempt has failed, and the next one is due at `due_at`."""

    status: ClassVar[Status] = Status.RETRYING
    is_begun: ClassVar[bool] = True
    result: ClassVar[NewTimer | None] = None

    timer_id: TimerId
    claim: Claim
    due_at: datetime
    executed_at: datetime
    last_error: str
    http_status: int | None
    duration_ms: int
    failures: int
    first_due_at: datetime | None
    attempts: Sequence[AttemptRecord]

    @property
    def claim_after(self) -> int:
        """Negated, as that of a Release."""
        return -self.claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The timer is given back, as this attempt has sent nothing, and is due again at `due_at`.

    `status` is what it was: pending or retrying, or executing if an earlier attempt may have been
    sent.
    """

    last_error: ClassVar[str | None] = None
    executed_at: ClassVar[datetime | None] = None
    is_begun: ClassVar[bool] = False
    http_status: ClassVar[int | None] = None
    duration_ms: ClassVar[int | None] = None
    failures: ClassVar[int | None] = None
    first_due_at: ClassVar[datetime | None] = None
    attempts: ClassVar[Sequence[AttemptRecord]] = ()
    result: ClassVar[NewTimer | None] = None

    timer_id: TimerId
    claim: Claim
    status: Status
    due_at: datetime

    @property
    def claim_after(self) -> int:
        """Negated, so that a copy of the claim or of this that comes late finds its work done."""
        return -self.claim


Settlement = Completed | Failed | Skipped | Retry | Release
"""What is to be written of a claimed timer.

All have `status`, `due_at` (None once it has ended), `last_error`, `is_begun` (an attempt that is
not begun does not count), and `claim_after`, the claim that the row carries from then on. Of
`executed_at`, `http_status` and `duration_ms`, `failures` and `first_due_at` None leaves what is
there, and so it does of `last_error` until the timer has ended. `attempts` are those that tell more
than the timer's own row will. `result` is the timer that tells how this one has ended, to be
written with it; None: nobody asks.
"""

_Ended = TypeVar("_Ended", bound=Completed | Failed)


def settlement_of(
    timer: ClaimedTimer,
    outcome: CallbackOutcome,
    sent_at: datetime,
    now: datetime,
    sensitive: Sensitive = USUAL,
) -> Settlement | None:
    """Decide what becomes of a timer that was fired at `sent_at`.

    None: nobody knows, so it keeps the claim that ends with its replica. A result shows no values
    of `sensitive` headers.
    """
    settlement = _decided(timer, outcome, sent_at, now)
    if isinstance(settlement, Completed | Failed):
        return _with_result(timer, settlement, now, sensitive)
    return settlement


def _decided(
    timer: ClaimedTimer, outcome: CallbackOutcome, sent_at: datetime, now: datetime
) -> Settlement | None:
    match outcome:
        case Delivered():
            return _completed(timer, outcome, sent_at, now)
        case Rejected() | Unreachable() | TimedOut() | Broken():
            return _after_failure(_failure(timer, outcome, sent_at, now))
        case Interrupted():
            return _interrupted(timer, outcome, sent_at, now)
        case Withheld() | Short():
            return given_back(timer)
        case _:
            assert_never(outcome)


_FailedOutcome = Rejected | Unreachable | TimedOut | Broken | Interrupted


class _Failure(NamedTuple):
    """An attempt that has failed at `now`; `error` is what the consumer reads in `last_error`."""

    timer: ClaimedTimer
    outcome: _FailedOutcome
    sent_at: datetime
    now: datetime
    error: str
    http_status: int | None
    answer: KeptAnswer | None

    @property
    def duration_ms(self) -> int:
        return duration_ms(self.sent_at, self.now)

    @property
    def attempts(self) -> Sequence[AttemptRecord]:
        record = AttemptRecord(
            self.timer.attempt,
            self.sent_at,
            self.now,
            self.outcome.name,
            self.http_status,
            self.error,
            self.answer,
        )
        return (*_unknown_ones(self.timer, self.now), record)


def _failure(
    timer: ClaimedTimer, outcome: _FailedOutcome, sent_at: datetime, now: datetime
) -> _Failure:
    if isinstance(outcome, Rejected):
        status, answer = outcome.http_status, outcome.answer
        error = _rejection(status, timer.spec.callback.url.destination)
        return _Failure(timer, outcome, sent_at, now, error, status, answer)
    return _Failure(timer, outcome, sent_at, now, clean(_reason(timer, outcome)), None, None)


@lru_cache(maxsize=1_024)  # whoever refuses one callback refuses the next
def _rejection(http_status: int, destination: Destination) -> str:
    return clean(f"HTTP {http_status} from {_origin(destination)}")


def _reason(timer: ClaimedTimer, outcome: Unreachable | TimedOut | Broken | Interrupted) -> str:
    match outcome:
        case Unreachable(reason):
            return reason
        case TimedOut(phase):
            return _timed_out(phase, timer.spec.callback.timeout_s)
        case Broken(reason):
            return f"internal error: {reason}"
        case Interrupted():
            return "outcome unknown: the service stopped before the answer came"
        case _:
            assert_never(outcome)


def _completed(
    timer: ClaimedTimer, outcome: Delivered, sent_at: datetime, now: datetime
) -> Completed:
    attempts: Sequence[AttemptRecord] = ()
    if timer.attempt > 1 or outcome.answer is not None:
        record = AttemptRecord(
            attempt=timer.attempt,
            started_at=sent_at,
            ended_at=now,
            outcome=outcome.name,
            http_status=outcome.http_status,
            answer=outcome.answer,
        )
        attempts = (*_unknown_ones(timer, now), record)
    return Completed(
        timer_id=timer.id,
        claim=timer.claim,
        executed_at=sent_at,
        http_status=outcome.http_status,
        duration_ms=duration_ms(sent_at, now),
        attempts=attempts,
    )


def _after_failure(failure: _Failure) -> Retry | Failed:
    """Decide between another attempt and the end."""
    timer, policy = failure.timer, failure.timer.spec.retry
    due_at = None if policy is None else _next_attempt_at(failure, policy)
    if policy is None or due_at is None:
        return _failed(failure)
    return Retry(
        timer_id=timer.id,
        claim=timer.claim,
        due_at=due_at,
        executed_at=failure.sent_at,
        last_error=failure.error,
        http_status=failure.http_status,
        duration_ms=failure.duration_ms,
        failures=timer.failures + 1,
        first_due_at=_first_due_at(timer, policy),
        attempts=failure.attempts,
    )


def _next_attempt_at(failure: _Failure, policy: RetryPolicy) -> datetime | None:
    timer, outcome, now = failure.timer, failure.outcome, failure.now
    if timer.spec.callback.delivery is Delivery.AT_MOST_ONCE and _may_be_sent(outcome):
        return None
    advice = Advice()
    if isinstance(outcome, Rejected):
        advice = advice_of(outcome.http_status, outcome.headers, now)
    first_due_at = _first_due_at(timer, policy)
    return next_attempt_at(policy, timer.id, timer.failures + 1, now, first_due_at, advice)


def _may_be_sent(outcome: _FailedOutcome) -> bool:
    return not (isinstance(outcome, Unreachable | TimedOut) and outcome.is_unsent)


def _first_due_at(timer: ClaimedTimer, policy: RetryPolicy) -> datetime | None:
    """Return when the first attempt of this budget was due; None: the policy does not ask."""
    if policy.give_up_after_s is None:
        return None
    return timer.first_due_at or timer.expected_at


def _unknown_ones(timer: ClaimedTimer, now: datetime) -> Sequence[AttemptRecord]:
    """Tell of the attempts before this one whose outcome nobody knows."""
    if not timer.unknown_attempts:
        return ()
    first = timer.attempt - timer.unknown_attempts
    return tuple(
        AttemptRecord(attempt=attempt, started_at=None, ended_at=now, outcome=UNKNOWN)
        for attempt in range(first, timer.attempt)
    )


def judge(
    timer: ClaimedTimer, now: datetime, *, waited_for_slot: bool, sensitive: Sensitive = USUAL
) -> Failed | Skipped | None:
    """Decide whether a timer just claimed must not be fired any more; None: fire it.

    A result shows no values of `sensitive` headers.
    """
    settlement = _ruled_out(timer, now, waited_for_slot=waited_for_slot)
    if isinstance(settlement, Failed):
        return _with_result(timer, settlement, now, sensitive)
    return settlement


def _ruled_out(
    timer: ClaimedTimer, now: datetime, *, waited_for_slot: bool
) -> Failed | Skipped | None:
    if timer.occurrence is not None and timer.occurrence.is_superseded:
        return Skipped(timer_id=timer.id, claim=timer.claim, last_error=SUPERSEDED)
    unknown = timer.unknown_attempts
    if unknown and timer.spec.callback.delivery is Delivery.AT_MOST_ONCE:
        reason = "outcome unknown: the service died after it had claimed this timer"
        return _not_fired(timer, now, WhyFailed.OUTCOME_UNKNOWN, reason)
    if unknown >= MAX_UNKNOWN_ATTEMPTS:
        reason = f"outcome unknown: {unknown} attempts in a row never ended"
        return _not_fired(timer, now, WhyFailed.OUTCOME_UNKNOWN, reason)
    grace_s = timer.spec.misfire_grace_s
    late = now - timer.expected_at
    if grace_s is not None and late > timedelta(seconds=grace_s):
        words = f"missed: {in_words(late.total_seconds())} overdue, grace {in_words(grace_s)}"
        cause = f"; {origin_of(timer)} had no free slot" if waited_for_slot else ""
        doubt = "; an earlier attempt may have arrived" if unknown else ""
        return _not_fired(timer, now, WhyFailed.MISSED, words + cause + doubt)
    given_up = _given_up(timer, now)
    return None if given_up is None else _not_fired(timer, now, WhyFailed.GAVE_UP, given_up)


def _given_up(timer: ClaimedTimer, now: datetime) -> str | None:
    """Say why the time for further attempts is over, unless a change has moved this one there."""
    policy, first_due_at = timer.spec.retry, timer.first_due_at
    if policy is None or first_due_at is None:
        return None
    last = last_begin_at(policy, first_due_at)
    if last is None or not timer.due_at <= last < now:
        return None
    waited = in_words((now - first_due_at).total_seconds())
    return f"gave up: {waited} after the first attempt was due"


def _not_fired(timer: ClaimedTimer, now: datetime, why: WhyFailed, reason: str) -> Failed:
    refused = _not_begun(timer.id, timer.claim, why, reason)
    return replace(refused, attempts=_unknown_ones(timer, now))


def given_back(timer: ClaimedTimer) -> Release:
    """Decide what a claimed timer goes back to that has not been sent.

    It is due as it was, so that in a flow it goes before what came behind it. Where an attempt may
    have been sent of which nobody knows it stays executing, so that nobody changes it.
    """
    if timer.unknown_attempts > 0:
        status = Status.EXECUTING
    else:
        status = Status.RETRYING if timer.next_attempt_at else Status.PENDING
    return Release(timer_id=timer.id, claim=timer.claim, status=status, due_at=timer.due_at)


def unreadable(timer_id: TimerId, claim: Claim, reason: str) -> Failed:
    """Fail a timer whose row no code can read, in plain words: nobody knows who is to be told."""
    return _not_begun(timer_id, claim, WhyFailed.UNREADABLE, reason)


def plainer(settlement: Settlement) -> Settlement | None:
    """Leave out what stands beside a timer's own row; None: there is nothing.

    First what receivers answered, which is likeliest to be refused, then the result.
    """
    if isinstance(settlement, Release | Skipped):
        return None
    if any(each.answer for each in settlement.attempts):
        bare = [each._replace(answer=None) for each in settlement.attempts]
        return replace(settlement, attempts=bare)
    if isinstance(settlement, Retry) or settlement.result is None:
        return None
    return replace(settlement, result=None)


def unstorable(settlement: Settlement, reason: str) -> Failed:
    """Settle again what the database refuses, in words of our own that it takes."""
    return Failed(
        timer_id=settlement.timer_id,
        claim=settlement.claim,
        is_begun=settlement.is_begun,
        executed_at=settlement.executed_at,
        http_status=settlement.http_status,
        duration_ms=settlement.duration_ms,
        last_error=clean(f"internal error: the outcome could not be stored: {reason}"),
    )


def stands(settlement: Settlement, claim: int | None) -> bool:
    """Whether a row with this claim is the settlement's to write, or has been written by it.

    It has been if the claim is negated: a redrive does so too.
    """
    return claim in (settlement.claim, -settlement.claim)


def origin_of(timer: ClaimedTimer) -> str:
    """Name a destination as people do, without the port that its scheme implies."""
    return _origin(timer.spec.callback.url.destination)


def _origin(destination: Destination) -> str:
    implied = ":443" if destination.startswith("https") else ":80"
    return destination.removesuffix(implied)


def _timed_out(phase: Phase | None, timeout_s: float) -> str:
    words = f"timed out after {timeout_s:g}s"
    return f"{phase.step.format(peer=phase.peer)} {words}" if phase else words


def _interrupted(
    timer: ClaimedTimer, outcome: Interrupted, sent_at: datetime, now: datetime
) -> Failed | None:
    if timer.spec.callback.delivery is Delivery.AT_LEAST_ONCE:
        return None
    return _failed(_failure(timer, outcome, sent_at, now))


def _failed(failure: _Failure) -> Failed:
    timer = failure.timer
    return Failed(
        timer_id=timer.id,
        claim=timer.claim,
        is_begun=True,
        executed_at=failure.sent_at,
        last_error=failure.error,
        http_status=failure.http_status,
        duration_ms=failure.duration_ms,
        failures=timer.failures + 1,
        attempts=failure.attempts,
    )


def _with_result(timer: ClaimedTimer, end: _Ended, now: datetime, sensitive: Sensitive) -> _Ended:
    """Add the result of a timer that has ended, if its consumer asks for one."""
    earlier, spec = timer.earlier, timer.spec
    if earlier is None:
        return end
    target = spec.on_completed if end.status is Status.COMPLETED else spec.on_failed
    if target is None:
        return end
    ended = _ended(timer, earlier, end, now)
    attempts = all_attempts(ended, end.attempts)
    last_attempt = attempts[-1] if attempts else None
    result = result_of(target, ended, timer.claim, last_attempt, now, sensitive=sensitive)
    return replace(end, result=replace(result, project=timer.project))


def _ended(timer: ClaimedTimer, earlier: Earlier, end: Completed | Failed, now: datetime) -> Timer:
    """Return the timer as its row will tell of it."""
    is_known = end.duration_ms is not None
    return Timer(
        id=timer.id,
        created_at=earlier.created_at,
        updated_at=now,
        spec=timer.spec,
        status=end.status,
        executed_at=end.executed_at or earlier.executed_at,
        attempt=timer.attempt if end.is_begun else timer.attempt - 1,
        last_error=end.last_error,
        http_status=end.http_status if is_known else earlier.http_status,
        duration_ms=end.duration_ms if is_known else earlier.duration_ms,
        key=earlier.key,
        flow_key=earlier.flow_key,
    )


def _not_begun(timer_id: TimerId, claim: Claim, why: WhyFailed, reason: str) -> Failed:
    return Failed(
        timer_id=timer_id,
        claim=claim,
        is_begun=False,
        executed_at=None,
        last_error=clean(reason),
        why=why,
    )
