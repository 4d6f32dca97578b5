"""One attempt of a timer, as it is kept beside the timer itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.outcome import Delivered
from timer_trio.domain.timer import Status, Timer

UNKNOWN: Final = "unknown"
"""The outcome of an attempt whose replica died before it could tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """An attempt that has ended: `outcome` is the name of a CallbackOutcome, or UNKNOWN.

    `started_at` is when its callback was sent; None: nobody knows.
    """

    attempt: int
    started_at: datetime | None
    ended_at: datetime
    outcome: str
    http_status: int | None = None
    error: str | None = None
    answer: KeptAnswer | None = None

    @property
    def duration_ms(self) -> int | None:
        """How long it took; None: nobody knows."""
        return None if self.started_at is None else duration_ms(self.started_at, self.ended_at)


def duration_ms(sent_at: datetime, ended_at: datetime) -> int:
    """Return the milliseconds between the two, never fewer than 0."""
    return max(0, round((ended_at - sent_at).total_seconds() * 1000))


def all_attempts(timer: Timer, records: Sequence[AttemptRecord]) -> Sequence[AttemptRecord]:
    """Return what is kept of a timer's attempts, or the one that its own row tells of.

    That is a first attempt that was delivered.
    """
    is_told_by_row = timer.status is Status.COMPLETED and timer.attempt == 1 and not records
    if not is_told_by_row or timer.executed_at is None:
        return records
    duration = timedelta(milliseconds=timer.duration_ms or 0)
    record = AttemptRecord(
        attempt=1,
        started_at=timer.executed_at,
        ended_at=timer.executed_at + duration,
        outcome=Delivered.name,
        http_status=timer.http_status,
    )
    return [record]
