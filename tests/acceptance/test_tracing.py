"""A timer's way as a collector of OpenTelemetry sees it, from its create to its receiver."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest
import trio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.acceptance.processes import PATIENCE_S, running
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import API_KEY, SERVE, Service, service
from tests.receivers import OK, Stream, read_request, receiver

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
PARENT: Final = "b7ad6b7169203331"
SAMPLED: Final = f"00-{TRACE}-{PARENT}-01"
NOT_SAMPLED: Final = f"00-{TRACE}-{PARENT}-00"
STOP_S: Final = 15.0
"""A stop that waits for a collector which never answers, on a busy machine."""


class Collector:
    """Stands in for one: takes OTLP over HTTP, and has what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.resources: list[dict[str, str]] = []
        self.spans: list[Span] = []

    async def __call__(self, stream: Stream) -> None:
        while request := await read_request(stream):
            assert request.head.startswith(b"POST /v1/traces "), request.head
            sent = ExportTraceServiceRequest.FromString(request.body)
            for each in sent.resource_spans:
                self.resources.append(attributes_of(each.resource))
                self.spans += [span for scope in each.scope_spans for span in scope.spans]
            await stream.send_all(OK)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    async def wait_named(self, name: str, count: int = 1) -> list[Span]:
        with trio.fail_after(PATIENCE_S):
            while len(self.named(name)) < count:  # noqa: ASYNC110 - what is waited for is elsewhere
                await trio.sleep(0.02)
        return self.named(name)


def attributes_of(holder: Any) -> dict[str, Any]:
    def values() -> Iterator[tuple[str, Any]]:
        for each in holder.attributes:
            yield each.key, getattr(each.value, each.value.WhichOneof("value"))

    return dict(values())


