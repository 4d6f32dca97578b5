"""Spans of what the service does: whoever collects traces sees each timer's way through it.

A callback is in the trace of the request that created its timer, whose `traceparent` the timer
keeps, and sends its own to the receiver. A claim is of many timers, and so in a trace of its own,
to which their callbacks have links.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

from timer_trio.clock import Clock
from timer_trio.domain.timer import Claim, ClaimedTimer
from timer_trio.domain.trace import TraceContext, read_traceparent
from timer_trio.telemetry.ended_callback import EndedCallback

UNDER_WAY: Final[ContextVar[str | None]] = ContextVar("traceparent", default=None)
"""The span of the request that is served; None: there is none."""


class SpanKind(Enum):
    """What a span is to its parent, as OpenTelemetry has it."""

    SERVER = auto()
    CLIENT = auto()
    INTERNAL = auto()


class Span(NamedTuple):
    """A span that has ended; `error` says in words why it did not do what it was to."""

    name: str
    kind: SpanKind
    context: TraceContext
    parent: TraceContext | None
    began_at: datetime
    ended_at: datetime
    attributes: Mapping[str, str | int | float]
    links: Sequence[TraceContext] = ()
    error: str | None = None


class Collector(Protocol):
    """Whoever wants spans."""

    def wants(self, trace_id: int, parent: TraceContext | None) -> bool:
        """Whether a span is to be kept; without a parent it begins a trace."""

    def keep(self, span: Span) -> None:
        """Take a span that has ended; never waits."""


class RequestSpan(NamedTuple):
    """A request that is served."""

    context: TraceContext
    parent: TraceContext | None
    began_at: datetime


class Tracing:
    """Makes the spans of the service; all instants are the clock's."""

    def __init__(
        self,
        collector: Collector,
        clock: Clock,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._collector = collector
        self._clock = clock
        self._random_bits = random_bits

    def begin_request(self, traceparent: str | None) -> RequestSpan:
        """Begin the span of a request, in the trace that its client names if it names one."""
        parent = read_traceparent(traceparent) if traceparent else None
        return RequestSpan(self._begin(parent), parent, self._clock.now())

    def end_request(self, span: RequestSpan, method: str, route: str | None, status: int) -> None:
        """End the span of a request whose answer begins."""
        if not span.context.is_sampled:
            return
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "http.response.status_code": status,
        }
        if route is not None:
            attributes["http.route"] = route
        self._collector.keep(
            Span(
                name=method if route is None else f"{method} {route}",
                kind=SpanKind.SERVER,
                context=span.context,
                parent=span.parent,
                began_at=span.began_at,
                ended_at=self._clock.now(),
                attributes=attributes,
                error=None if status < 500 else f"answered with {status}",
            )
        )

    def begin_callback(self, timer: ClaimedTimer) -> TraceContext:
        """Choose the span of a callback, which its receiver is told."""
        return self._begin(_created_in(timer))

    def end_callbacks(self, ended: Iterable[EndedCallback]) -> None:
        """Tell of callbacks that have ended."""
        for callback in ended:
            if callback.span is not None and callback.span.is_sampled:
                self._collector.keep(_span_of(callback, callback.span))

    def end_settlement(self, callback: TraceContext, status: str, ended_at: datetime) -> None:
        """Tell that the outcome of a callback, which ended then, is durable now."""
        if not callback.is_sampled:
            return
        self._collector.keep(
            Span(
                name="settle",
                kind=SpanKind.INTERNAL,
                context=self._begin(callback),
                parent=callback,
                began_at=ended_at,
                ended_at=self._clock.now(),
                attributes={"timer_trio.status": status},
            )
        )

    def end_claim(self, claim: Claim, asked: int, claimed: int, began_at: datetime) -> None:
        """Tell that a claim of `asked` timers is answered now."""
        context = _context_of_claim(claim)
        if not self._collector.wants(context.trace_id, None):
            return
        self._collector.keep(
            Span(
                name="claim",
                kind=SpanKind.INTERNAL,
                context=context,
                parent=None,
                began_at=began_at,
                ended_at=self._clock.now(),
                attributes={"timer_trio.asked": asked, "timer_trio.claimed": claimed},
            )
        )

    def _begin(self, parent: TraceContext | None) -> TraceContext:
        trace_id = self._random_bits(128) or 1 if parent is None else parent.trace_id
        is_wanted = self._collector.wants(trace_id, parent)
        return TraceContext(trace_id, self._random_bits(64) or 1, is_wanted)


def _span_of(callback: EndedCallback, context: TraceContext) -> Span:
    timer = callback.timer
    attributes: dict[str, str | int | float] = {
        "http.request.method": timer.spec.callback.method.value,
        "timer_trio.timer_id": str(timer.id),
        "timer_trio.attempt": timer.attempt,
        "timer_trio.destination": callback.destination,
        "timer_trio.outcome": callback.outcome.name,
        "timer_trio.late_ms": (callback.sent_at - timer.expected_at) / timedelta(milliseconds=1),
    }
    if callback.http_status is not None:
        attributes["http.response.status_code"] = callback.http_status
    created, claimed = _created_in(timer), _context_of_claim(timer.claim)
    return Span(
        name="callback",
        kind=SpanKind.CLIENT,
        context=context,
        parent=created,
        began_at=callback.sent_at,
        ended_at=callback.ended_at,
        attributes=attributes,
        links=[claimed] if created is None else [created, claimed],
        error=callback.error,
    )


def _created_in(timer: ClaimedTimer) -> TraceContext | None:
    return None if timer.traceparent is None else read_traceparent(timer.traceparent)


def _context_of_claim(claim: Claim) -> TraceContext:
    """Return the span of a claim: its number is random, and each of its timers knows it."""
    return TraceContext(claim << 64 | claim, claim, is_sampled=True)
