"""What a service on a virtual clock, which is for tests, tells of the time that it lets pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from timer_trio.domain.errors import TimerTrioError
from timer_trio.domain.timer import CallbackUrl, Status, TimerId

NO_REAL_SERVICE: Final = (
    "this is no real timer service but one for tests: its clock stands still until POST"
    " /clock/advance, and all is lost when it ends"
)
MOST_FIRED: Final = 10_000
"""Callbacks of one advance: a chain without an end would go on for ever."""
MOST_INSTANTS: Final = 100_000
"""Instants of one advance at which something falls due, be it behind a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """An attempt that was made, and what became of its timer.

    `due_at` is the instant of this attempt, `sent_at` when it was sent. `status` is that of the
    timer after it, and `next_attempt_at` when it is tried again; None: it is not.
    """

    timer_id: TimerId
    attempt: int
    status: Status
    http_status: int | None
    last_error: str | None
    url: CallbackUrl
    due_at: datetime
    sent_at: datetime | None
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """What the clock shows now, and what was fired since this was told last, in its order."""

    now: datetime
    fired: Sequence[Fired]


class ClockNotBackError(TimerTrioError):
    """The clock is to be set back."""


class ClockTooFarError(TimerTrioError):
    """The clock is to go further than it can."""


class AdvanceEndlessError(TimerTrioError):
    """An advance does not come to its end, because there is always more that is due."""


class ClockResetError(TimerTrioError):
    """An advance was broken off, because everything was reset."""
