"""What is known of a callback that has ended."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from timer_trio.domain.outcome import CallbackOutcome, Delivered, Rejected
from timer_trio.domain.timer import ClaimedTimer, Destination
from timer_trio.domain.trace import TraceContext


class EndedCallback(NamedTuple):
    """How one callback went; `error` is what the consumer reads in `last_error`."""

    timer: ClaimedTimer
    destination: Destination
    outcome: CallbackOutcome
    error: str | None
    sent_at: datetime
    ended_at: datetime
    span: TraceContext | None = None
    """That of the callback; None: nobody collects any."""

    @property
    def http_status(self) -> int | None:
        outcome = self.outcome
        return outcome.http_status if isinstance(outcome, (Delivered, Rejected)) else None
