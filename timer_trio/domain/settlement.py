"""What becomes of a claimed timer: decided here, completely; a storage only writes it.

A claim freezes its row: nobody else changes it until the claim is settled. So the claimed timer is
all that a settlement needs to be decided from, and the claim all that guards it when it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final, assert_never

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
from timer_trio.domain.timer import Claim, ClaimedTimer, Delivery, Status, TimerId
from timer_trio.domain.words import clean, in_words

MAX_UNKNOWN_ATTEMPTS: Final = 3
"""A timer that kills its replica must not kill them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The callback was sent at `executed_at`, and has arrived."""

    status: ClassVar[Status] = Status.COMPLETED
    due_at: ClassVar[datetime | None] = None
    last_error: ClassVar[str | None] = None
    is_begun: ClassVar[bool] = True

    timer_id: TimerId
    claim: Claim
    executed_at: datetime

    @property
    def claim_after(self) -> int:
        return self.claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The timer has failed, and why; `is_begun` is false if this attempt has sent nothing."""

    status: ClassVar[Status] = Status.FAILED
    due_at: ClassVar[datetime | None] = None

    timer_id: TimerId
    claim: Claim
    is_begun: bool
    executed_at: datetime | None
    """None: as it was."""
    last_error: str

    @property
    def claim_after(self) -> int:
        return self.claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The timer is given back, as this attempt has sent nothing, and is due again at `due_at`.

    `status` is pending, or executing if an earlier attempt may have been sent.
    """

    last_error: ClassVar[str | None] = None
    executed_at: ClassVar[datetime | None] = None
    is_begun: ClassVar[bool] = False

    timer_id: TimerId
    claim: Claim
    status: Status
    due_at: datetime

    @property
    def claim_after(self) -> int:
        """Negated, so that a copy of the claim or of this that comes late finds its work done."""
        return -self.claim


Settlement = Completed | Failed | Release
"""What is to be written of a claimed timer.

All have `status`, `due_at` (None once it has ended), `executed_at` (None: as it was), `last_error`,
`is_begun` (an attempt that is not begun does not count), and `claim_after`, the claim that the row
carries from then on.
"""


def settlement_of(  # noqa: PLR0911 - one return for each outcome
    timer: ClaimedTimer, outcome: CallbackOutcome, sent_at: datetime, now: datetime
) -> Settlement | None:
    """Decide what becomes of a timer that was fired at `sent_at`.

    None: nobody knows, so it keeps the claim that ends with its replica.
    """
    match outcome:
        case Delivered():
            return Completed(timer_id=timer.id, claim=timer.claim, executed_at=sent_at)
        case Rejected(http_status):
            return _failed(timer, sent_at, f"HTTP {http_status} from {origin_of(timer)}")
        case Unreachable(reason):
            return _failed(timer, sent_at, reason)
        case TimedOut(phase):
            return _failed(timer, sent_at, _timed_out(phase, timer.spec.callback.timeout_s))
        case Broken(reason):
            return _failed(timer, sent_at, f"internal error: {reason}")
        case Interrupted():
            return _interrupted(timer, sent_at)
        case Withheld() | Short():
            return given_back(timer, now)
        case _:
            assert_never(outcome)


def judge(timer: ClaimedTimer, now: datetime, *, waited_for_slot: bool) -> Failed | None:
    """Decide whether a timer just claimed must not be fired any more; None: fire it."""
    unknown = timer.unknown_attempts
    if unknown and timer.spec.callback.delivery is Delivery.AT_MOST_ONCE:
        reason = "outcome unknown: the service died after it had claimed this timer"
        return _not_begun(timer.id, timer.claim, reason)
    if unknown >= MAX_UNKNOWN_ATTEMPTS:
        reason = f"outcome unknown: {unknown} attempts in a row never ended"
        return _not_begun(timer.id, timer.claim, reason)
    grace_s = timer.spec.misfire_grace_s
    late = now - timer.expected_at
    if grace_s is not None and late > timedelta(seconds=grace_s):
        words = f"missed: {in_words(late.total_seconds())} overdue, grace {in_words(grace_s)}"
        cause = f"; {origin_of(timer)} had no free slot" if waited_for_slot else ""
        doubt = "; an earlier attempt may have arrived" if unknown else ""
        return _not_begun(timer.id, timer.claim, words + cause + doubt)
    return None


def given_back(timer: ClaimedTimer, now: datetime) -> Release:
    """Decide what a claimed timer goes back to that has not been sent.

    Where an earlier attempt may have been sent it is not pending, so that nobody changes it, and
    due at once.
    """
    may_be_sent = timer.unknown_attempts > 0
    return Release(
        timer_id=timer.id,
        claim=timer.claim,
        status=Status.EXECUTING if may_be_sent else Status.PENDING,
        due_at=now if may_be_sent else timer.spec.execute_at,
    )


def unreadable(timer_id: TimerId, claim: Claim, reason: str) -> Failed:
    """Fail a timer whose row no code can read, in plain words."""
    return _not_begun(timer_id, claim, reason)


def unstorable(settlement: Settlement, reason: str) -> Failed:
    """Settle again what the database refuses, in words of our own that it takes."""
    return Failed(
        timer_id=settlement.timer_id,
        claim=settlement.claim,
        is_begun=settlement.is_begun,
        executed_at=settlement.executed_at,
        last_error=clean(f"internal error: the outcome could not be stored: {reason}"),
    )


def stands(settlement: Settlement, claim: int | None) -> bool:
    """Whether a row with this claim is the settlement's to write, or has been written by it."""
    return claim in (settlement.claim, settlement.claim_after)


def origin_of(timer: ClaimedTimer) -> str:
    """Name a destination as people do, without the port that its scheme implies."""
    destination = timer.spec.callback.url.destination
    implied = ":443" if destination.startswith("https") else ":80"
    return destination.removesuffix(implied)


def _timed_out(phase: Phase | None, timeout_s: float) -> str:
    words = f"timed out after {timeout_s:g}s"
    return f"{phase.step.format(peer=phase.peer)} {words}" if phase else words


def _interrupted(timer: ClaimedTimer, sent_at: datetime) -> Failed | None:
    if timer.spec.callback.delivery is Delivery.AT_LEAST_ONCE:
        return None
    reason = "outcome unknown: the service stopped before the answer came"
    return _failed(timer, sent_at, reason)


def _failed(timer: ClaimedTimer, sent_at: datetime, reason: str) -> Failed:
    return Failed(
        timer_id=timer.id,
        claim=timer.claim,
        is_begun=True,
        executed_at=sent_at,
        last_error=clean(reason),
    )


def _not_begun(timer_id: TimerId, claim: Claim, reason: str) -> Failed:
    return Failed(
        timer_id=timer_id,
        claim=claim,
        is_begun=False,
        executed_at=None,
        last_error=clean(reason),
    )
