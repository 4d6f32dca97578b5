"""A claimed timer on its way to its callback."""

from __future__ import annotations

from typing import NamedTuple

from timer_trio.domain.timer import ClaimedTimer, DueTimer, ReplicaId
from timer_trio.domain.trace import TraceContext
from timer_trio.transport import Request


class Firing(NamedTuple):
    """A claimed timer, what the cache knew of it, and who holds the claim."""

    timer: ClaimedTimer
    due: DueTimer
    replica: ReplicaId
    request: Request | None
    """None if it could not be made."""
    span: TraceContext | None = None
    """That of the callback; None: nobody collects any."""
