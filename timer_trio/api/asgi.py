"""One HTTP exchange with Quart, whose answer reaches its client whatever that still sends."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart import Request, Response
from quart.utils import encode_headers
from quart.wrappers.response import DataBody
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioRequest

from timer_trio.api.access_log import AccessLog, route_of
from timer_trio.api.body.stream import BodyStream
from timer_trio.api.body.whole import WholeBody
from timer_trio.api.route import Body
from timer_trio.domain.trace import traceparent_of
from timer_trio.telemetry.requests import RequestMetrics
from timer_trio.telemetry.tracing import UNDER_WAY, RequestSpan, Tracing

MAX_DROPPED_BYTES: Final = 8 * 1024 * 1024
"""Of a body that nobody wants: what a client may well have sent before it looks for an answer."""
DROP_TIMEOUT_S: Final = 10.0

UNUSUAL_BODIES: Final = "UNUSUAL_BODIES"
"""Of the app's configuration: by path, the bodies that MAX_CONTENT_LENGTH does not limit."""
ACCESS_LOG: Final = "ACCESS_LOG"
"""Of the app's configuration: where each request has its line."""
REQUESTS: Final = "REQUESTS"
"""Of the app's configuration: where each request is counted."""
TRACING: Final = "TRACING"
"""Of the app's configuration: what makes a span of each request; None: nobody collects any."""


class ApiRequest(TrioRequest):
    body_class = WholeBody  # type: ignore[assignment]  # Quart names its own
    blueprints = ()  # type: ignore[assignment]  # there are none, and Quart looks for them thrice
    limit_fields: Mapping[str, str] | None = None
    """What its answer tells of a limit; None: its key has none."""
    span: RequestSpan | None = None


class QuartExchange(TrioASGIHTTPConnection):
    """Reads on after the answer, until the client has sent what it began.

    A server that closes on unread bytes resets the connection, and the client may never see the
    answer: so the end of the answer waits for the end of the body.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._end_of_stream = trio.Event()

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        requests: RequestMetrics = self.app.config[REQUESTS]
        requests.begin()
        try:
            await self._exchange(receive, send)
        finally:
            requests.end()

    async def _exchange(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        request: Any = self._create_request_from_scope(send)
        tracing: Tracing | None = self.app.config[TRACING]
        if tracing is not None:
            request.span = tracing.begin_request(request.headers.get("traceparent"))
            UNDER_WAY.set(traceparent_of(request.span.context))
        body: Any = request.body  # one of ours, whatever Quart calls it
        if isinstance(body, BodyStream):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._feed, nursery.cancel_scope, body, receive)
                await self._answer(request, body, send)
                nursery.cancel_scope.cancel()
        else:
            body.receive = receive
            await self._answer(request, body, send)

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        request = super()._create_request_from_scope(send)
        bodies: Mapping[str, Body] = self.app.config[UNUSUAL_BODIES]
        if (body := bodies.get(request.path)) is None:
            return request
        if body.is_streamed:
            request.body = BodyStream()  # type: ignore[assignment]  # its route reads it as such
        elif most := body.most_bytes:
            request.max_content_length = most
            request.body = request.body_class(request.content_length, most)
        return request

    async def _feed(
        self, scope: trio.CancelScope, stream: BodyStream, receive: ASGIReceiveCallable
    ) -> None:
        """Give the reader of a stream what comes, and cancel the exchange if its client leaves."""
        dropped = 0
        while (message := await receive())["type"] == "http.request":
            body, more = message.get("body", b""), message.get("more_body", False)
            # A server waits with what it has not read, so nothing piles up on the way.
            if body and not await stream.feed(body):
                dropped += len(body)
            if not more:
                stream.end()
            if not more or dropped > MAX_DROPPED_BYTES:
                self._end_of_stream.set()
        scope.cancel()

    async def _answer(
        self, request: Request, body: BodyStream | WholeBody, send: ASGISendCallable
    ) -> None:
        async def send_when_read(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await self._drop_rest(body)
            await send(message)

        began_s = trio.current_time()
        response: Any = await self.app.handle_request(request)  # never another library's
        self._end(request, response, began_s)
        if isinstance(response.response, DataBody) and body.has_ended:
            await _send_at_once(send, response, response.response.data)
            return
        timeout_s = response.timeout
        if timeout_s is Ellipsis:
            timeout_s = self.app.config["RESPONSE_TIMEOUT"]
        with trio.move_on_after(inf if timeout_s is None else timeout_s):
            await self._send_response(send_when_read, response)

    def _end(self, request: Any, response: Response, began_s: float) -> None:
        """Add to an answer what is due to every one, tell of it in the log, and count it."""
        if request.root_path and (path := response.headers.get("Location", "")).startswith("/"):
            response.headers["Location"] = request.root_path + path
        if request.limit_fields is not None:
            response.headers.update(request.limit_fields)
        access_log: AccessLog = self.app.config[ACCESS_LOG]
        access_log.note(request, response.status_code, began_s)
        requests: RequestMetrics = self.app.config[REQUESTS]
        took_s = trio.current_time() - began_s
        route = route_of(request)
        requests.note(route, request.method, response.status_code, took_s)
        tracing: Tracing | None = self.app.config[TRACING]
        if tracing is not None:
            tracing.end_request(request.span, request.method, route, response.status_code)

    async def _drop_rest(self, body: BodyStream | WholeBody) -> None:
        """Wait for the end of a body that nobody reads any more, but not for ever."""
        if isinstance(body, BodyStream):
            body.close()
            if not self._end_of_stream.is_set():
                with trio.move_on_after(DROP_TIMEOUT_S):
                    await self._end_of_stream.wait()
        elif not body.has_ended:
            with trio.move_on_after(DROP_TIMEOUT_S):
                await body.drop(MAX_DROPPED_BYTES)


async def _send_at_once(send: ASGISendCallable, response: Response, data: bytes) -> None:
    """Send what Quart would send in three messages, where nothing has to be waited for.

    How long its client may take is for the server to say: it does so for each part that it sends.
    """
    headers = encode_headers(response.headers)
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": data, "more_body": False})
