"""What is known of destinations, as it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from timer_trio.api.cursor import name_cursor_of
from timer_trio.api.responses import Instant, Limit, NextCursor, ShownDestination
from timer_trio.api.rule_responses import Paused, PausedSince, pause_data
from timer_trio.domain.breaker import BreakerState, state_of
from timer_trio.domain.destination import (
    DestinationFacts,
    DestinationPage,
    DestinationQuery,
    quantile_s,
)
from timer_trio.domain.rendering import Json, instant_or_none
from timer_trio.domain.rules import Pause

_EXACT: Final = ConfigDict(extra="forbid")
_SHARES: Final[Mapping[str, float]] = {"p50": 0.5, "p95": 0.95}
_DIGITS: Final = 1
"""Of a millisecond."""

_Count = Annotated[int, Field(ge=0, examples=[0])]
_Duration = Annotated[float | None, Field(ge=0, examples=[12.5])]


@with_config(_EXACT)
class LastHourData(TypedDict):
    delivered: Annotated[_Count, Field(description="Answered with 2xx.", examples=[117])]
    rejected: Annotated[_Count, Field(description="Answered otherwise.")]
    unreachable: Annotated[_Count, Field(description="Not answered: no connection, or it broke.")]
    timed_out: Annotated[_Count, Field(description="Not answered in time.")]
    other: Annotated[
        _Count, Field(description="Cut off by a stop, or broken by the service itself.")
    ]


@with_config(_EXACT)
class DurationData(TypedDict):
    p50: Annotated[_Duration, Field(description="A half of them ended within it.")]
    p95: Annotated[_Duration, Field(description="95 % of them did.", examples=[31.0])]


@with_config(_EXACT)
class BreakerStateData(TypedDict):
    state: Annotated[
        BreakerState,
        Field(description="open: nothing is sent; half_open: one callback at a time tries it."),
    ]
    open_until: Annotated[
        Instant | None, Field(description="When it is half open; null unless it is open.")
    ]


@with_config(_EXACT)
class DestinationData(TypedDict):
    destination: ShownDestination
    waiting: Annotated[_Count, Field(description="Timers that are due and held back.")]
    in_flight: Annotated[_Count, Field(description="Timers claimed and not yet answered.")]
    last_hour: Annotated[
        LastHourData,
        Field(description="Callbacks by how they ended, in the last 60 to 65 minutes."),
    ]
    duration_ms: Annotated[
        DurationData,
        Field(
            description="Within how many milliseconds a half and 95 % of them ended, estimated "
            "from classes each 1.8 times as wide as the one before; null: there was none."
        ),
    ]
    paused: Paused
    paused_since: PausedSince
    breaker: Annotated[
        BreakerStateData | None, Field(description="null where the project has no `breaker`.")
    ]


@with_config(_EXACT)
class DestinationPageData(TypedDict):
    destinations: Annotated[
        list[DestinationData], Field(description="In the order of their names.")
    ]
    limit: Limit
    next_cursor: NextCursor


def destination_page_data(
    page: DestinationPage,
    query: DestinationQuery,
    cursor_key: bytes,
    now: datetime,
    *,
    has_breaker: bool,
) -> Json:
    following = page.next
    shown = [_destination_data(facts, now, has_breaker) for facts in page.destinations]
    return {
        "destinations": shown,
        "limit": query.limit,
        "next_cursor": None if following is None else name_cursor_of(following, query, cursor_key),
    }


def _destination_data(
    facts: DestinationFacts,
    now: datetime,
    has_breaker: bool,  # noqa: FBT001 - of the project
) -> Json:
    return {
        "destination": facts.destination,
        "waiting": facts.waiting,
        "in_flight": facts.in_flight,
        "last_hour": facts.ends._asdict(),
        "duration_ms": {name: _ms(facts, share) for name, share in _SHARES.items()},
        **pause_data(Pause(facts.paused_at)),
        "breaker": _breaker_data(facts.breaker_open_until, now) if has_breaker else None,
    }


def _ms(facts: DestinationFacts, share: float) -> float | None:
    found_s = quantile_s(facts.durations, share)
    return None if found_s is None else round(found_s * 1000, _DIGITS)


def _breaker_data(open_until: datetime | None, now: datetime) -> Json:
    state = state_of(open_until, now)
    is_open = state is BreakerState.OPEN
    return {"state": state, "open_until": instant_or_none(open_until) if is_open else None}
