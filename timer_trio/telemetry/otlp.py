"""Spans on their way to a collector, by OpenTelemetry's SDK: OTLP over HTTP, from a thread.

Where they go, what is sampled and what the service is called say the variables `OTEL_*` that all
services with OpenTelemetry know. What no collector takes the SDK drops, and says so in the log.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import trio
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision

from timer_trio import __version__
from timer_trio.domain.trace import TraceContext
from timer_trio.domain.unix_time import unix_us
from timer_trio.telemetry.tracing import Span, SpanKind
from timer_trio.threads import start_in_thread

SERVICE: Final = "timer-trio"
"""What it is called unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES have another name."""
_KINDS: Final = {
    SpanKind.SERVER: trace.SpanKind.SERVER,
    SpanKind.CLIENT: trace.SpanKind.CLIENT,
    SpanKind.INTERNAL: trace.SpanKind.INTERNAL,
}


class _GivenIds(IdGenerator):
    """Answers with ids that were chosen before: receivers know them already."""

    def __init__(self) -> None:
        self.given: TraceContext

    def generate_trace_id(self) -> int:
        return self.given.trace_id

    def generate_span_id(self) -> int:
        return self.given.span_id


class OtlpCollector:
    """Sends spans to the collector that the environment names, from a thread of its own.

    Raises:
        ValueError: a variable says what cannot be, and which.
    """

    def __init__(self, instance: str) -> None:
        self._ids = _GivenIds()
        self._provider = TracerProvider(
            resource=_resource(instance), id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SERVICE, __version__)

    def wants(self, trace_id: int, parent: TraceContext | None) -> bool:
        sampler = self._provider.sampler
        result = sampler.should_sample(_within(parent), trace_id, "")
        return result.decision is Decision.RECORD_AND_SAMPLE

    def keep(self, span: Span) -> None:
        self._ids.given = span.context
        kept = self._tracer.start_span(
            span.name,
            context=_within(span.parent),
            kind=_KINDS[span.kind],
            attributes=span.attributes,
            links=[trace.Link(_context_of(link)) for link in span.links],
            start_time=_nanoseconds(span.began_at),
        )
        if span.error is not None:
            kept.set_status(trace.StatusCode.ERROR, span.error)
        kept.end(_nanoseconds(span.ended_at))

    async def close(self) -> None:
        """Send what there is.

        Cancellation: it goes on being sent, as long as the process lives.
        """
        is_sent = trio.Event()
        start_in_thread(self._provider.shutdown, lambda _: is_sent.set())
        await is_sent.wait()


def _resource(instance: str) -> Resource:
    created = Resource.create({"service.version": __version__, "service.instance.id": instance})
    if str(created.attributes["service.name"]).startswith("unknown_service"):
        return created.merge(Resource({"service.name": SERVICE}))
    return created


def _within(parent: TraceContext | None) -> Context:
    if parent is None:
        return Context()
    return trace.set_span_in_context(trace.NonRecordingSpan(_context_of(parent)), Context())


def _context_of(context: TraceContext) -> trace.SpanContext:
    flags = trace.TraceFlags.SAMPLED if context.is_sampled else trace.TraceFlags.DEFAULT
    return trace.SpanContext(
        context.trace_id, context.span_id, is_remote=True, trace_flags=trace.TraceFlags(flags)
    )


def _nanoseconds(instant: datetime) -> int:
    return unix_us(instant) * 1000
