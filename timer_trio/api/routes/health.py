"""Whether the service lives, is ready, and reaches its database: for probes and people."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from quart import Response
from typing_extensions import TypedDict

from timer_trio.api.context import ApiContext
from timer_trio.api.errors import RETRY, Code, Refusal
from timer_trio.api.responses import Instant, refused, success, utc

_EXACT: Final = ConfigDict(extra="forbid")


@with_config(_EXACT)
class HealthData(TypedDict):
    status: Literal["up", "degraded"]
    database: Literal["connected", "disconnected"]
    timestamp: Instant
    reason: Annotated[
        NotRequired[str], Field(description="What the database is there for and does not do.")
    ]
    warnings: Annotated[
        NotRequired[list[str]], Field(description="What weakens the service's promises.")
    ]


@with_config(_EXACT)
class LiveData(TypedDict):
    status: Literal["up"]


@with_config(_EXACT)
class ReadyData(TypedDict):
    status: Literal["ready", "not ready"]


class HealthRoutes:
    def __init__(self, context: ApiContext) -> None:
        self._health = context.health
        self._clock = context.clock

    async def health(self) -> Response:
        connected, trouble = self._health.database_connected, self._health.trouble
        data: HealthData = {
            "status": "up" if connected and not trouble else "degraded",
            "database": "connected" if connected else "disconnected",
            "timestamp": utc(self._clock.timestamp()),
        }
        if trouble:
            data["reason"] = trouble
        if self._health.warnings:
            data["warnings"] = list(self._health.warnings)
        if data["status"] == "up":
            return success(data)
        return _unavailable(trouble or "the database cannot be reached", data)

    async def live(self) -> Response:
        data: LiveData = {"status": "up"}
        return success(data)

    async def ready(self) -> Response:
        ready = self._health.ready
        data: ReadyData = {"status": "ready" if ready else "not ready"}
        return success(data) if ready else _unavailable("the service is not ready", data)


def _unavailable(message: str, data: HealthData | ReadyData) -> Response:
    return refused(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, Code.INTERNAL, message, {**data}, RETRY))
