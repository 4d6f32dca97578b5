"""Tracing is refused in words where it cannot be; on, it makes no span that nobody wants."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import pytest

from timer_trio.config import StartRefusedError
from timer_trio.domain.timer import Claim
from timer_trio.domain.trace import TraceContext
from timer_trio.run.tracing import collecting
from timer_trio.telemetry.tracing import Span, Tracing
from timer_trio.testing.standing_clock import StandingClock


class Picky:
    """Wants what a parent wants, and of the others nothing."""

    def __init__(self) -> None:
        self.kept: list[Span] = []

    def wants(self, trace_id: int, parent: TraceContext | None) -> bool:
        assert trace_id
        return parent is not None and parent.is_sampled

    def keep(self, span: Span) -> None:
        self.kept.append(span)


async def test_off_there_is_nobody() -> None:
    async with collecting("here", is_on=False) as collector:
        assert collector is None


async def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "timer_trio.telemetry.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(StartRefusedError, match=r"timer-trio\[tracing\]"):
        async with collecting("here", is_on=True):
            pass


async def test_nobody_gets_a_span_that_he_does_not_want() -> None:
    collector = Picky()
    tracing = Tracing(collector, StandingClock(datetime(2030, 1, 1, tzinfo=UTC)))
    for traceparent in (None, "nonsense", f"00-{7:032x}-{9:016x}-00"):
        span = tracing.begin_request(traceparent)
        tracing.end_request(span, "GET", "/timers", 200)
        tracing.end_settlement(span.context, "completed", span.began_at)
    tracing.end_claim(Claim(5), 1, 1, span.began_at)
    assert collector.kept == []


@pytest.mark.parametrize(("status", "error"), [(404, None), (503, "answered with 503")])
async def test_only_what_the_service_fails_at_is_an_error(status: int, error: str | None) -> None:
    collector = Picky()
    tracing = Tracing(collector, StandingClock(datetime(2030, 1, 1, tzinfo=UTC)))
    span = tracing.begin_request(f"00-{7:032x}-{9:016x}-01")
    tracing.end_request(span, "GET", None, status)
    (kept,) = collector.kept
    assert (kept.name, kept.error, kept.context.trace_id) == ("GET", error, 7)
    assert "http.route" not in kept.attributes
