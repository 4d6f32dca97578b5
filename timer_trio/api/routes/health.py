"""Whether the service lives, is ready, and reaches its database: for probes and people."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Final, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from quart import Response
from typing_extensions import TypedDict

from timer_trio.api.context import ApiContext
from timer_trio.api.errors import RETRY, Code, Refusal
from timer_trio.api.responses import Instant, refused, success
from timer_trio.api.route import Operation, Route, Success
from timer_trio.domain.timer import rfc3339

_EXACT: Final = ConfigDict(extra="forbid")


@with_config(_EXACT)
class CellData(TypedDict):
    name: Annotated[str, Field(description="Its shards.", examples=["0-127"])]
    database: Annotated[
        Literal["connected", "disconnected"], Field(description="As of its last heartbeat.")
    ]


@with_config(_EXACT)
class HealthData(TypedDict):
    status: Annotated[
        Literal["up", "degraded"],
        Field(description="degraded: the database cannot be reached, or refuses."),
    ]
    database: Annotated[
        Literal["connected", "disconnected"], Field(description="As of the last heartbeat.")
    ]
    timestamp: Annotated[Instant, Field(description="As of when.")]
    zone_data: Annotated[
        str,
        Field(
            description="The release of the IANA time zones that schedules go by.",
            examples=["2026a"],
        ),
    ]
    reason: Annotated[
        NotRequired[str], Field(description="What the database is there for and does not do.")
    ]
    cells: Annotated[
        NotRequired[list[CellData]],
        Field(description="Each of them, if there are several; it is up while any is connected."),
    ]
    warnings: Annotated[
        NotRequired[list[str]], Field(description="What weakens the service's promises.")
    ]


@with_config(_EXACT)
class LiveData(TypedDict):
    status: Literal["up"]


@with_config(_EXACT)
class ReadyData(TypedDict):
    status: Annotated[
        Literal["ready", "not ready"],
        Field(description="not ready: send no more requests here; it starts or stops."),
    ]


def routes(context: ApiContext) -> Sequence[Route]:
    health = _Health(context)
    places = (
        ("/health", health.health, _HEALTH),
        ("/health/live", health.live, _LIVE),
        ("/health/ready", health.ready, _READY),
    )
    return [
        Route(method="GET", path=path, handler=handler, operation=operation, is_open=True)
        for path, handler, operation in places
    ]


class _Health:
    def __init__(self, context: ApiContext) -> None:
        self._health = context.health
        self._clock = context.clock
        self._zone_data = context.calendar.zone_data

    async def health(self) -> Response:
        connected, trouble = self._health.database_connected, self._health.trouble
        data: HealthData = {
            "status": "up" if connected and not trouble else "degraded",
            "database": _word(connected=connected),
            "timestamp": rfc3339(self._clock.timestamp()),
            "zone_data": self._zone_data,
        }
        if trouble:
            data["reason"] = trouble
        if cells := self._health.cells:
            data["cells"] = [
                {"name": name, "database": _word(connected=connected)} for name, connected in cells
            ]
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


def _word(*, connected: bool) -> Literal["connected", "disconnected"]:
    return "connected" if connected else "disconnected"


def _unavailable(message: str, data: HealthData | ReadyData) -> Response:
    return refused(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, Code.INTERNAL, message, {**data}, RETRY))


_HEALTH: Final = Operation(
    name="getHealth",
    tag="operation",
    summary="Is the database there?",
    description="From the last heartbeat, so it never waits for the database.",
    success=Success(
        words="The database is connected.",
        data=HealthData,
        down={"status": "degraded", "database": "disconnected"},
    ),
)
_LIVE: Final = Operation(
    name="getLive",
    tag="operation",
    summary="Does the process turn?",
    description="200 as long as it does; restart it when this stops.",
    success=Success(words="It does.", data=LiveData),
)
_READY: Final = Operation(
    name="getReady",
    tag="operation",
    summary="May traffic be sent here?",
    description="503 until the first load is done, while the database is away, and as soon as "
    "a stop begins.",
    success=Success(words="It may.", data=ReadyData, down={"status": "not ready"}),
)
