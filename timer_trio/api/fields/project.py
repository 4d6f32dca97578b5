"""Projects and keys as consumers write them."""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Final, NotRequired

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    WithJsonSchema,
    with_config,
)
from typing_extensions import TypedDict

from timer_trio.api.errors import shown
from timer_trio.api.fields.instants import parse_instant
from timer_trio.api.fields.retry import MAX_RETRY_VALUES, RetryField
from timer_trio.domain.breaker_policy import MAX_FAILURES, MAX_OPEN_S
from timer_trio.domain.host_names import is_host
from timer_trio.domain.project import (
    MAX_PROJECT_IN_FLIGHT,
    NAME_PATTERN,
    Scope,
    is_project_name,
)
from timer_trio.domain.quota import MOST_LIVE
from timer_trio.domain.rate_limit import MAX_BURST, MAX_PER_S, MIN_PER_S

MAX_KEY_NAME: Final = 255
MAX_HOSTS: Final = 100
_MAX_LIMIT_VALUES: Final = 2
_MAX_BREAKER_VALUES: Final = 2
MAX_SETTINGS_VALUES: Final = MAX_HOSTS + MAX_RETRY_VALUES + _MAX_LIMIT_VALUES + _MAX_BREAKER_VALUES


def _project_name(value: str) -> str:
    if not is_project_name(value):
        raise ValueError("must be 1 to 63 of a-z, 0-9 and hyphens")
    return value


def _hosts(value: list[str] | None) -> list[str] | None:
    return None if value is None else [*dict.fromkeys(map(_host, value))]


def _host(text: str) -> str:
    host = text.lower().removesuffix(".")
    if ":" in host:
        return _address(host)
    if not is_host(host.removeprefix("*.")):
        raise ValueError(f"{shown(text)!r} is no host such as example.com or *.example.com")
    return host


def _address(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        raise ValueError(f"{shown(host)!r} is no host: leave out scheme, port and path") from None


def _scopes(value: list[Scope]) -> list[Scope]:
    for scope in value:
        if value.count(scope) > 1:
            raise ValueError(f"names {scope.value} twice")
    return value


def _expiry(value: object) -> datetime | None:
    return None if value is None else parse_instant(value)


@with_config(ConfigDict(strict=True, extra="forbid"))
class ProjectCreateRequest(TypedDict):
    name: Annotated[
        str,
        AfterValidator(_project_name),
        Field(
            description="How it is named in paths and in X-Project; it cannot be changed.",
            examples=["shop"],
            json_schema_extra={"pattern": f"^{NAME_PATTERN}$"},
        ),
    ]


AllowedHosts = Annotated[
    Annotated[list[str], Field(min_length=1, max_length=MAX_HOSTS)] | None,
    AfterValidator(_hosts),
    Field(
        description="Callbacks and results go to these hosts alone, whatever their port; "
        "`*.example.com` stands for every name below example.com, and not for itself. It is "
        "judged where a URL is set: a timer that is there already goes where it went. null: "
        "anywhere that the operator allows.",
        examples=[["hooks.example.com", "*.example.org"]],
    ),
]


@with_config(ConfigDict(strict=True, extra="forbid"))
class RateLimitRequest(TypedDict):
    requests_per_second: Annotated[
        float,
        Field(
            ge=MIN_PER_S,
            le=MAX_PER_S,
            allow_inf_nan=False,
            description="How many there may be in the long run.",
        ),
    ]
    burst: NotRequired[
        Annotated[
            int,
            Field(
                ge=1,
                le=MAX_BURST,
                description="How many there may be at once. Left out: those of a second, and at "
                "least 1.",
            ),
        ]
    ]


@with_config(ConfigDict(strict=True, extra="forbid"))
class BreakerRequest(TypedDict):
    failures: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_FAILURES,
            description="After how many callbacks in a row that found the destination dead: no "
            "answer, or 5xx or 429.",
        ),
    ]
    open_seconds: Annotated[
        float,
        Field(
            ge=1,
            le=MAX_OPEN_S,
            allow_inf_nan=False,
            description="How long nothing is sent there then, before one callback tries.",
        ),
    ]


@with_config(ConfigDict(strict=True, extra="forbid"))
class ProjectChangeRequest(TypedDict, total=False):
    allowed_hosts: AllowedHosts
    default_retry: Annotated[
        RetryField,
        Field(
            description="What new timers and schedules have as `retry` whose create does not "
            "name it. null: one attempt."
        ),
    ]
    rate_limit: Annotated[
        RateLimitRequest | None,
        Field(
            description="How many requests of each key of the project are served, over all "
            "replicas: each serves its part of them. One request counts once, whatever it carries. "
            "null: no limit.",
            examples=[{"requests_per_second": 50, "burst": 100}],
        ),
    ]
    max_in_flight: Annotated[
        Annotated[int, Field(ge=1, le=MAX_PROJECT_IN_FLIGHT)] | None,
        Field(
            description="How many callbacks of the project are under way at once, over all "
            "replicas: each sends its part of them. What is due beyond it waits. null: no limit.",
            examples=[200],
        ),
    ]
    breaker: Annotated[
        BreakerRequest | None,
        Field(
            description="When the project's callbacks leave a destination alone that fails again "
            "and again. What is due there waits, and its grace goes on. null: never.",
            examples=[{"failures": 10, "open_seconds": 30}],
        ),
    ]
    max_live_timers: Annotated[
        Annotated[int, Field(ge=1, le=MOST_LIVE)] | None,
        Field(
            description="How many timers of the project may be pending, executing or retrying, "
            "over all replicas. What would create more is answered 403, code 6, as a whole. "
            "Occurrences that a schedule plans and results of timers are neither refused nor "
            "counted; an occurrence by trigger or backfill is. Once timers have ended there is "
            "room again within a second, or within ten where the setting is a million. Timers "
            "that were there before the setting are counted minutes later. null: no limit.",
            examples=[100_000],
        ),
    ]


@with_config(ConfigDict(strict=True, extra="forbid"))
class KeyCreateRequest(TypedDict):
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_KEY_NAME,
            description="For people, to tell it from others.",
            examples=["checkout"],
        ),
    ]
    scopes: Annotated[
        list[Annotated[Scope, Field(strict=False)]],
        AfterValidator(_scopes),
        Field(
            min_length=1,
            max_length=len(Scope),
            description="read: what is there. write: create and change as well. admin: keys and "
            "settings of the project, too. metrics: GET /metrics alone, for keys of the project "
            "`default`.",
            json_schema_extra={"uniqueItems": True},
        ),
    ]
    expires_at: NotRequired[
        Annotated[
            datetime | None,
            BeforeValidator(_expiry),
            WithJsonSchema(
                {
                    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
                    "description": "When it stops being good. null: never.",
                }
            ),
        ]
    ]


CREATE_PROJECT: Final = TypeAdapter(ProjectCreateRequest)
CHANGE_PROJECT: Final = TypeAdapter(ProjectChangeRequest)
CREATE_KEY: Final = TypeAdapter(KeyCreateRequest)
PROJECT_FIELDS: Final = tuple(ProjectCreateRequest.__annotations__)
SETTINGS_FIELDS: Final = tuple(ProjectChangeRequest.__annotations__)
BREAKER_FIELDS: Final = tuple(BreakerRequest.__annotations__)
RATE_LIMIT_FIELDS: Final = tuple(RateLimitRequest.__annotations__)
KEY_FIELDS: Final = tuple(KeyCreateRequest.__annotations__)
