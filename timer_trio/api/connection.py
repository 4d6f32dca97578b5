"""One HTTP exchange with Quart: every answer reaches its client, and every path can be routed."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart import Request
from quart.routing import QuartMap
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.routing import MapAdapter

MAX_DROPPED_BYTES: Final = 8 * 1024 * 1024
"""Of a body that nobody wants: what a client may well have sent before it looks for an answer."""
DROP_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 1.0
"""A stop waits so long for an answer's end at most: nothing of the answer itself is left then."""


class Connection(TrioASGIHTTPConnection):
    """Reads on after the answer, until the client has sent what it began.

    A server that closes on unread bytes resets the connection, and the client may never see the
    answer: so the end of the answer waits for the end of the body.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._end_of_body = trio.Event()

    async def handle_messages(  # type: ignore[override]  # quart-trio's, too, adds the nursery
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        most = self.app.config["MAX_CONTENT_LENGTH"] + MAX_DROPPED_BYTES
        received = 0
        while (message := await receive())["type"] == "http.request":
            body, more = message.get("body", b""), message.get("more_body", False)
            request.body.append(body)
            received += len(body)
            if not more:
                request.body.set_complete()
            if not more or received > most:
                self._end_of_body.set()
        nursery.cancel_scope.cancel()

    async def handle_request(  # type: ignore[override]  # quart-trio's, too, adds the nursery
        self, nursery: trio.Nursery, request: Request, send: ASGISendCallable
    ) -> None:
        async def send_when_read(message: ASGISendEvent) -> None:
            if message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            if not self._end_of_body.is_set():
                with trio.move_on_after(DROP_TIMEOUT_S):
                    await self._end_of_body.wait()
            # The end of the answer brings a disconnect, which cancels this task: unshielded, the
            # server would not come to close the socket.
            with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                await send(message)

        await super().handle_request(nursery, request, send_when_read)


class RouteMap(QuartMap):
    """Finds a route by its path alone: a strange Host or query string is no reason to fail."""

    def bind_to_request(
        self,
        request: BaseRequestWebsocket,
        subdomain: str | None,  # noqa: ARG002 - Quart's signature
        server_name: str | None,  # noqa: ARG002
    ) -> MapAdapter:
        return self.bind(
            "", url_scheme=request.scheme, default_method=request.method, path_info=request.path
        )


def origin_path(target: str) -> str:
    """Reduce a request target to its path: proxies may send it in absolute form."""
    if target.startswith("/"):
        return target
    try:
        return urlsplit(target).path or "/"
    except ValueError:
        return "/"
