"""What a replica asks for before it claims of flows, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from math import inf

from psycopg.rows import DictRow

from timer_trio.domain.errors import ReplicaGoneError
from timer_trio.domain.flow import FlowId, FlowKey, Terms
from timer_trio.domain.flows import FlowNow, FlowReading, FlowReadings
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import ReplicaId
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.flow_rows import rules_of
from timer_trio.storage.postgres.rows import due_of


class PostgresFlowTerms(Database):
    """FlowStorage in PostgreSQL."""

    async def take_terms(self, replica: ReplicaId, shards: Collection[int]) -> Terms:
        parameters = {"replica": replica, "shards": [*shards]}
        rows = await self._stages.fetch("take_terms", parameters)
        if not rows:
            raise ReplicaGoneError
        return {row["shard"]: row["term"] for row in rows if row["shard"] is not None}

    async def flow_readings(self, flows: Collection[FlowId], now: datetime) -> FlowReadings:
        rows = await self._stages.fetch("flow_readings", {**_names(flows), "now": now})
        return FlowReadings(
            version=min((row["version"] for row in rows), default=0),
            flows={_flow(row): _reading(row) for row in rows},
        )

    async def flows_now(self, flows: Collection[FlowId]) -> Mapping[FlowId, FlowNow]:
        rows = await self._stages.fetch("flows_now", _names(flows))
        return {_flow(row): _now(row) for row in rows}


def _names(flows: Collection[FlowId]) -> dict[str, object]:
    return {"projects": [flow.project for flow in flows], "keys": [flow.key for flow in flows]}


def _flow(row: DictRow) -> FlowId:
    return FlowId(ProjectId(row["project"]), FlowKey(row["flow_key"]))


def _now(row: DictRow) -> FlowNow:
    executing = frozenset(row["executing"] or ())
    if row["id"] is None:
        return FlowNow(executing)
    first = due_of(row["due_at"], row["id"], row["destination"], row["project"], row["flow_key"])
    return FlowNow(executing, first)


def _reading(row: DictRow) -> FlowReading:
    last_end: datetime | None = row["last_end"]
    return FlowReading(
        rules=rules_of(row),
        now=_now(row),
        ends_s=tuple(end.timestamp() for end in row["ends"] or ()),
        last_end_s=-inf if last_end is None else last_end.timestamp(),
    )
