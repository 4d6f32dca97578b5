"""Which replicas there are and how they do, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, NotRequired

from pydantic import ConfigDict, Field, with_config
from quart import Response, request
from typing_extensions import TypedDict

from timer_trio import __version__
from timer_trio.api.context import ApiContext
from timer_trio.api.parameters import refuse_parameters
from timer_trio.api.responses import Id, Instant, success
from timer_trio.api.route import ON_STORED, Operation, Route, Success
from timer_trio.domain.roster import ReplicaStatus, RosterEntry, roster
from timer_trio.domain.timer import SHARDS, rfc3339

_EXACT: Final = ConfigDict(extra="forbid")
_OFFSET_DIGITS: Final = 3
"""Milliseconds: the way of an answer from the database is in it, too."""


@with_config(_EXACT)
class ReplicaData(TypedDict):
    id: Annotated[Id, Field(description="A new one whenever it joins.")]
    host: Annotated[str, Field(description="Empty if it did not tell.", examples=["timers-1"])]
    pid: Annotated[
        int,
        Field(description="Its process on that host; 0 if it did not tell.", ge=0, examples=[4711]),
    ]
    version: Annotated[
        str,
        Field(description="Of the service; empty if it did not tell.", examples=[__version__]),
    ]
    started_at: Annotated[Instant, Field(description="When it joined under this id.")]
    status: Annotated[
        ReplicaStatus,
        Field(
            description="alive; leaving: it stops, and others take over what it owned; silent: no "
            "heartbeat for four seconds."
        ),
    ]
    shards: Annotated[
        int,
        Field(
            description=f"How many of the {SHARDS} shards of the timers it owns; a silent one "
            "keeps its own until the others take over.",
            ge=0,
            le=SHARDS,
            examples=[SHARDS],
        ),
    ]
    in_flight: Annotated[
        int,
        Field(
            description="Timers claimed and not yet answered, as of its last heartbeat.",
            ge=0,
            examples=[2],
        ),
    ]
    cached: Annotated[
        int,
        Field(description="Timers in its memory, as of its last heartbeat.", ge=0, examples=[130]),
    ]
    heartbeat_at: Annotated[
        Instant | None,
        Field(
            description="When the database took its last heartbeat; null: none yet.",
            examples=["2030-01-31T09:29:59.5Z"],
        ),
    ]
    clock_offset_seconds: Annotated[
        float | None,
        Field(
            description="By how much its machine's clock is ahead of the database's, at most; "
            "null: not known. Timers do not depend on it."
        ),
    ]
    is_this_one: Annotated[
        bool, Field(description="Whether it is the one that answers.", examples=[True])
    ]
    cell: Annotated[
        NotRequired[str],
        Field(description="Where there are several, in which of them. A process is in each."),
    ]


@with_config(_EXACT)
class ReplicasData(TypedDict):
    timestamp: Annotated[Instant, Field(description="As of when, by the database's clock.")]
    replicas: Annotated[list[ReplicaData], Field(description="In the order of their start.")]


def routes(context: ApiContext) -> Sequence[Route]:
    handler = _Replicas(context).list_replicas
    return (
        Route(
            method="GET",
            path="/replicas",
            handler=handler,
            operation=_LIST,
            is_of_service=True,
        ),
    )


class _Replicas:
    def __init__(self, context: ApiContext) -> None:
        self._storage = context.storage
        self._clock = context.clock
        self._health = context.health

    async def list_replicas(self) -> Response:
        refuse_parameters(request.query_string)
        # Of before the rows are read: an answer that takes its time makes nobody silent.
        now = self._clock.now()
        entries = roster(await self._storage.replicas(), now)
        data: ReplicasData = {
            "timestamp": rfc3339(now),
            "replicas": [self._data_of(entry) for entry in entries],
        }
        return success(data)

    def _data_of(self, entry: RosterEntry) -> ReplicaData:
        data = _replica_data(entry, is_this_one=entry.record.id in self._health.replica_ids)
        if self._health.cells:
            data["cell"] = str(entry.record.cell)
        return data


def _replica_data(entry: RosterEntry, *, is_this_one: bool) -> ReplicaData:
    record, identity, stats = entry.record, entry.record.identity, entry.record.stats
    offset_s = stats.clock_offset_s
    return {
        "id": str(record.id),
        "host": identity.host,
        "pid": identity.pid,
        "version": identity.version,
        "started_at": rfc3339(record.started_at),
        "status": entry.status,
        "shards": entry.shards,
        "in_flight": stats.in_flight,
        "cached": stats.cached,
        "heartbeat_at": None if record.beaten_at is None else rfc3339(record.beaten_at),
        # What is added makes a -0.0 of the rounding 0.0.
        "clock_offset_seconds": None if offset_s is None else round(offset_s, _OFFSET_DIGITS) + 0.0,
        "is_this_one": is_this_one,
    }


_LIST: Final = Operation(
    name="listReplicas",
    tag="operation",
    summary="Which replicas are there?",
    description="The processes that share the database and divide the timers among them. One "
    "that has stopped is not listed; one that has died is silent until another takes over what "
    "it owned.",
    success=Success(words="The replicas.", data=ReplicasData),
    refusals=ON_STORED,
)
