"""Flows: timers that share limits."""

from __future__ import annotations

from typing import Unpack

from timer_trio.client.answers import DeletedFlow, Flow, FlowState, Page
from timer_trio.client.call import Call, at, given
from timer_trio.client.fields import FlowFields
from timer_trio.client.operation import D, Resource, listing, operation
from timer_trio.client.reading import record


class Flows(Resource[D]):
    """`client.flows`."""

    def _listed(self, *, page_size: int = 50, paused: bool | None = None) -> Call[Page[Flow]]:
        """List the flows that have settings."""
        return Call.listed("flows", Flow, given({"paused": paused}), page_size)

    list = listing(_listed)
    page = operation(_listed)

    @operation
    def get(self, flow_key: str) -> Call[FlowState]:
        """Return a flow with what is in flight and waits, also one that has no settings."""
        return Call.get(at("/flows/{}", flow_key), record(FlowState))

    @operation
    def set(self, flow_key: str, **settings: Unpack[FlowFields]) -> Call[Flow]:
        """Limit, pause or resume a flow; what is left out stays as it is."""
        return Call.put(at("/flows/{}", flow_key), settings, record(Flow))

    @operation
    def delete(self, flow_key: str) -> Call[DeletedFlow]:
        """Take the settings of a flow away; its timers stay."""
        return Call.delete(at("/flows/{}", flow_key), record(DeletedFlow), is_safe=False)
