"""The parameters of GET /timers, as its consumers read of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from timer_trio.api.query import MAX_LIMIT, MAX_METADATA_FILTERS, MAX_OFFSET
from timer_trio.api.route import Json
from timer_trio.domain.query import Order, Sort, TimerQuery
from timer_trio.domain.timer import Status


def _choice(choices: type[StrEnum], default: StrEnum | None = None) -> Json:
    schema: Json = {"type": "string", "enum": [choice.value for choice in choices]}
    return schema if default is None else {**schema, "default": default.value}


def _parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_INSTANT: Final[Json] = {"type": "string", "format": "date-time"}
LIST_PARAMETERS: Final[Sequence[Json]] = (
    _parameter("status", "Only timers of this status.", _choice(Status)),
    _parameter(
        "limit",
        "Timers on a page.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": TimerQuery().limit},
    ),
    _parameter(
        "offset",
        "Timers to skip; it cannot stand beside `cursor`, which costs the same for every page.",
        {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
    ),
    _parameter("sort", "Ties are broken by id.", _choice(Sort, TimerQuery().sort)),
    _parameter("order", "", _choice(Order, TimerQuery().order)),
    _parameter("execute_after", "Only timers due later than this, percent-encoded.", _INSTANT),
    _parameter("execute_before", "Only timers due earlier than this, percent-encoded.", _INSTANT),
    _parameter(
        "cursor",
        "`next_cursor` of the page before: it holds for the same filters, sort and order.",
        {"type": "string"},
    ),
    {
        **_parameter(
            "metadata",
            "`metadata.<key>=<value>`: only timers with this value under a top-level key of their "
            "metadata: the string itself, or the number, true, false or null that it spells.",
            {
                "type": "object",
                "patternProperties": {r"^metadata\..": {"type": "string"}},
                "additionalProperties": False,
                "maxProperties": MAX_METADATA_FILTERS,
            },
        ),
        "style": "form",
        "explode": True,
        "example": {"metadata.customer": "c-17"},
    },
)
