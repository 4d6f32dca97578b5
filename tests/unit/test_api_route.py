from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter
from quart import Response
from quart_trio import QuartTrio

from timer_trio.access.key_ring import KeyRing
from timer_trio.access.key_uses import KeyUses
from timer_trio.api.auth import KeyGuard, KnownKeys
from timer_trio.api.errors import UnauthorizedError
from timer_trio.api.key_limits import KeyLimits
from timer_trio.api.route import Body, Route
from timer_trio.api.url_map import add_routes
from timer_trio.clock import Clock
from timer_trio.storage.memory import MemoryStorage

STORAGE = MemoryStorage(lambda: datetime(2030, 1, 1, tzinfo=UTC))
KEYS = KnownKeys(KeyRing(STORAGE), KeyUses(STORAGE), Clock())


async def answer(**_: str) -> Response:
    return Response("")


def route(path: str, **more: Any) -> Route:
    return Route(method="GET", path=path, handler=answer, **more)


def body(**more: Any) -> Body:
    return Body(model=TypeAdapter(str), example="", limits="", **more)


async def is_open(path: str, *routes: Route) -> bool:
    app = QuartTrio(__name__)
    async with app.test_request_context(path):
        try:
            guard = KeyGuard("k", KEYS, KeyLimits(lambda: 1))
            guard.watch(routes)
            await guard.check()
        except UnauthorizedError:
            return False
        return True


async def test_open_route_needs_no_key_and_others_do() -> None:
    routes = route("/", is_open=True), route("/health", is_open=True), route("/timers")
    assert await is_open("/", *routes)
    assert await is_open("/health", *routes)
    for path in ("/timers", "/health/live", "/healthy", "/nowhere", "/timers/health"):
        assert not await is_open(path, *routes)


async def test_nobody_needs_a_key_where_all_routes_are_open() -> None:
    routes = route("/docs/style.css", is_open=True), route("/timers")
    assert await is_open("/docs/nowhere", *routes)
    assert not await is_open("/docs", *routes)
    assert not await is_open("/docs/nowhere", *routes, route("/docs/secret"))


@pytest.mark.parametrize(
    ("path", "matched"),
    [
        ("/timers/1", {"timer_id": "1"}),
        ("/timers/batch", None),
        ("/timers/batches", {"timer_id": "batches"}),
        ("/timers/a.b", None),
        ("/timers/aXb", {"timer_id": "aXb"}),
    ],
)
def test_parameter_is_not_the_name_of_a_route_beside_it(
    path: str, matched: dict[str, str] | None
) -> None:
    app = QuartTrio(__name__, static_folder=None)
    add_routes(app, [route("/timers/{timer_id}"), route("/timers/batch"), route("/timers/a.b")])
    found, values = app.url_map.bind("").match(path, return_rule=True)
    assert (values if "{" in str(found).replace("<", "{") else None) == matched


def test_body_below_a_parameter_must_be_of_the_usual_kind() -> None:
    route("/timers/{timer_id}", body=body())
    route("/timers/batch", body=body(most_bytes=1))
    for unusual in (body(most_bytes=1), body(is_streamed=True)):
        with pytest.raises(ValueError, match="usual kind"):
            route("/timers/{timer_id}", body=unusual)
