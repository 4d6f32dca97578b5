"""How a firing can end, and what then becomes of the timer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final, assert_never

from timer_trio.domain.timer import Claim, ClaimedTimer, Delivery, Status, TimerId, destination_of

MAX_ERROR_LENGTH: Final = 1_000
"""Characters of `last_error`: enough for a sentence and an address, and a receiver chooses some."""

MAX_UNFINISHED_ATTEMPTS: Final = 3
"""A timer that kills its replica must not kill them all."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver answered 2xx."""

    name: ClassVar[str] = "delivered"

    http_status: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The receiver answered something else, a redirect included."""

    name: ClassVar[str] = "rejected"

    http_status: int


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer came, for this reason."""

    name: ClassVar[str] = "unreachable"

    reason: str


class Step(StrEnum):
    """What comes before a request can be sent, in words for `last_error`."""

    LOOK_UP = "name look-up"
    CONNECT = "connecting to {peer}"
    HANDSHAKE = "TLS handshake with {peer}"


@dataclass(frozen=True, slots=True)
class Phase:
    """The step that a callback is at, and with which address."""

    step: Step
    peer: str = ""


@dataclass(frozen=True, slots=True)
class TimedOut:
    """No answer came within the timer's own timeout; `phase`: the request was not even sent."""

    name: ClassVar[str] = "timed_out"

    phase: Phase | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The service stopped waiting for the answer: nobody knows what the receiver did."""

    name: ClassVar[str] = "interrupted"


@dataclass(frozen=True, slots=True)
class Withheld:
    """Nothing was sent: the replica stops, or may have been swept."""

    name: ClassVar[str] = "withheld"


@dataclass(frozen=True, slots=True)
class Short:
    """Nothing was sent: this machine lacks something of its own, such as a file descriptor."""

    name: ClassVar[str] = "short"

    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """Our own code failed on this timer."""

    name: ClassVar[str] = "broken"

    reason: str


CallbackOutcome = (
    Delivered | Rejected | Unreachable | TimedOut | Interrupted | Withheld | Short | Broken
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What is to be written of a claimed timer.

    `status` is completed, failed, or pending: given back unsent (which a timer with an earlier
    attempt of unknown outcome is not: it stays executing, with nobody's claim). `begun` is false
    where nothing was sent: then the attempt does not count.
    """

    timer_id: TimerId
    claim: Claim
    status: Status
    begun: bool
    executed_at: datetime | None
    last_error: str | None


def settlement_of(  # noqa: PLR0911 - one return for each outcome
    timer: ClaimedTimer, outcome: CallbackOutcome, sent_at: datetime
) -> Settlement | None:
    """Say what becomes of a timer that was fired at `sent_at`.

    None: nobody knows, so it keeps the claim that ends with its replica.
    """
    match outcome:
        case Delivered():
            return _ended(timer, Status.COMPLETED, sent_at, None)
        case Rejected(http_status):
            return _failed(timer, sent_at, f"HTTP {http_status} from {origin_of(timer)}")
        case Unreachable(reason):
            return _failed(timer, sent_at, reason)
        case TimedOut(phase):
            return _failed(timer, sent_at, _timed_out(phase, timer.spec.timeout_s))
        case Broken(reason):
            return _failed(timer, sent_at, f"internal error: {reason}")
        case Interrupted():
            return _interrupted(timer, sent_at)
        case Withheld() | Short():
            return given_back(timer)
        case _:
            assert_never(outcome)


def tells_pace(outcome: CallbackOutcome) -> bool:
    """Whether how long a callback took says something of its destination."""
    return isinstance(outcome, Delivered | Rejected | Unreachable | TimedOut)


def judge(timer: ClaimedTimer, now: datetime, *, waited_for_slot: bool) -> Settlement | None:
    """Say whether a timer just claimed must not be fired any more; None: fire it."""
    unfinished = timer.attempt - 1
    if unfinished and timer.spec.delivery is Delivery.AT_MOST_ONCE:
        reason = "outcome unknown: the service died after it had claimed this timer"
        return _not_begun(timer, reason)
    if unfinished >= MAX_UNFINISHED_ATTEMPTS:
        return _not_begun(timer, f"outcome unknown: {unfinished} attempts in a row never ended")
    grace_s = timer.spec.misfire_grace_s
    late = now - timer.expected_at
    if grace_s is not None and late > timedelta(seconds=grace_s):
        words = f"missed: {in_words(late.total_seconds())} overdue, grace {in_words(grace_s)}"
        cause = f"; {origin_of(timer)} had no free slot" if waited_for_slot else ""
        doubt = "; an earlier attempt may have arrived" if unfinished else ""
        return _not_begun(timer, words + cause + doubt)
    return None


def given_back(timer: ClaimedTimer) -> Settlement:
    return Settlement(
        timer_id=timer.id,
        claim=timer.claim,
        status=Status.PENDING,
        begun=False,
        executed_at=None,
        last_error=None,
    )


def unreadable(timer_id: TimerId, claim: Claim, reason: str) -> Settlement:
    """Settle a timer whose row no code can read: failed, in plain words."""
    return Settlement(
        timer_id=timer_id,
        claim=claim,
        status=Status.FAILED,
        begun=False,
        executed_at=None,
        last_error=clean(reason),
    )


def origin_of(timer: ClaimedTimer) -> str:
    """Name a destination as people do, without the port that its scheme implies."""
    destination = destination_of(timer.spec.callback_url)
    implied = ":443" if destination.startswith("https") else ":80"
    return destination.removesuffix(implied)


def stands(settlement: Settlement, claim: int | None) -> bool:
    """Tell whether a row with this claim is the settlement's to write, or carries it already."""
    if claim == settlement.claim:
        return True
    return claim == -settlement.claim and settlement.status is Status.PENDING


def clean(text: str) -> str:
    """Make words that a receiver may have chosen fit to store: no controls, no surrogates."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 2 * MAX_ERROR_LENGTH])
    return " ".join(printable.split())[:MAX_ERROR_LENGTH]


def in_words(seconds: float) -> str:
    """Say a duration in its two greatest units: `2h 3m`, `45s`, `1.5s`."""
    if seconds < 10:  # below it a tenth still tells
        return f"{round(seconds, 1):g}s"
    rest = round(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def _failed(timer: ClaimedTimer, sent_at: datetime, reason: str) -> Settlement:
    return _ended(timer, Status.FAILED, sent_at, clean(reason))


def _timed_out(phase: Phase | None, timeout_s: float) -> str:
    words = f"timed out after {timeout_s:g}s"
    return f"{phase.step.format(peer=phase.peer)} {words}" if phase else words


def _interrupted(timer: ClaimedTimer, sent_at: datetime) -> Settlement | None:
    if timer.spec.delivery is Delivery.AT_LEAST_ONCE:
        return None
    reason = "outcome unknown: the service stopped before the answer came"
    return _failed(timer, sent_at, reason)


def _ended(
    timer: ClaimedTimer, status: Status, sent_at: datetime, last_error: str | None
) -> Settlement:
    return Settlement(
        timer_id=timer.id,
        claim=timer.claim,
        status=status,
        begun=True,
        executed_at=sent_at,
        last_error=last_error,
    )


def _not_begun(timer: ClaimedTimer, reason: str) -> Settlement:
    return Settlement(
        timer_id=timer.id,
        claim=timer.claim,
        status=Status.FAILED,
        begun=False,
        executed_at=None,
        last_error=clean(reason),
    )
