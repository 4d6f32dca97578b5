"""What a consumer may ask of a timer: checked members of a body to the domain."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Final, TypeVar, cast

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    with_config,
)
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from timer_trio.api.callback_fields import MAX_HEADERS, MAX_URL_LENGTH, check_headers, check_url
from timer_trio.api.errors import MAX_ERRORS, FieldError, InvalidRequestError, shown
from timer_trio.api.instants import (
    DURATION_PATTERN,
    MAX_YEARS_AHEAD,
    due_at,
    parse_delay,
    parse_instant,
)
from timer_trio.api.json_body import reading_object
from timer_trio.api.json_text import has_more_values, too_many
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.timer import Delivery, JsonText, Method, SpecChange, TimerSpec

_VERBATIM: Final = "callback_payload"  # the member that is passed on as it arrived
MIN_TIMEOUT_S: Final = 0.1
MAX_TIMEOUT_S: Final = 300.0
MIN_MISFIRE_GRACE_S: Final = 1.0
MAX_MISFIRE_GRACE_S: Final = 10 * 365.25 * 86_400
"""As far as a timer can lie ahead; null says more than any greater number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator lays down: defaults and limits, and where callbacks may go."""

    timeout_s: float
    misfire_grace_s: float
    max_metadata_keys: int
    guard: AddressGuard


def _url(value: str, info: ValidationInfo) -> str:
    if not isinstance(info.context, Rules):
        # No ValueError, which would be the consumer's: who reads a URL must bring the rules.
        raise TypeError("the operator's rules are missing")
    return check_url(value, info.context.guard)


def _headers(value: dict[str, str] | None) -> Mapping[str, str]:
    return check_headers(value or {})


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
CallbackUrl = Annotated[
    str,
    AfterValidator(_url),
    Field(
        description="Where to call back: http:// or https://, without credentials. An address that "
        "is not public is refused, unless the operator allows it.",
        examples=["https://example.com/hooks/reminder"],
        json_schema_extra={"format": "uri", "minLength": 1, "maxLength": MAX_URL_LENGTH},
    ),
]
CallbackMethod = Annotated[Method, Field(strict=False, description="The callback's method.")]
CallbackHeaders = Annotated[
    dict[str, str] | None,
    AfterValidator(_headers),
    Field(
        description="Headers of the callback, 8 KiB in all. Hop-by-hop names, Host, Content-Length,"
        " Expect, webhook-* and X-Timer-* are refused. null: none.",
        examples=[{"Authorization": "Bearer token-of-the-receiver"}],
        json_schema_extra={"maxProperties": MAX_HEADERS},
    ),
]
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


_STRICT: Final = ConfigDict(strict=True, extra="forbid")


class _OptionalFields(TypedDict, total=False):
    execute_at: ExecuteAt
    delay: Delay
    callback_method: CallbackMethod
    callback_headers: CallbackHeaders
    callback_payload: CallbackPayload
    metadata: Metadata
    timeout_seconds: TimeoutSeconds
    delivery: DeliveryGuarantee
    misfire_grace_seconds: MisfireGraceSeconds


@with_config(_STRICT)
class CreateRequest(_OptionalFields):
    callback_url: CallbackUrl


@with_config(_STRICT)
class UpdateRequest(_OptionalFields, total=False):
    callback_url: CallbackUrl


_FIELDS: Final = tuple(UpdateRequest.__annotations__)

_Request = TypeVar("_Request", CreateRequest, UpdateRequest)

CREATE: Final = TypeAdapter(CreateRequest)
UPDATE: Final = TypeAdapter(UpdateRequest)


def reading_members(
    raw: bytes, rules: Rules, called: str = "the body"
) -> Generator[None, None, dict[str, object]]:
    """Parse what `read_spec` and `read_change` read, with a yield where a great one can pause.

    Raises:
        InvalidRequestError: it is no JSON object, or holds what JSON cannot say.
    """
    return reading_object(
        raw,
        verbatim=_VERBATIM,
        known=_FIELDS,
        most_values=max(rules.max_metadata_keys, MAX_HEADERS),
        called=called,
    )


def read_spec(members: Mapping[str, object], now: datetime, rules: Rules) -> TimerSpec:
    """Read what a POST asks for that arrived at `now`.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    wanted = _validated(CREATE, members, rules, _when_errors(members, required=True))
    return TimerSpec(
        execute_at=_due_at(wanted, now),
        callback_url=wanted["callback_url"],
        callback_method=wanted.get("callback_method", Method.POST),
        callback_headers=wanted.get("callback_headers") or {},
        callback_payload=wanted.get("callback_payload"),
        metadata=wanted.get("metadata"),
        timeout_s=wanted.get("timeout_seconds", rules.timeout_s),
        delivery=wanted.get("delivery", Delivery.AT_LEAST_ONCE),
        misfire_grace_s=wanted.get("misfire_grace_seconds", rules.misfire_grace_s),
    )


