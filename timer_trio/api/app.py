"""The app: which route stands where, and what stands around them all."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import structlog
import trio
from quart import Response, request
from quart.typing import RouteCallable
from quart_trio import QuartTrio

from timer_trio.api.asgi import (
    BODY_LIMITS,
    STREAMED_BODIES,
    Exchange,
)
from timer_trio.api.auth import KeyGuard
from timer_trio.api.body.slices import Slices
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import refusal_of
from timer_trio.api.fields.rules import Rules
from timer_trio.api.openapi.document import openapi_document
from timer_trio.api.responses import refused
from timer_trio.api.routes.batch import BatchRoute, most_batch_bytes
from timer_trio.api.routes.docs import DocsRoutes
from timer_trio.api.routes.health import HealthRoutes
from timer_trio.api.routes.home import home
from timer_trio.api.routes.imports import ImportRoute
from timer_trio.api.routes.metrics import MetricsRoute
from timer_trio.api.routes.replicas import ReplicasRoute
from timer_trio.api.routes.timers import TimerRoutes
from timer_trio.api.url_map import IdConverter, RouteMap, origin_path

BODY_TIMEOUT_S: Final = 30
BATCH_PATH: Final = "/timers/batch"
IMPORT_PATH: Final = "/timers/import"

_log = structlog.get_logger()


class TimerApp(QuartTrio):
    asgi_http_class = Exchange  # type: ignore[assignment]  # quart-trio names one class
    url_map_class = RouteMap

    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "path": origin_path(scope["path"])}
        await super().asgi_app(scope, receive, send)

    async def make_default_options_response(self) -> Response:
        response = await super().make_default_options_response()
        response.status_code = HTTPStatus.NO_CONTENT
        response.headers.pop("Content-Type")
        response.headers.pop("Content-Length")
        return response


def create_app(context: ApiContext) -> QuartTrio:
    """Assemble the API; it needs no lifespan, so it can be called in-process as well."""
    app = TimerApp("timer_trio", static_folder=None)
    app.url_map.merge_slashes = False  # a redirect would be an answer outside the contract
    app.url_map.converters["default"] = IdConverter
    app.config["MAX_CONTENT_LENGTH"] = context.max_body_bytes
    app.config["BODY_TIMEOUT"] = BODY_TIMEOUT_S
    app.config[BODY_LIMITS] = {BATCH_PATH: most_batch_bytes(context.max_body_bytes)}
    app.config[STREAMED_BODIES] = frozenset({IMPORT_PATH})
    app.before_request(KeyGuard(context.api_key).check)
    app.register_error_handler(Exception, _answer)
    app.after_request(_PartingWord(context.stopping).say)
    _add_routes(app, context)
    return app


def _add_routes(app: QuartTrio, context: ApiContext) -> None:
    slices = Slices()
    rules = Rules(
        timeout_s=context.default_timeout_s,
        misfire_grace_s=context.default_misfire_grace_s,
        max_metadata_keys=context.max_metadata_keys,
        guard=context.guard,
    )
    timers, health = TimerRoutes(context, rules, slices), HealthRoutes(context)
    batch = BatchRoute(context, rules, slices)
    importing = ImportRoute(context, rules, slices)
    docs = DocsRoutes(openapi_document(context))
    routes: tuple[tuple[str, str, RouteCallable], ...] = (
        ("GET", "/", home),
        ("POST", "/timers", timers.create),
        ("GET", "/timers", timers.list),
        ("POST", BATCH_PATH, batch.create_batch),
        ("POST", IMPORT_PATH, importing.run_import),
        ("GET", "/timers/<timer_id>", timers.get),
        ("PUT", "/timers/<timer_id>", timers.update),
        ("DELETE", "/timers/<timer_id>", timers.cancel),
        ("GET", "/replicas", ReplicasRoute(context).list_replicas),
        ("GET", "/health", health.health),
        ("GET", "/health/live", health.live),
        ("GET", "/health/ready", health.ready),
        ("GET", "/metrics", MetricsRoute(context).metrics),
        ("GET", "/openapi.json", docs.openapi),
        ("GET", "/docs", docs.page),
        ("GET", "/docs/style.css", docs.style),
    )
    for method, path, route in routes:
        app.add_url_rule(path, view_func=route, methods=[method])


class _PartingWord:
    """Asks each client for another connection next time, once a stop has begun."""

    def __init__(self, stopping: trio.Event) -> None:
        self._stopping = stopping

    async def say(self, response: Response) -> Response:
        if self._stopping.is_set():
            response.headers["Connection"] = "close"
        return response


async def _answer(error: Exception) -> Response:
    refusal = refusal_of(error)
    if refusal.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request failed", method=request.method, path=request.path, exc_info=error)
    return refused(refusal)
