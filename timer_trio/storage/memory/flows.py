"""The settings of flows, in memory; a change of them is one of the rules."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime

import trio

from timer_trio.domain.errors import FlowNotFoundError
from timer_trio.domain.flow import FlowId
from timer_trio.domain.rules import (
    Flow,
    FlowChange,
    FlowPage,
    FlowQuery,
    FlowState,
)
from timer_trio.domain.timer import ENDED
from timer_trio.storage.memory.database import Database, FlowRow, Row


class MemoryFlows(Database):
    """The verbs of RuleStorage that are of flows alone, in memory."""

    async def put_flow(self, flow: FlowId, change: FlowChange, now: datetime) -> Flow:
        await trio.lowlevel.checkpoint()
        changed = self._known(flow).changed(change, now)
        self._flows[flow] = FlowRow(changed, self._raised_version())
        return changed

    async def get_flow(self, flow: FlowId, now: datetime) -> FlowState:
        await trio.lowlevel.checkpoint()
        known = self._known(flow)
        rows = self._live_in_flow(flow)
        if not known.has_settings and not rows:
            raise FlowNotFoundError
        return FlowState(
            flow=known if known.has_settings else Flow(key=flow.key),
            in_flight=sum(row.claimed_by is not None for row in rows),
            waiting=sum(row.due_at is not None and row.due_at <= now for row in rows),
        )

    async def list_flows(self, query: FlowQuery) -> FlowPage:
        await trio.lowlevel.checkpoint()
        listed = (
            row.flow
            for (project, key), row in self._flows.items()
            if project == query.project
            and row.flow.has_settings
            and key > (query.after or "")
            and query.is_paused in {None, row.flow.rules.paused_at is not None}
        )
        flows = heapq.nsmallest(query.limit + 1, listed, key=lambda flow: flow.key)
        page = flows[: query.limit]
        return FlowPage(flows=page, next=page[-1].key if len(flows) > len(page) else None)

    async def delete_flow(self, flow: FlowId, now: datetime) -> None:
        await trio.lowlevel.checkpoint()
        known = self._known(flow)
        if not known.has_settings:
            raise FlowNotFoundError
        self._flows[flow] = FlowRow(known.deleted(now), self._raised_version())

    def _known(self, flow: FlowId) -> Flow:
        row = self._flows.get(flow)
        return Flow(key=flow.key) if row is None else row.flow

    def _live_in_flow(self, flow: FlowId) -> Sequence[Row]:
        return [
            row
            for row in self._rows.values()
            if row.project == flow.project
            and row.timer.flow_key == flow.key
            and row.timer.status not in ENDED
        ]