_DOMAIN_NAMES: Final = {"timeout_seconds": "timeout_s", "misfire_grace_seconds": "misfire_grace_s"}


def read_change(members: Mapping[str, object], now: datetime, rules: Rules) -> SpecChange:
    """Read what a PUT asks for that arrived at `now`.

    Raises:
        InvalidRequestError: naming every field that is wrong.
    """
    wanted = _validated(UPDATE, members, rules, _when_errors(members, required=False))
    if not wanted:
        raise InvalidRequestError(FieldError("", "at least one field to change is required"))
    change: dict[str, Any] = {_DOMAIN_NAMES.get(n, n): value for n, value in wanted.items()}
    if wanted.keys() & {"execute_at", "delay"}:
        change["execute_at"] = _due_at(wanted, now)
        change.pop("delay", None)
    return cast("SpecChange", change)


def _due_at(wanted: _OptionalFields, now: datetime) -> datetime:
    field = "delay" if "delay" in wanted else "execute_at"
    try:
        return due_at(wanted["delay"] if "delay" in wanted else wanted["execute_at"], now)
    except ValueError as error:
        raise InvalidRequestError(FieldError(field, str(error))) from None


def _when_errors(members: Mapping[str, object], *, required: bool) -> list[FieldError]:
    if "execute_at" in members:
        if "delay" in members:
            return [FieldError("delay", "cannot stand beside execute_at: send one of them")]
    elif required and "delay" not in members:
        return [FieldError("execute_at", "is required, or delay in its place")]
    return []


def _validated(
    adapter: TypeAdapter[_Request],
    members: Mapping[str, object],
    rules: Rules,
    others: list[FieldError],
) -> _Request:
    errors = others
    try:
        wanted = adapter.validate_python(members, context=rules)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        # A misspelled field explains a missing one, so it is named first.
        details.sort(key=lambda d: d["type"] != "extra_forbidden")
        errors = [_field_error(d) for d in details[:MAX_ERRORS]] + others
        if details[0]["type"] == "extra_forbidden":
            errors[0] = _with_guess(errors[0])
    if errors:
        raise InvalidRequestError(*errors)
    if has_more_values(wanted.get("metadata"), rules.max_metadata_keys):
        words = str(too_many(rules.max_metadata_keys))
        raise InvalidRequestError(FieldError("metadata", words))
    return wanted


_WORDS: Final[Mapping[str, str]] = {
    "missing": "is required",
    "string_type": "must be a string",
    "dict_type": "must be a JSON object",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "enum": "must be {expected}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
}


def _field_error(details: ErrorDetails) -> FieldError:
    field = ".".join(shown(str(part)) for part in details["loc"])
    context = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return FieldError(field, "is not a field of a timer")
        case "value_error":
            return FieldError(field, str(context["error"]))
        case kind if kind in _WORDS:
            return FieldError(field, _WORDS[kind].format_map(context))
        case _:
            return FieldError(field, details["msg"])


def _with_guess(unknown: FieldError) -> FieldError:
    # For the first of them alone: a guess takes as long as all else of an error.
    near = get_close_matches(unknown.field, _FIELDS, n=1)
    if not near:
        return unknown
    return FieldError(unknown.field, f"{unknown.message}; did you mean {near[0]}?")
