"""The settings of flows, in several cells: each flow is in one."""

from __future__ import annotations

from datetime import datetime

from timer_trio.domain.cells import CellNumber
from timer_trio.domain.flow import FlowId, FlowKey, flow_shard
from timer_trio.domain.rules import Flow, FlowChange, FlowPage, FlowQuery, FlowState
from timer_trio.storage.routed.cells import Cells
from timer_trio.storage.routed.merging import merged


class RoutedFlows(Cells):
    """The verbs of RuleBook that are of flows alone, in several cells.

    No database can refuse what is of a flow that has been moved away, as it does with timers: so
    what is written counts, as what is read does, if nothing has been moved until then.
    """

    async def put_flow(self, flow: FlowId, change: FlowChange, now: datetime) -> Flow:
        cell = self._cell_of_flow(flow)
        return await self._read(cell, lambda storage: storage.put_flow(flow, change, now))

    async def get_flow(self, flow: FlowId, now: datetime) -> FlowState:
        cell = self._cell_of_flow(flow)
        return await self._ask(cell, lambda storage: storage.get_flow(flow, now))

    async def list_flows(self, query: FlowQuery) -> FlowPage:
        pages = await self._ask_all(lambda storage: storage.list_flows(query))
        found = merged([page.flows for page in pages], query.limit + 1, by=_key_of)
        shown = found[: query.limit]
        is_last = len(found) == len(shown) and not any(page.next for page in pages)
        return FlowPage(flows=shown, next=None if is_last else shown[-1].key)

    async def delete_flow(self, flow: FlowId, now: datetime) -> None:
        cell = self._cell_of_flow(flow)
        await self._read(cell, lambda storage: storage.delete_flow(flow, now))

    def _cell_of_flow(self, flow: FlowId) -> CellNumber:
        return self._cells.of_shard(flow_shard(*flow))


def _key_of(flow: Flow) -> FlowKey:
    return flow.key
