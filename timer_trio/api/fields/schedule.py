"""The fields of a schedule as consumers write them, each with its check and its schema."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, NotRequired

from pydantic import ConfigDict, Field, PlainValidator, TypeAdapter, WithJsonSchema, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from timer_trio.api.fields.bulk import MAX_RATE, MIN_RATE
from timer_trio.api.fields.callback import CallbackHeaders, CallbackUrl
from timer_trio.api.fields.exactly_one import exactly_one
from timer_trio.api.fields.instants import DURATION_PATTERN, parse_delay, parse_instant
from timer_trio.api.fields.result import OnCompletedField, OnFailedField
from timer_trio.api.fields.retry import RetryField, StoreResponseField
from timer_trio.api.fields.timer import (
    MAX_NAME_LENGTH,
    CallbackMethod,
    CallbackPayload,
    DeliveryGuarantee,
    FlowKeyField,
    Metadata,
    MisfireGraceSeconds,
    SigningField,
    TimeoutSeconds,
)
from timer_trio.domain.schedule import CatchUp, Overlap

RULES: Final = ("cron", "every", "rrule")
"""Exactly one of them says when."""
MIN_INTERVAL: Final = timedelta(seconds=1)
MAX_OCCURRENCES: Final = 1_000_000_000
MAX_JITTER_S: Final = 86_400.0
MAX_SHOWN: Final = 100
DEFAULT_SHOWN: Final = 5
MAX_BACKFILL: Final = 10_000
DEFAULT_BACKFILL: Final = 1_000


def _parse_interval(value: object) -> timedelta:
    interval = parse_delay(value)
    if interval < MIN_INTERVAL:
        raise ValueError("must be at least 1 second")
    return interval


def _parse_instant_or_none(value: object) -> datetime | None:
    return None if value is None else parse_instant(value)


def _instant(description: str) -> WithJsonSchema:
    kinds = [{"type": "string", "format": "date-time"}, {"type": "null"}]
    return WithJsonSchema({"anyOf": kinds, "description": description})


Cron = Annotated[
    str,
    Field(
        description="Five fields (minute, hour, day of the month, month, day of the week), or six "
        "with the seconds in front: names, lists, ranges, steps, L and #. By the wall clock of "
        "`timezone`.",
        examples=["0 9 * * MON-FRI"],
    ),
]
Every = Annotated[
    timedelta,
    PlainValidator(_parse_interval),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": MIN_INTERVAL.total_seconds()},
                {"type": "string", "pattern": DURATION_PATTERN},
            ],
            "description": "How far apart: seconds, or an ISO 8601 duration of weeks, days, hours, "
            "minutes and seconds. Counted from `start_at`, without drift; it knows no zone.",
            "examples": [90, "PT5M"],
        }
    ),
]
RecurrenceText = Annotated[
    str,
    Field(
        description="An RFC 5545 RRULE, its value alone; FREQ is DAILY or coarser. It counts from "
        "`start_at`, by the wall clock of `timezone`.",
        examples=["FREQ=MONTHLY;BYMONTHDAY=-1;BYHOUR=18;BYMINUTE=0;BYSECOND=0"],
    ),
]
Timezone = Annotated[
    str,
    Field(
        # Its default in words: generated clients would send it beside `every`.
        description="IANA name of the zone whose clock `cron` and `rrule` go by. Left out: UTC.",
        examples=["Europe/Berlin"],
    ),
]
StartAt = Annotated[
    datetime | None,
    PlainValidator(_parse_instant_or_none),
    _instant(
        "No occurrence is before it, and `every` and `rrule` count from it. It may lie in the "
        "past: nothing before now is made up. null: the creation."
    ),
]
EndAt = Annotated[
    datetime | None,
    PlainValidator(_parse_instant_or_none),
    _instant("No occurrence is after it. null: it has no end."),
]
MaxOccurrences = Annotated[
    int | None,
    Field(
        ge=1,
        le=MAX_OCCURRENCES,
        description="After so many occurrences it has ended, skipped ones counted. null: no limit.",
    ),
]
CatchUpField = Annotated[
    CatchUp,
    Field(
        strict=False,
        description="Which occurrences fire that are late because the service was away: latest, "
        "only the newest of them; all, each that is within `misfire_grace_seconds`.",
        json_schema_extra={"default": CatchUp.LATEST.value},
    ),
]
OverlapField = Annotated[
    Overlap,
    Field(
        strict=False,
        description="Whether an occurrence fires while an earlier one is executing or retrying: "
        "allow, or skip, which cancels it.",
        json_schema_extra={"default": Overlap.ALLOW.value},
    ),
]
JitterSeconds = Annotated[
    float,
    Field(
        ge=0,
        le=MAX_JITTER_S,
        allow_inf_nan=False,
        description="Each occurrence is later by up to so much, an amount that its id determines.",
        json_schema_extra={"default": 0},
    ),
]
ScheduleName = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="At most one schedule that has not ended has it. null: none.",
        examples=["daily-report"],
    ),
]

_STRICT: Final = ConfigDict(strict=True, extra="forbid")
_ONE_RULE: Final[JsonDict] = exactly_one(RULES)
_AT_MOST_ONE_RULE: Final[JsonDict] = {
    "minProperties": 1,
    "not": {
        "anyOf": [
            {"required": [*pair]}
            for pair in (("cron", "every"), ("cron", "rrule"), ("every", "rrule"))
        ]
    },
}


class RuleFields(TypedDict, total=False):
    cron: Cron
    every: Every
    rrule: RecurrenceText
    timezone: Timezone
    start_at: StartAt
    end_at: EndAt
    max_occurrences: MaxOccurrences


class OptionalScheduleFields(RuleFields, total=False):
    catch_up: CatchUpField
    overlap: OverlapField
    jitter_seconds: JitterSeconds
    name: ScheduleName
    callback_method: CallbackMethod
    callback_headers: CallbackHeaders
    callback_payload: CallbackPayload
    metadata: Metadata
    timeout_seconds: TimeoutSeconds
    delivery: DeliveryGuarantee
    misfire_grace_seconds: MisfireGraceSeconds
    retry: RetryField
    store_response: StoreResponseField
    on_completed: OnCompletedField
    on_failed: OnFailedField
    signing: SigningField
    flow_key: FlowKeyField


@with_config(ConfigDict(**_STRICT, json_schema_extra=_ONE_RULE))
class ScheduleCreateRequest(OptionalScheduleFields):
    callback_url: CallbackUrl


@with_config(ConfigDict(**_STRICT, json_schema_extra=_AT_MOST_ONE_RULE))
class ScheduleUpdateRequest(OptionalScheduleFields, total=False):
    callback_url: CallbackUrl


_Instant = Annotated[
    datetime,
    PlainValidator(parse_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


@with_config(ConfigDict(**_STRICT, json_schema_extra=_ONE_RULE))
class PreviewRequest(RuleFields, total=False):
    count: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_SHOWN,
            description="How many instants.",
            json_schema_extra={"default": DEFAULT_SHOWN},
        ),
    ]
    # `from` is a word of Python's.
    from_: Annotated[
        _Instant, Field(alias="from", description="None is before it. By default now.")
    ]


@with_config(_STRICT)
class BackfillRequest(TypedDict):
    from_: Annotated[_Instant, Field(alias="from", description="None is before it.")]
    to: Annotated[_Instant, Field(description="None is after it; it lies in the past.")]
    limit: NotRequired[
        Annotated[
            int,
            Field(
                ge=1,
                le=MAX_BACKFILL,
                description="How many at most, the oldest first.",
                json_schema_extra={"default": DEFAULT_BACKFILL},
            ),
        ]
    ]
    rate_per_second: NotRequired[
        Annotated[
            float | None,
            Field(
                ge=MIN_RATE,
                le=MAX_RATE,
                allow_inf_nan=False,
                description="They are due one after the other at this rate, from now on. null: all "
                "at once.",
            ),
        ]
    ]


FIELDS: Final = tuple(ScheduleUpdateRequest.__annotations__)
PREVIEW_FIELDS: Final = (*RuleFields.__annotations__, "count", "from")
BACKFILL_FIELDS: Final = ("from", "to", "limit", "rate_per_second")

CREATE_SCHEDULE: Final = TypeAdapter(ScheduleCreateRequest)
UPDATE_SCHEDULE: Final = TypeAdapter(ScheduleUpdateRequest)
PREVIEW: Final = TypeAdapter(PreviewRequest)
BACKFILL: Final = TypeAdapter(BackfillRequest)
