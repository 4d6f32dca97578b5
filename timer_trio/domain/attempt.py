"""One attempt of a timer, as it is kept beside the timer itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from timer_trio.domain.answer import KeptAnswer, StoreResponse
from timer_trio.domain.outcome import Delivered
from timer_trio.domain.timer import Status, Timer

UNKNOWN: Final = "unknown"
"""The outcome of an attempt whose replica died before it could tell."""


class AttemptRecord(NamedTuple):
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
    """Return what is kept of a timer's attempts, or the one that its own row tells of."""
    record = None if records else _told_by_row(timer)
    return [record] if record else records


def told_by_row_alone(timer: Timer) -> AttemptRecord | None:
    """Return the attempt of which a timer's own row tells and no other, if there is one.

    One whose answer is kept has a row of its own.
    """
    is_kept = timer.spec.store_response is StoreResponse.ALL
    return None if is_kept else _told_by_row(timer)


def _told_by_row(timer: Timer) -> AttemptRecord | None:
    """Return a first attempt that was delivered."""
    if timer.status is not Status.COMPLETED or timer.attempt != 1 or timer.executed_at is None:
        return None
    duration = timedelta(milliseconds=timer.duration_ms or 0)
    return AttemptRecord(
        attempt=1,
        started_at=timer.executed_at,
        ended_at=timer.executed_at + duration,
        outcome=Delivered.name,
        http_status=timer.http_status,
    )
