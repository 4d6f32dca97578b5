"""Flows: what limits and holds back the timers that share a flow_key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quart import Response, request

from timer_trio.api.body.media import json_body
from timer_trio.api.context import ApiContext
from timer_trio.api.fields.flow import PUT_FLOW
from timer_trio.api.parameters import refuse_parameters, refuse_unreadable_path
from timer_trio.api.principal import own_project
from timer_trio.api.query import parse_flow_query
from timer_trio.api.requests import read_name
from timer_trio.api.responses import success
from timer_trio.api.route import ON_BODY, ON_ONE, ON_STORED, Body, Json, Operation, Route, Success
from timer_trio.api.routes.list_parameters import FLOW_LIST_PARAMETERS
from timer_trio.api.rule_requests import read_flow_change, reading_rule
from timer_trio.api.rule_responses import (
    DeletedFlowData,
    FlowData,
    FlowPageData,
    FlowStateData,
    flow_data,
    flow_page_data,
    flow_state_data,
)
from timer_trio.domain.audit import Action
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.rules import MAX_FLOW_KEY_LENGTH

TAG: Final = "flows and pauses"
PATH: Final = "/flows"
_ONE: Final = "/flows/{flow_key}"
_FIELD: Final = "flow_key"
_EXAMPLE: Final = {"max_in_flight": 5, "rate": {"count": 100, "per_seconds": 60}}
_KEY: Final[Json] = {
    "name": _FIELD,
    "in": "path",
    "required": True,
    "description": "The `flow_key` of its timers, percent-encoded.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_FLOW_KEY_LENGTH},
}


def routes(context: ApiContext) -> Sequence[Route]:
    flows = _Flows(context)
    limits = f"At most {context.max_body_bytes:,} bytes."
    body = Body(model=PUT_FLOW, example=_EXAMPLE, limits=limits)
    return (
        Route(method="GET", path=PATH, handler=flows.list_flows, operation=_LIST),
        Route(method="GET", path=_ONE, handler=flows.get_flow, operation=_GET),
        Route(method="PUT", path=_ONE, handler=flows.put_flow, body=body, operation=_PUT),
        Route(method="DELETE", path=_ONE, handler=flows.delete_flow, operation=_DELETE),
    )


class _Flows:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._storage = context.storage
        self._cursor_key = context.cursor_key

    async def list_flows(self) -> Response:
        query = parse_flow_query(request.query_string, self._cursor_key, own_project())
        page = await self._storage.list_flows(query)
        return success(flow_page_data(page, query, self._cursor_key))

    async def get_flow(self, flow_key: str) -> Response:
        refuse_parameters(request.query_string)
        now = self._context.clock.now()
        return success(flow_state_data(await self._storage.get_flow(_flow_of(flow_key), now)))

    async def put_flow(self, flow_key: str) -> Response:
        now, flow = self._context.clock.now(), _flow_of(flow_key)
        members = await self._context.slices.finish(reading_rule(await json_body()))
        change = read_flow_change(members, self._context.rules)
        await self._context.releases.require_all_new()
        changed = await self._storage.put_flow(flow, change, now)
        self._context.rules_changed()
        self._context.audit.note(Action.FLOW_CHANGED, flow.key, fields=sorted(members))
        return success(flow_data(changed))

    async def delete_flow(self, flow_key: str) -> Response:
        refuse_parameters(request.query_string)
        flow = _flow_of(flow_key)
        await self._storage.delete_flow(flow, self._context.clock.now())
        self._context.rules_changed()
        self._context.audit.note(Action.FLOW_DELETED, flow.key)
        return success({"flow_key": flow.key})


def _flow_of(flow_key: str) -> FlowId:
    """Read which flow of the own project the path names.

    Raises:
        InvalidRequestError: no timer can be in it.
    """
    refuse_unreadable_path(request.scope["raw_path"], _FIELD)
    return FlowId(own_project(), FlowKey(read_name(flow_key, _FIELD)))


_LIST: Final = Operation(
    name="listFlows",
    tag=TAG,
    summary="List flows",
    description="Those that have settings; one that has none can be read by its key while timers "
    "are in it.",
    success=Success(words="A page of flows.", data=FlowPageData),
    refusals=ON_STORED,
    parameters=FLOW_LIST_PARAMETERS,
)
_GET: Final = Operation(
    name="getFlow",
    tag=TAG,
    summary="Get a flow",
    description="Its settings, and how many of its timers are executing and wait. 404 where there "
    "are neither settings nor timers that have not ended.",
    success=Success(words="The flow.", data=FlowStateData),
    refusals=ON_ONE,
    parameters=(_KEY,),
)
_PUT: Final = Operation(
    name="putFlow",
    tag=TAG,
    summary="Limit, pause or resume a flow",
    description="Any of the settings, at least one; what is left out stays as it is, and is no "
    "limit where the flow had no settings. They hold on all replicas within 5 s of this answer. "
    "What they hold back stays `pending` and can be changed and canceled; its misfire grace begins "
    "when it need not wait any more.",
    success=Success(words="The settings as they are now.", data=FlowData, example=_EXAMPLE),
    refusals=(*ON_STORED, *ON_BODY),
    parameters=(_KEY,),
)
_DELETE: Final = Operation(
    name="deleteFlow",
    tag=TAG,
    summary="Delete the settings of a flow",
    description="Its timers stay, and nothing holds them back any more: neither a limit nor a "
    "pause. 404 where it has no settings.",
    success=Success(words="The settings are deleted.", data=DeletedFlowData),
    refusals=ON_ONE,
    parameters=(_KEY,),
)
