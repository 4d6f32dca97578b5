"""The app: all routes, and what stands around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import structlog
import trio
from quart import Response, request
from quart.sessions import NullSession, SessionInterface
from quart_trio import QuartTrio

from timer_trio.api.access_log import AccessLog
from timer_trio.api.asgi import (
    ACCESS_LOG,
    REQUESTS,
    TRACING,
    UNUSUAL_BODIES,
    ApiRequest,
    QuartExchange,
)
from timer_trio.api.auth import KeyGuard, KnownKeys
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import refusal_of
from timer_trio.api.inside import Inside
from timer_trio.api.key_limits import KeyLimits
from timer_trio.api.masking import SENSITIVE_HEADERS
from timer_trio.api.responses import refused
from timer_trio.api.route import Route
from timer_trio.api.routes import all_routes
from timer_trio.api.url_map import RouteMap, add_routes, origin_path, path_under
from timer_trio.telemetry.requests import UNMATCHED, RequestMetrics

BODY_TIMEOUT_S: Final = 30
_METHODS: Final = ("GET", "POST", "PUT", "DELETE")
_OF_STRANGERS: Final = (401, 404, 405, 429)
"""What a request is answered for whose path there is no route."""

_log = structlog.get_logger()


class _NoSessions(SessionInterface):
    """What Quart asks for the session of each request: there is one for all, and nothing in it."""

    _none = NullSession()

    async def open_session(self, *_: object) -> NullSession:
        return self._none

    async def save_session(self, *_: object) -> None:
        raise AssertionError("a null session is not saved")


class TimerApp(QuartTrio):
    """Quart, with what its requests have before their paths: `request.root_path`."""

    asgi_http_class = QuartExchange  # type: ignore[assignment]  # quart-trio names one class
    request_class = ApiRequest
    session_interface = _NoSessions()  # type: ignore[assignment]  # Quart names its own
    url_map_class = RouteMap
    prefix = ""

    def ensure_async(self, func: Any) -> Any:
        return func  # all that is registered here is so, and Quart looks at each again and again

    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            path = path_under(self.prefix, origin_path(scope["path"]))
            scope = {**scope, "path": path, "root_path": self.prefix}
        await super().asgi_app(scope, receive, send)

    async def make_default_options_response(self) -> Response:
        response = await super().make_default_options_response()
        response.status_code = HTTPStatus.NO_CONTENT
        response.headers.pop("Content-Type")
        response.headers.pop("Content-Length")
        return response


MorePages = Callable[[ApiContext, Inside], Sequence[Route]]
"""What is served beside the API, and asks it."""


def create_app(context: ApiContext, pages: MorePages | None = None) -> QuartTrio:
    """Assemble the API; it needs no lifespan, so it can be called in-process as well.

    `pages` makes routes beside its own, which its document does not list.
    """
    app = TimerApp("timer_trio", static_folder=None)
    app.prefix = context.root_path
    app.config["MAX_CONTENT_LENGTH"] = context.max_body_bytes
    app.config["BODY_TIMEOUT"] = BODY_TIMEOUT_S
    keys = KnownKeys(context.key_ring, context.key_uses, context.clock)
    guard = KeyGuard(context.api_key, keys, KeyLimits(context.living))
    routes = [*all_routes(context)]
    if pages is not None:
        routes += pages(context, Inside(app, guard, keys))
    guard.watch(routes)
    app.config[UNUSUAL_BODIES] = {
        route.path: route.body for route in routes if route.body and not route.body.is_usual
    }
    app.config[ACCESS_LOG] = AccessLog()
    app.config[REQUESTS] = _expecting(context.metrics.requests, routes)
    app.config[TRACING] = context.tracing
    app.config[SENSITIVE_HEADERS] = context.sensitive
    app.before_request(guard.check)
    app.register_error_handler(Exception, _answer)
    app.after_request(partial(_close_connection, context.stopping))
    add_routes(app, routes)
    return app


def _expecting(requests: RequestMetrics, routes: Sequence[Route]) -> RequestMetrics:
    for route in routes:
        requests.expect(route.path, route.method, sorted(route.statuses))
    for method in _METHODS:
        requests.expect(UNMATCHED, method, _OF_STRANGERS)
    return requests


async def _close_connection(stopping: trio.Event, response: Response) -> Response:
    """Ask the client for another connection next time, once a stop has begun."""
    if stopping.is_set():
        response.headers["Connection"] = "close"
    return response


async def _answer(error: Exception) -> Response:
    refusal = refusal_of(error)
    if refusal.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request_failed", method=request.method, path=request.path, exc_info=error)
    return refused(refusal)
