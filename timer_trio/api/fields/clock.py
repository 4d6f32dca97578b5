"""How far a clock for tests is to go, as consumers write it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema, with_config
from typing_extensions import TypedDict

from timer_trio.api.fields.instants import MAX_YEARS_AHEAD, parse_delay, parse_instant


def _parse_seconds(value: object) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")  # noqa: TRY004 - words for a consumer
    return parse_delay(value)


@with_config(ConfigDict(strict=True, extra="forbid"))
class AdvanceRequest(TypedDict, total=False):
    seconds: Annotated[
        timedelta,
        BeforeValidator(_parse_seconds),
        WithJsonSchema({"type": "number", "minimum": 0}),
        Field(description=f"How much time passes: at most {MAX_YEARS_AHEAD} years.", examples=[60]),
    ]
    to: Annotated[
        datetime,
        BeforeValidator(parse_instant),
        WithJsonSchema({"type": "string", "format": "date-time"}),
        Field(
            description="What the clock is to show: an instant that it has not passed, at most "
            f"{MAX_YEARS_AHEAD} years ahead.",
            examples=["2030-01-31T09:30:00Z"],
        ),
    ]


ADVANCE: Final = TypeAdapter(AdvanceRequest)
ADVANCE_FIELDS: Final = tuple(AdvanceRequest.__annotations__)
