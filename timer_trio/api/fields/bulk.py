"""What is done to many timers, as consumers write it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, NotRequired

from pydantic import ConfigDict, Field, PlainValidator, TypeAdapter, WithJsonSchema, with_config
from typing_extensions import TypedDict

from timer_trio.api.fields.instants import parse_instant
from timer_trio.domain.bulk import BulkAction

MIN_RATE: Final = 0.1
MAX_RATE: Final = 10_000.0
MAX_LIMIT: Final = 1_000_000_000
"""More than any table here holds."""


@with_config(ConfigDict(strict=True, extra="forbid"))
class BulkRequest(TypedDict):
    action: Annotated[
        BulkAction,
        Field(
            strict=False,
            description="cancel takes pending and retrying timers, redrive and delete those that "
            "have ended; others that match are skipped.",
        ),
    ]
    filter: Annotated[
        dict[str, Any],
        Field(
            description="Which timers: members of the same names and values as the parameters of "
            "GET /timers, at least one; a number, true, false or null stands for its text. Only "
            "what says how a list is shown is refused.",
            examples=[{"status": "failed", "metadata.customer": "c-17"}],
            json_schema_extra={"minProperties": 1},
        ),
    ]
    rate_per_second: NotRequired[
        Annotated[
            float | None,
            Field(
                ge=MIN_RATE,
                le=MAX_RATE,
                allow_inf_nan=False,
                description="Of redrive alone: timers are due one after the other at this rate, "
                "from now on. null: all at once.",
            ),
        ]
    ]
    limit: NotRequired[
        Annotated[
            int | None,
            Field(
                ge=1,
                le=MAX_LIMIT,
                description="How many are changed at most, the oldest first. null: all.",
            ),
        ]
    ]
    dry_run: NotRequired[
        Annotated[
            bool,
            Field(
                description="Change nothing: done then says of how many it would be done.",
                json_schema_extra={"default": False},
            ),
        ]
    ]
    as_of: NotRequired[
        Annotated[
            datetime,
            PlainValidator(parse_instant),
            WithJsonSchema(
                {
                    "type": "string",
                    "format": "date-time",
                    "description": "Only timers that were last changed before: the instant that an "
                    "earlier answer began with, to go on where that one ended. By default now.",
                }
            ),
        ]
    ]


FIELDS: Final = tuple(BulkRequest.__annotations__)
BULK: Final = TypeAdapter(BulkRequest)