@asynccontextmanager
async def traced_service(
    database_url: str, collector: Callable[[Stream], Awaitable[None]]
) -> AsyncIterator[Service]:
    """Run a service whose spans go to a collector, soon."""
    async with (
        receiver(collector) as listening,
        service(
            DATABASE_URL=database_url,
            TRACING="on",
            OTEL_EXPORTER_OTLP_ENDPOINT=listening.url(""),
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as served,
    ):
        yield served


async def post(
    served: Service, path: str, traceparent: str | None, headers: dict[str, str], **given: Any
) -> Any:
    told = {} if traceparent is None else {"traceparent": traceparent}
    async with httpx.AsyncClient(headers={"X-API-Key": API_KEY}) as client:
        url = f"http://127.0.0.1:{served.consumer.port}{path}"
        answer = await client.post(url, headers=headers | told, **given)
    assert answer.is_success, answer.text
    return answer


async def create(served: Service, url: str, traceparent: str | None, **fields: Any) -> str:
    timer = {"delay": 0, "callback_url": url, **fields}
    answer = await post(served, "/timers", traceparent, {}, json=timer)
    return str(answer.json()["data"]["id"])


async def test_timer_is_followed_from_its_create_to_its_receiver(
    service_database: str, receiver: ReceiverProcess
) -> None:
    collector = Collector()
    async with traced_service(service_database, collector) as served:
        timer_id = await create(served, receiver.url(), SAMPLED)
        (callback,) = await collector.wait_named("callback")
        (request,) = await collector.wait_named("POST /timers")
        (settle,) = await collector.wait_named("settle")
        claims = await collector.wait_named("claim")
        (arrival,) = receiver.arrivals
        assert arrival.headers["traceparent"] == f"00-{TRACE}-{callback.span_id.hex()}-01"
        assert {request.trace_id.hex(), callback.trace_id.hex(), settle.trace_id.hex()} == {TRACE}
        assert request.parent_span_id.hex() == PARENT
        assert callback.parent_span_id == request.span_id
        assert settle.parent_span_id == callback.span_id
        assert [request.kind, callback.kind] == [Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT]
        assert callback.links[0].span_id == request.span_id
        assert callback.links[1].span_id in {claim.span_id for claim in claims}
        for span in (request, callback, settle, *claims):
            assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        assert callback.start_time_unix_nano >= request.start_time_unix_nano
        told = attributes_of(callback)
        assert told["timer_trio.timer_id"] == timer_id
        assert (told["http.request.method"], told["http.response.status_code"]) == ("POST", 200)
        assert (told["timer_trio.outcome"], told["timer_trio.attempt"]) == ("delivered", 1)
        assert attributes_of(request)["http.route"] == "/timers"
        assert collector.resources[0]["service.name"] == "timer-trio"
        assert collector.resources[0]["service.version"]


async def test_each_way_of_creating_keeps_the_trace(
    service_database: str, receiver: ReceiverProcess
) -> None:
    collector = Collector()
    url = receiver.url()
    timer = {"delay": 0, "callback_url": url}
    async with traced_service(service_database, collector) as served:
        await post(served, "/timers", SAMPLED, {"Idempotency-Key": "k"}, json=timer)
        await create(served, url, SAMPLED, on_completed={"url": url})
        await create(served, url, SAMPLED, key="a")
        await post(served, "/timers/batch", SAMPLED, {}, json={"timers": [timer, timer]})
        lines = {"Content-Type": "application/x-ndjson"}
        await post(served, "/timers/import", SAMPLED, lines, content=json.dumps(timer))
        await receiver.wait_arrivals(7)
        traces = [arrival.headers["traceparent"].split("-")[1] for arrival in receiver.arrivals]
        assert traces == [TRACE] * 7


async def test_what_is_not_sampled_is_told_to_receivers_alone(
    service_database: str, receiver: ReceiverProcess
) -> None:
    collector = Collector()
    async with traced_service(service_database, collector) as served:
        await create(served, receiver.url(), NOT_SAMPLED)
        await create(served, receiver.url(), "broken")
        await receiver.wait_arrivals(2)
        await collector.wait_named("callback")
        await served.stop()
    told = [arrival.headers["traceparent"].split("-") for arrival in receiver.arrivals]
    sampled = {trace_id: flags for _, trace_id, _, flags in told}
    assert sampled.pop(TRACE) == "00"
    assert [*sampled.values()] == ["01"]
    assert [span.trace_id.hex() for span in collector.named("callback")] == [*sampled]


async def test_failed_callback_is_an_error_and_each_attempt_a_span(
    service_database: str, receiver: ReceiverProcess
) -> None:
    collector = Collector()
    retry = {"max_attempts": 2, "delays": [0.1]}
    async with traced_service(service_database, collector) as served:
        await create(served, receiver.url("/status/500"), SAMPLED, retry=retry)
        attempts = await collector.wait_named("callback", 2)
        assert {span.status.code for span in attempts} == {Status.STATUS_CODE_ERROR}
        assert {attributes_of(span)["timer_trio.attempt"] for span in attempts} == {1, 2}
        settled = await collector.wait_named("settle", 2)
        assert {attributes_of(s)["timer_trio.status"] for s in settled} == {"retrying", "failed"}


async def test_off_it_leaves_traces_to_others(
    service_database: str, receiver: ReceiverProcess
) -> None:
    own = {"traceparent": SAMPLED}
    async with service(DATABASE_URL=service_database) as served:
        await create(served, receiver.url(), SAMPLED)
        await create(served, receiver.url(), None, callback_headers=own)
        await receiver.wait_arrivals(2)
    found = sorted(arrival.headers.get("traceparent", "") for arrival in receiver.arrivals)
    assert found == ["", SAMPLED]


async def test_own_header_of_a_timer_wins(service_database: str, receiver: ReceiverProcess) -> None:
    collector = Collector()
    own = {"TraceParent": SAMPLED}
    async with traced_service(service_database, collector) as served:
        await create(served, receiver.url(), None, callback_headers=own)
        await receiver.wait_arrivals(1)
    assert receiver.arrivals[0].headers["traceparent"] == SAMPLED


async def hangs(stream: Stream) -> None:
    """Take all, and never answer."""
    while await stream.receive_some():
        pass


async def refuses(stream: Stream) -> None:
    while await read_request(stream):
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("answering", [hangs, refuses])
async def test_collector_that_fails_costs_no_callback_and_no_stop(
    service_database: str, receiver: ReceiverProcess, answering: Callable[[Stream], Awaitable[None]]
) -> None:
    async with traced_service(service_database, answering) as served:
        for _ in range(20):
            await create(served, receiver.url(), None)
        await receiver.wait_arrivals(20)
        with trio.fail_after(STOP_S):
            await served.stop()
    assert all(arrival.late_ms < 1_000 for arrival in receiver.arrivals)


async def test_wrong_variable_is_refused_in_words(service_database: str) -> None:
    environ = {"API_KEY": API_KEY, "DATABASE_URL": service_database, "PORT": "0"}
    wrong = {"TRACING": "on", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}
    async with running(*SERVE, environ=environ | wrong) as program:
        assert await program.wait_ended() == 2
        (line,) = program.err
        assert line.startswith("TRACING is on, and a variable OTEL_... cannot be: max_queue_size")
