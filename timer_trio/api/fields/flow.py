"""What is asked for of flows, and of destinations to pause, as consumers write it."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from timer_trio.api.fields.callback import MAX_URL_LENGTH, parse_destination
from timer_trio.domain.rules import MAX_FLOW_IN_FLIGHT, MAX_RATE_COUNT, MAX_RATE_S
from timer_trio.domain.timer import Destination


@with_config(ConfigDict(strict=True, extra="forbid"))
class RateRequest(TypedDict):
    count: Annotated[int, Field(ge=1, le=MAX_RATE_COUNT, description="How many callbacks.")]
    per_seconds: Annotated[
        int, Field(ge=1, le=MAX_RATE_S, description="Within any so many seconds.")
    ]


@with_config(ConfigDict(strict=True, extra="forbid"))
class FlowRequest(TypedDict, total=False):
    max_in_flight: Annotated[
        Annotated[int, Field(ge=1, le=MAX_FLOW_IN_FLIGHT)] | None,
        Field(
            description="How many callbacks of the flow are under way at once. 1: one after the "
            "other, in the order in which they are due. null: no limit."
        ),
    ]
    rate: Annotated[
        RateRequest | None,
        Field(
            description="How many callbacks of the flow begin within a time: never more than "
            "`count` in any window of `per_seconds`. null: no limit.",
            examples=[{"count": 100, "per_seconds": 60}],
        ),
    ]
    paused: Annotated[
        bool,
        Field(description="Whether its callbacks are held back. Set again, it changes nothing."),
    ]


@with_config(ConfigDict(strict=True, extra="forbid"))
class DestinationRequest(TypedDict):
    destination: Annotated[
        Destination,
        AfterValidator(parse_destination),
        Field(
            max_length=MAX_URL_LENGTH,
            description="Scheme, host and port of a callback URL, and no more; the port that the "
            "scheme implies may be left out.",
            examples=["https://api.example.com"],
        ),
    ]


PUT_FLOW: Final = TypeAdapter(FlowRequest)
NAME_DESTINATION: Final = TypeAdapter(DestinationRequest)
RATE_FIELDS: Final = tuple(RateRequest.__annotations__)
FLOW_FIELDS: Final = tuple(FlowRequest.__annotations__)
DESTINATION_FIELDS: Final = tuple(DestinationRequest.__annotations__)
