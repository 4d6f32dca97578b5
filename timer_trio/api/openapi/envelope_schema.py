"""The envelope as JSON Schema, and the refusals that many routes share."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from timer_trio.api.errors import MAX_ERRORS, Code
from timer_trio.api.key_limits import POLICY_FIELD, STATE_FIELD

Json = dict[str, Any]

_ERRORS: Final[Json] = {
    "anyOf": [
        {
            "type": "object",
            "properties": {
                "errors": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_ERRORS,
                    "items": {
                        "type": "object",
                        "properties": {
                            "field": {
                                "type": "string",
                                "description": "Empty: the request as a whole.",
                            },
                            "message": {"type": "string"},
                        },
                        "required": ["field", "message"],
                        "additionalProperties": False,
                    },
                }
            },
            "required": ["errors"],
            "additionalProperties": False,
        },
        {"type": "null"},
    ]
}
_TIMER_ID: Final[Json] = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"id": {"type": "string", "format": "uuid"}},
            "required": ["id"],
            "additionalProperties": False,
            "description": "Of a create whose outcome is not known: get it before posting again.",
        },
        {
            "type": "object",
            "properties": {"ids": {"type": "array", "items": {"type": "string", "format": "uuid"}}},
            "required": ["ids"],
            "additionalProperties": False,
            "description": "Of a batch whose outcome is not known: all exist if the first does.",
        },
        {"type": "null"},
    ]
}
_NULL: Final[Json] = {"type": "null"}
_HOLDER: Final[Json] = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"id": {"type": "string", "format": "uuid"}},
            "required": ["id"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"timers": {"type": "integer"}, "schedules": {"type": "integer"}},
            "required": ["timers", "schedules"],
            "additionalProperties": False,
            "description": "Of a project: how many live in it.",
        },
        _NULL,
    ]
}

_LIMIT_FIELDS: Final[Json] = {
    POLICY_FIELD: {
        "description": "Where the key has a limit: how many requests may come at once, and after "
        "how many seconds without any there are so many again.",
        "required": False,
        "schema": {"type": "string", "examples": ['"default";q=100;w=2']},
    },
    STATE_FIELD: {
        "description": "Where the key has a limit: how many requests this replica serves at once "
        "now, and in how many seconds most.",
        "required": False,
        "schema": {"type": "string", "examples": ['"default";r=42;t=2']},
    },
}


def envelope(code: Code, data: Json, *others: Code) -> Json:
    """Describe an envelope with this code, or one of others."""
    codes = sorted(map(int, (code, *others)))
    return {
        "type": "object",
        "properties": {
            "code": {"type": "integer", **({"enum": codes} if others else {"const": int(code)})},
            "message": {"type": "string"},
            "data": data,
        },
        "required": ["code", "message", "data"],
        "additionalProperties": False,
    }


def answer(words: str, schema: Json, *headers: str, media: str = "application/json") -> Json:
    written: Json = {"description": words, "content": {media: {"schema": schema}}}
    if headers:
        written["headers"] = {name: {"schema": {"type": "string"}} for name in headers}
    return written


def _limited() -> Json:
    written = answer(
        "More requests have come with this API key than its project allows, or too many without a "
        "right one from this address.",
        envelope(Code.RATE_LIMITED, _NULL),
        "Retry-After",
    )
    return with_limit_fields(written)


def with_limit_fields(written: Json) -> Json:
    """Add to a description of an answer what one to a limited key carries."""
    return {**written, "headers": {**written.get("headers", {}), **_LIMIT_FIELDS}}


def refusals() -> Json:
    """Describe the refusals by status, for `components.responses`."""
    invalid = envelope(Code.INVALID, _NULL)
    described: dict[HTTPStatus, Json] = {
        HTTPStatus.BAD_REQUEST: answer(
            "The request is invalid, or the timer's status forbids it.",
            envelope(Code.INVALID, _ERRORS),
        ),
        HTTPStatus.UNAUTHORIZED: answer(
            "No API key, a wrong one, or one that is revoked or has expired.",
            envelope(Code.UNAUTHORIZED, _NULL),
            "WWW-Authenticate",
        ),
        HTTPStatus.FORBIDDEN: answer(
            "The API key is right, but not for this: it lacks the scope, or is of another project "
            "(code 7). Or the project has not room for all that this would make live: its "
            "`max_live_timers` is used up (code 6), and nothing was created.",
            envelope(Code.FORBIDDEN, _NULL, Code.RATE_LIMITED),
        ),
        HTTPStatus.TOO_MANY_REQUESTS: _limited(),
        HTTPStatus.NOT_FOUND: answer(
            "No timer has this id or this key, no schedule has this id or this name, no project "
            "has this name, no API key this id, or no valid signing secret.",
            envelope(Code.NOT_FOUND, _NULL),
        ),
        HTTPStatus.METHOD_NOT_ALLOWED: answer(
            "The route does not have this method.", invalid, "Allow"
        ),
        HTTPStatus.REQUEST_TIMEOUT: answer("The body did not arrive in time.", invalid),
        HTTPStatus.CONFLICT: answer(
            "The timer's status does not allow it; the Idempotency-Key stands for another request; "
            "a live timer has the `key`, or a schedule the `name`, and `data.id` is its own; "
            "the schedule has ended; timers live in the project; or the signing secret is the last "
            "one, or one too many.",
            envelope(Code.CONFLICT, _HOLDER),
        ),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: answer("The body is too large.", invalid),
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: answer(
            "The body is not sent as what the route takes, plain and in UTF-8.", invalid
        ),
        HTTPStatus.INTERNAL_SERVER_ERROR: answer(
            "A fault of the service.", envelope(Code.INTERNAL, _NULL)
        ),
        HTTPStatus.SERVICE_UNAVAILABLE: answer(
            "The database cannot be reached, the timer is being changed by somebody else, too "
            "many imports or bulk actions are under way, replicas of older releases live, or the "
            "operator lacks the key of what is encrypted.",
            envelope(Code.INTERNAL, _TIMER_ID),
            "Retry-After",
        ),
    }
    return {str(int(status)): written for status, written in described.items()}
