"""Flows and pauses as they are answered."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from timer_trio.api.cursor import name_cursor_of
from timer_trio.api.responses import Instant, Limit, NextCursor, ShownDestination
from timer_trio.domain.rendering import Json, instant_or_none
from timer_trio.domain.rules import DestinationPause, Flow, FlowPage, FlowQuery, FlowState, Pause

_EXACT: Final = ConfigDict(extra="forbid")

Paused = Annotated[bool, Field(description="Whether its callbacks are held back.")]
PausedSince = Annotated[Instant | None, Field(description="null: it is not paused.")]
_FlowKey = Annotated[str, Field(examples=["customer-c-17"])]


@with_config(_EXACT)
class RateData(TypedDict):
    count: Annotated[int, Field(description="How many callbacks.", examples=[5])]
    per_seconds: Annotated[int, Field(description="Within so many seconds.", examples=[1])]


class _CommonFlowData(TypedDict):
    flow_key: _FlowKey
    max_in_flight: Annotated[int | None, Field(description="Callbacks at once. null: no limit.")]
    rate: Annotated[RateData | None, Field(description="Callbacks within a time. null: no limit.")]
    paused: Paused
    paused_since: PausedSince
    created_at: Annotated[
        Instant | None,
        Field(description="Of the settings. null: it has none, and timers that have not ended."),
    ]
    updated_at: Annotated[Instant | None, Field(description="Of the settings, likewise.")]


@with_config(_EXACT)
class FlowData(_CommonFlowData):
    pass


@with_config(_EXACT)
class FlowStateData(_CommonFlowData):
    in_flight: Annotated[
        int,
        Field(
            description="Its timers that are executing; those whose callback has ended a moment "
            "ago, and whose outcome is about to be written, among them.",
            ge=0,
            examples=[1],
        ),
    ]
    waiting: Annotated[
        int, Field(description="Its timers that are due and not executing.", ge=0, examples=[3])
    ]


@with_config(_EXACT)
class FlowPageData(TypedDict):
    flows: Annotated[list[FlowData], Field(description="In the order of their keys.")]
    limit: Limit
    next_cursor: NextCursor


@with_config(_EXACT)
class DeletedFlowData(TypedDict):
    flow_key: _FlowKey


@with_config(_EXACT)
class PauseData(TypedDict):
    paused: Paused
    paused_since: PausedSince


@with_config(_EXACT)
class DestinationPauseData(TypedDict):
    destination: ShownDestination
    paused: Paused
    paused_since: PausedSince


def flow_data(flow: Flow) -> Json:
    rate = flow.rules.rate
    return {
        "flow_key": flow.key,
        "max_in_flight": flow.rules.max_in_flight,
        "rate": None if rate is None else {"count": rate.count, "per_seconds": rate.per_s},
        **pause_data(flow.rules.pause),
        "created_at": instant_or_none(flow.created_at),
        "updated_at": instant_or_none(flow.updated_at),
    }


def flow_state_data(state: FlowState) -> Json:
    counted = {"in_flight": state.in_flight, "waiting": state.waiting}
    return {**flow_data(state.flow), **counted}


def flow_page_data(page: FlowPage, query: FlowQuery, cursor_key: bytes) -> Json:
    following = page.next
    return {
        "flows": [*map(flow_data, page.flows)],
        "limit": query.limit,
        "next_cursor": None if following is None else name_cursor_of(following, query, cursor_key),
    }


def pause_data(pause: Pause) -> Json:
    return {
        "paused": pause.paused_at is not None,
        "paused_since": instant_or_none(pause.paused_at),
    }


def destination_pause_data(paused: DestinationPause) -> Json:
    return {"destination": paused.destination, **pause_data(paused.pause)}
