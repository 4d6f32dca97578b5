"""The envelope as JSON Schema, and the refusals that many routes share.

Each envelope is a schema with a name of its own, so that a generated client has one type for it
and not one a route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from timer_trio.api.errors import MAX_ERRORS, Code
from timer_trio.api.key_limits import POLICY_FIELD, STATE_FIELD
from timer_trio.api.openapi.examples import ID

Json = dict[str, Any]

_NULL: Final[Json] = {"type": "null"}


def _object(properties: Json, description: str | None = None) -> Json:
    told = {} if description is None else {"description": description}
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
        **told,
    }


def schema_named(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _one_of(*names: str) -> Json:
    return {"anyOf": [*map(schema_named, names), _NULL]}


_ID: Final[Json] = {"type": "string", "format": "uuid"}
_DATA: Final[Mapping[str, Json]] = {
    "FieldError": _object(
        {
            "field": {"type": "string", "description": "Empty: the request as a whole."},
            "message": {"type": "string", "description": "What is wrong, in words."},
        }
    ),
    "ErrorsData": _object(
        {
            "errors": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_ERRORS,
                "items": schema_named("FieldError"),
                "description": "What is wrong, the first of it in `message` as well.",
            }
        }
    ),
    "HolderData": _object({"id": _ID}, "Which timer or schedule has the name."),
    "LivingData": _object(
        {
            "timers": {"type": "integer", "description": "Timers that have not ended."},
            "schedules": {"type": "integer", "description": "Schedules that have not ended."},
        },
        "Of a project: how many live in it.",
    ),
    "UnknownData": _object(
        {"id": _ID}, "Of a create whose outcome is not known: get it before posting again."
    ),
    "UnknownBatchData": _object(
        {"ids": {"type": "array", "items": _ID}},
        "Of a batch whose outcome is not known: all exist if the first does.",
    ),
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
    numbers = {"enum": codes} if others else {"const": int(code)}
    words = {"type": "string", "description": "How it went, in words."}
    return _object({"code": {"type": "integer", **numbers}, "message": words, "data": data})


def answer(
    words: str, schema: Json, *headers: str, example: Any, media: str = "application/json"
) -> Json:
    content = {media: {"schema": schema, "example": example}}
    written: Json = {"description": words, "content": content}
    if headers:
        written["headers"] = {name: {"schema": {"type": "string"}} for name in headers}
    return written


def enveloped(code: Code, message: str, data: Any = None) -> Json:
    """Return an envelope as it is sent."""
    return {"code": int(code), "message": message, "data": data}


def with_limit_fields(written: Json) -> Json:
    """Add to a description of an answer what one to a limited key carries."""
    return {**written, "headers": {**written.get("headers", {}), **_LIMIT_FIELDS}}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """An answer of this status, whose schema has this name; `told` is an example of its message."""

    name: str
    words: str
    code: Code
    told: str
    others: Sequence[Code] = ()
    data: Json | None = None
    example: Any = None
    headers: Sequence[str] = ()

    def schema(self) -> Json:
        return envelope(self.code, self.data or _NULL, *self.others)

    def answer(self) -> Json:
        example = enveloped(self.code, self.told, self.example)
        return answer(self.words, schema_named(self.name), *self.headers, example=example)


def _refused(words: str, told: str, *headers: str) -> _Refusal:
    return _Refusal(
        name="RefusedAnswer", words=words, code=Code.INVALID, told=told, headers=headers
    )


_URL_ERROR: Final = "must begin with http:// or https://"
_REFUSALS: Final[Mapping[HTTPStatus, _Refusal]] = {
    HTTPStatus.BAD_REQUEST: _Refusal(
        name="InvalidAnswer",
        words="The request is invalid, or the timer's status forbids it.",
        code=Code.INVALID,
        data=_one_of("ErrorsData"),
        told=f"callback_url: {_URL_ERROR}",
        example={"errors": [{"field": "callback_url", "message": _URL_ERROR}]},
    ),
    HTTPStatus.UNAUTHORIZED: _Refusal(
        name="UnauthorizedAnswer",
        words="No API key, a wrong one, or one that is revoked or has expired.",
        code=Code.UNAUTHORIZED,
        told="the API key is wrong",
        headers=("WWW-Authenticate",),
    ),
    HTTPStatus.FORBIDDEN: _Refusal(
        name="ForbiddenAnswer",
        words="The API key is right, but not for this: it lacks the scope, or is of another "
        "project (code 7). Or the project has not room for all that this would make live: its "
        "`max_live_timers` is used up (code 6), and nothing was created.",
        code=Code.FORBIDDEN,
        others=(Code.RATE_LIMITED,),
        told="the API key lacks the scope write",
    ),
    HTTPStatus.TOO_MANY_REQUESTS: _Refusal(
        name="RateLimitedAnswer",
        words="More requests have come with this API key than its project allows, or too many "
        "without a right one from this address.",
        code=Code.RATE_LIMITED,
        told="too many requests with this API key: over all replicas its project allows 50 a "
        "second and 100 at once; try again in 1s",
        headers=("Retry-After",),
    ),
    HTTPStatus.NOT_FOUND: _Refusal(
        name="NotFoundAnswer",
        words="No timer has this id or this key, no schedule has this id or this name, no project "
        "has this name, no API key this id, or no valid signing secret.",
        code=Code.NOT_FOUND,
        told="no timer has this id",
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: _refused(
        "The route does not have this method.", "this route does not have that method", "Allow"
    ),
    HTTPStatus.REQUEST_TIMEOUT: _refused(
        "The body did not arrive in time.", "the body did not arrive in time"
    ),
    HTTPStatus.CONFLICT: _Refusal(
        name="ConflictAnswer",
        words="The timer's status does not allow it; the Idempotency-Key stands for another "
        "request; a live timer has the `key`, or a schedule the `name`, and `data.id` is its own; "
        "the schedule has ended; timers live in the project; or the signing secret is the last "
        "one, or one too many.",
        code=Code.CONFLICT,
        data=_one_of("HolderData", "LivingData"),
        told="a timer with this key is there already, and pending",
        example={"id": ID},
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: _refused(
        "The body is too large.", "the body is too large (at most 262,144 bytes)"
    ),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: _refused(
        "The body is not sent as what the route takes, plain and in UTF-8.",
        "send the body with Content-Type: application/json",
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: _Refusal(
        name="FaultAnswer",
        words="A fault of the service.",
        code=Code.INTERNAL,
        told="internal error",
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: _Refusal(
        name="UnavailableAnswer",
        words="The database cannot be reached, the timer is being changed by somebody else, too "
        "many imports or bulk actions are under way, replicas of older releases live, or the "
        "operator lacks the key of what is encrypted.",
        code=Code.INTERNAL,
        data=_one_of("UnknownData", "UnknownBatchData"),
        told="the database cannot be reached; try again",
        headers=("Retry-After",),
    ),
}


def refusals() -> Json:
    """Describe the refusals by status, for `components.responses`."""
    described = {str(int(status)): refusal.answer() for status, refusal in _REFUSALS.items()}
    limited = str(int(HTTPStatus.TOO_MANY_REQUESTS))
    return {**described, limited: with_limit_fields(described[limited])}


def refusal_schemas() -> Json:
    """Return the schemas that `refusals` name, for `components.schemas`."""
    return {**_DATA, **{refusal.name: refusal.schema() for refusal in _REFUSALS.values()}}
