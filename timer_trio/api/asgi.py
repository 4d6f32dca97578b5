"""One HTTP exchange with Quart, whose answer reaches its client whatever that still sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart import Request
from quart_trio.asgi import TrioASGIHTTPConnection

from timer_trio.api.body.stream import BodyStream
from timer_trio.api.route import Body

MAX_DROPPED_BYTES: Final = 8 * 1024 * 1024
"""Of a body that nobody wants: what a client may well have sent before it looks for an answer."""
DROP_TIMEOUT_S: Final = 10.0

UNUSUAL_BODIES: Final = "UNUSUAL_BODIES"
"""Of the app's configuration: by path, the bodies that MAX_CONTENT_LENGTH does not limit."""


class QuartExchange(TrioASGIHTTPConnection):
    """Reads on after the answer, until the client has sent what it began.

    A server that closes on unread bytes resets the connection, and the client may never see the
    answer: so the end of the answer waits for the end of the body.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._end_of_body = trio.Event()
        self._is_answered = False
        self._stream: BodyStream | None = None
        self._most_bytes: int = self.app.config["MAX_CONTENT_LENGTH"]

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        request = super()._create_request_from_scope(send)
        bodies: Mapping[str, Body] = self.app.config[UNUSUAL_BODIES]
        if (body := bodies.get(request.path)) is None:
            return request
        if body.is_streamed:
            self._stream = BodyStream()
            request.body = self._stream  # type: ignore[assignment]  # its route reads it as such
            self._most_bytes = 0
        elif most := body.most_bytes:
            self._most_bytes = request.max_content_length = most
            request.body = request.body_class(request.content_length, most)
        return request

    async def handle_messages(  # type: ignore[override]  # quart-trio's, too, adds the nursery
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        received = 0
        while (message := await receive())["type"] == "http.request":
            body, more = message.get("body", b""), message.get("more_body", False)
            if self._stream is None:
                # Who is refused by the head alone must not fill the memory with the rest.
                if not self._is_answered:
                    request.body.append(body)
                received += len(body)
                if not more:
                    request.body.set_complete()
            else:
                # A server waits with what it has not read, so nothing piles up on the way.
                if body and not await self._stream.feed(body):
                    received += len(body)
                if not more:
                    self._stream.end()
            if not more or received > self._most_bytes + MAX_DROPPED_BYTES:
                self._end_of_body.set()
        if self._is_answered and self._stream is None:
            self._end_of_body.set()  # who has sent no more may still read what is answered
        else:
            nursery.cancel_scope.cancel()

    async def handle_request(  # type: ignore[override]  # quart-trio's, too, adds the nursery
        self, nursery: trio.Nursery, request: Request, send: ASGISendCallable
    ) -> None:
        async def send_when_read(message: ASGISendEvent) -> None:
            self._is_answered = True
            if message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            if self._stream is not None:
                self._stream.close()
            if not self._end_of_body.is_set():
                with trio.move_on_after(DROP_TIMEOUT_S):
                    await self._end_of_body.wait()
            await send(message)

        await super().handle_request(nursery, request, send_when_read)
