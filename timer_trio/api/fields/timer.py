"""The fields of a timer as consumers write them, each with its check and its schema."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
    with_config,
)
from typing_extensions import TypedDict

from timer_trio.api.fields.callback import CallbackHeaders, CallbackUrl
from timer_trio.api.fields.instants import (
    DURATION_PATTERN,
    MAX_YEARS_AHEAD,
    parse_delay,
    parse_instant,
)
from timer_trio.api.fields.result import OnCompletedField, OnFailedField
from timer_trio.api.fields.retry import RetryField, StoreResponseField
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.keys import MAX_KEY_LENGTH, OnConflict
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import Delivery, JsonText, Method

MIN_TIMEOUT_S: Final = 0.1
MAX_TIMEOUT_S: Final = 300.0
MIN_MISFIRE_GRACE_S: Final = 1.0
MAX_MISFIRE_GRACE_S: Final = 10 * 365.25 * 86_400
"""As far as a timer can lie ahead; null says more than any greater number."""


ExecuteAt = Annotated[
    datetime,
    PlainValidator(parse_instant),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "description": "When to call back: RFC 3339 with an offset, at most "
            f"{MAX_YEARS_AHEAD} years ahead. What lies up to 500 ms in the past counts as now. "
            "Digits beyond the microsecond are cut off.",
            "examples": ["2030-01-31T09:30:00Z"],
        }
    ),
]
Delay = Annotated[
    timedelta,
    PlainValidator(parse_delay),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": DURATION_PATTERN},
            ],
            "description": "How long from now: seconds, or an ISO 8601 duration of weeks, days, "
            f"hours, minutes and seconds; at most {MAX_YEARS_AHEAD} years. Years and months are "
            "refused: they have no fixed length. Counted from the arrival of the request.",
            "examples": [90, "PT5M", "P1DT1H"],
        }
    ),
]
CallbackMethod = Annotated[Method, Field(strict=False, description="The callback's method.")]
CallbackPayload = Annotated[
    JsonText,
    WithJsonSchema(
        {
            "description": "Any JSON value, sent as application/json just as it arrived. Left out: "
            "no body. null: the body null.",
            "examples": [{"order": 4711}],
        }
    ),
]
Metadata = Annotated[
    dict[str, Any] | None,
    Field(
        description="The client's own reference; it comes back with the timer, and GET /timers "
        "finds by it. null: none.",
        examples=[{"customer": "c-17"}],
    ),
]
TimeoutSeconds = Annotated[
    float,
    Field(
        ge=MIN_TIMEOUT_S,
        le=MAX_TIMEOUT_S,
        allow_inf_nan=False,
        description="How long the receiver may take to answer.",
    ),
]
DeliveryGuarantee = Annotated[
    Delivery,
    Field(
        strict=False,
        description="What becomes of a callback whose outcome a crash left unknown: sent again with"
        " the same webhook-id, or failed.",
    ),
]
MisfireGraceSeconds = Annotated[
    float | None,
    Field(
        ge=MIN_MISFIRE_GRACE_S,
        le=MAX_MISFIRE_GRACE_S,
        allow_inf_nan=False,
        description="How late it may still be sent. null: however late.",
    ),
]

SigningField = Annotated[
    Signing,
    Field(
        strict=False,
        description="default: callbacks carry webhook-timestamp and webhook-signature, by the "
        "project's signing secrets. none: they do not.",
    ),
]


MAX_NAME_LENGTH: Final = MAX_KEY_LENGTH


def _refuse_nul(value: FlowKey) -> FlowKey:
    if "\0" in value:
        raise ValueError("holds what is no character")
    return value


FlowKeyField = Annotated[
    FlowKey,
    Field(
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="The flow of the project that it is in, for good: a change may only name the "
        "same one.",
        examples=["customer-c-17"],
    ),
    AfterValidator(_refuse_nul),
]
Key = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="A name for the timer: at most one that is pending or executing has it.",
        examples=["cart-4711-idle"],
    ),
]
ConflictRule = Annotated[
    OnConflict,
    Field(
        strict=False,
        # Its default in words: generated clients would send it where there is no `key`.
        description="If a live timer has the `key`: reject (409, with its id), keep it (200 with "
        "that one), or replace it (200: that one becomes what this says; 409 if it is executing). "
        "Left out: reject.",
    ),
]


def _parse_reject(value: object) -> OnConflict:
    if value != OnConflict.REJECT:
        raise ValueError(
            "must be reject where there are many: send what is to keep or to replace another timer "
            "alone, with POST /timers"
        )
    return OnConflict.REJECT


OnlyReject = Annotated[
    OnConflict,
    PlainValidator(_parse_reject),
    WithJsonSchema(
        {
            "const": OnConflict.REJECT.value,
            "description": "If a live timer has the `key`, the new one is refused. To keep or to "
            "replace that one, send POST /timers.",
        }
    ),
]


_STRICT: Final = ConfigDict(strict=True, extra="forbid")


class OptionalFields(TypedDict, total=False):
    execute_at: ExecuteAt
    delay: Delay
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


@with_config(_STRICT)
class CreateRequest(OptionalFields):
    callback_url: CallbackUrl


@with_config(_STRICT)
class UpdateRequest(OptionalFields, total=False):
    callback_url: CallbackUrl


@with_config(_STRICT)
class NamedCreateRequest(CreateRequest, total=False):
    key: Key
    on_conflict: ConflictRule


@with_config(_STRICT)
class OneOfManyCreateRequest(CreateRequest, total=False):
    key: Key
    on_conflict: OnlyReject


@with_config(_STRICT)
class RedriveRequest(TypedDict, total=False):
    execute_at: ExecuteAt
    delay: Delay


FIELDS: Final = (*UpdateRequest.__annotations__, "key", "on_conflict")
REDRIVE_FIELDS: Final = tuple(RedriveRequest.__annotations__)

CREATE: Final = TypeAdapter(CreateRequest)
NAMED_CREATE: Final = TypeAdapter(NamedCreateRequest)
ONE_OF_MANY: Final = TypeAdapter(OneOfManyCreateRequest)
UPDATE: Final = TypeAdapter(UpdateRequest)
REDRIVE: Final = TypeAdapter(RedriveRequest)
