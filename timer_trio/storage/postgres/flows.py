"""The settings of flows, in PostgreSQL; a change of them is one of the rules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from timer_trio.domain.errors import FlowNotFoundError
from timer_trio.domain.flow import FlowId
from timer_trio.domain.rules import (
    Flow,
    FlowChange,
    FlowPage,
    FlowQuery,
    FlowState,
)
from timer_trio.storage.postgres.connections import Connection, rows_of
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.flow_rows import flow_columns, flow_of
from timer_trio.storage.postgres.rules import changing


class PostgresFlows(Database):
    """The verbs of RuleStorage that are of flows alone, in PostgreSQL."""

    async def put_flow(self, flow: FlowId, change: FlowChange, now: datetime) -> Flow:
        return await self._api.run(
            lambda connection: _put(connection, flow, change, now), verb="put_flow", refuses=True
        )

    async def get_flow(self, flow: FlowId, now: datetime) -> FlowState:
        parameters = {**_which(flow), "now": now}
        (row,) = await self._api.fetch("flow_state", parameters, refuses=True)
        known = flow_of(row)
        if not known.has_settings and not row["is_live"]:
            raise FlowNotFoundError
        return FlowState(
            flow=known if known.has_settings else Flow(key=flow.key),
            in_flight=row["in_flight"],
            waiting=row["waiting"],
        )

    async def list_flows(self, query: FlowQuery) -> FlowPage:
        parameters = {
            "project": query.project,
            "after": query.after or "",
            "is_running": query.is_paused is False,
            "limit": query.limit + 1,
        }
        statement = "paused_flows" if query.is_paused else "flows"
        rows = await self._api.fetch(statement, parameters)
        flows = [*map(flow_of, rows[: query.limit])]
        return FlowPage(flows=flows, next=flows[-1].key if len(rows) > len(flows) else None)

    async def delete_flow(self, flow: FlowId, now: datetime) -> None:
        await self._api.run(
            lambda connection: _delete(connection, flow, now), verb="delete_flow", refuses=True
        )


def _put(connection: Connection, flow: FlowId, change: FlowChange, now: datetime) -> Flow:
    with changing(connection) as version:
        changed = _known(connection, flow).changed(change, now)
        rows_of(connection, "put_flow", flow_columns(changed, flow.project, version))
    return changed


def _delete(connection: Connection, flow: FlowId, now: datetime) -> None:
    with changing(connection) as version:
        known = _known(connection, flow)
        if not known.has_settings:
            raise FlowNotFoundError
        rows_of(connection, "put_flow", flow_columns(known.deleted(now), flow.project, version))


def _known(connection: Connection, flow: FlowId) -> Flow:
    rows = rows_of(connection, "flow", _which(flow))
    return flow_of(rows[0]) if rows else Flow(key=flow.key)


def _which(flow: FlowId) -> Mapping[str, object]:
    return {"project": flow.project, "key": flow.key}
