"""How a callback can end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.value import value


@value(frozen=True, slots=True)
class Delivered:
    """The receiver answered 2xx; `answer` is what is to be kept of that."""

    name: ClassVar[str] = "delivered"

    http_status: int
    answer: KeptAnswer | None = None


@value(frozen=True, slots=True)
class Rejected:
    """The receiver answered something else, a redirect included; `answer` as when delivered."""

    name: ClassVar[str] = "rejected"

    http_status: int
    headers: Sequence[tuple[bytes, bytes]] = ()
    """As they came: they may say whether and when to try again."""
    answer: KeptAnswer | None = None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer came, for this reason; `is_unsent`: no byte of the request went out."""

    name: ClassVar[str] = "unreachable"

    reason: str
    is_unsent: bool = False


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
    """No answer came within the timer's own timeout; `phase`: what it was still at before it sent.

    `is_unsent`: no byte of the request went out.
    """

    name: ClassVar[str] = "timed_out"

    phase: Phase | None = None
    is_unsent: bool = False


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

ENDINGS: Final = (Delivered, Rejected, Unreachable, TimedOut, Interrupted, Broken)
"""Of these a callback is told in the log and counted; after the others it goes on, or back."""
_TELLING: Final = (Delivered, Rejected, Unreachable, TimedOut)


def tells_pace(outcome: CallbackOutcome) -> bool:
    """Whether how long a callback took says something of its destination."""
    return isinstance(outcome, _TELLING)
