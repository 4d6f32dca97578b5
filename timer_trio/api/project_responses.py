"""Projects and keys as they are answered."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Final

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from timer_trio.api.fields.retry import RetryRequest
from timer_trio.api.responses import Instant
from timer_trio.domain.api_key import ApiKey
from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.project import Project, Scope
from timer_trio.domain.rendering import Json, instant_or_none, retry_data
from timer_trio.domain.timer import rfc3339

_EXACT: Final = ConfigDict(extra="forbid")

_Name = Annotated[str, Field(examples=["shop"])]
_KeyId = Annotated[
    str,
    Field(description="Names the key where it is revoked.", examples=["5f2c9a0e81d34b6f7a901c2d"]),
]


@with_config(_EXACT)
class RateLimitData(TypedDict):
    requests_per_second: Annotated[
        float, Field(description="How many there may be in the long run.", examples=[50])
    ]
    burst: Annotated[int, Field(description="How many there may be at once.", examples=[100])]


@with_config(_EXACT)
class BreakerData(TypedDict):
    failures: Annotated[
        int, Field(description="After how many failures in a row it opens.", examples=[10])
    ]
    open_seconds: Annotated[
        float,
        Field(
            description="How long nothing is sent then, before one callback tries.", examples=[30]
        ),
    ]


@with_config(_EXACT)
class ProjectData(TypedDict):
    name: _Name
    created_at: Instant
    closed_at: Annotated[
        Instant | None,
        Field(
            description="Since when nobody may use it, as somebody has begun to delete it and not "
            "ended: send the DELETE again. null: it is open."
        ),
    ]
    paused_since: Annotated[
        Instant | None,
        Field(description="Since when all its callbacks are held back. null: it is not paused."),
    ]
    allowed_hosts: Annotated[
        list[str] | None, Field(description="Where its callbacks may go. null: anywhere allowed.")
    ]
    default_retry: Annotated[
        RetryRequest | None,
        Field(description="The `retry` of what does not name it. null: one attempt."),
    ]
    rate_limit: Annotated[
        RateLimitData | None, Field(description="Of the requests of each key. null: no limit.")
    ]
    max_in_flight: Annotated[int | None, Field(description="Callbacks at once. null: no limit.")]
    breaker: Annotated[
        BreakerData | None,
        Field(description="When a failing destination is left alone. null: never."),
    ]
    max_live_timers: Annotated[
        int | None,
        Field(description="Timers that are pending, executing or retrying. null: no limit."),
    ]


@with_config(_EXACT)
class ProjectsData(TypedDict):
    projects: Annotated[list[ProjectData], Field(description="In the order of their names.")]


@with_config(_EXACT)
class DeletedData(TypedDict):
    name: _Name


class _CommonKeyData(TypedDict):
    id: _KeyId
    name: Annotated[str, Field(examples=["checkout"])]
    scopes: Annotated[list[Scope], Field(examples=[["write"]])]
    created_at: Instant
    expires_at: Annotated[
        Instant | None, Field(description="When it stops being good. null: never.")
    ]


@with_config(_EXACT)
class NewKeyData(_CommonKeyData):
    key: Annotated[
        str,
        Field(
            description="What is sent as X-API-Key. It is shown now and never again.",
            examples=["tt_5f2c9a0e81d34b6f7a901c2d_…"],
        ),
    ]


@with_config(_EXACT)
class KeyData(_CommonKeyData):
    last_used_at: Annotated[
        Instant | None,
        Field(description="To the minute, and up to two minutes late. null: never."),
    ]


@with_config(_EXACT)
class KeysData(TypedDict):
    keys: Annotated[list[KeyData], Field(description="The newest first.")]


@with_config(_EXACT)
class RevokedData(TypedDict):
    id: _KeyId


def project_data(project: Project) -> Json:
    hosts, limit = project.settings.allowed_hosts, project.settings.rate_limit
    breaker = project.settings.breaker
    return {
        "name": project.name,
        "created_at": rfc3339(project.created_at),
        "closed_at": instant_or_none(project.closed_at),
        "paused_since": instant_or_none(project.paused_at),
        "allowed_hosts": None if hosts is None else [*hosts],
        "default_retry": retry_data(project.settings.default_retry),
        "rate_limit": None if limit is None else asdict(limit),
        "max_in_flight": project.settings.max_in_flight,
        "breaker": None if breaker is None else _breaker_data(breaker),
        "max_live_timers": project.settings.max_live_timers,
    }


def _breaker_data(breaker: BreakerPolicy) -> Json:
    return {"failures": breaker.failures, "open_seconds": breaker.open_s}


def new_key_data(key: ApiKey, token: str) -> Json:
    return {**_common_data(key), "key": token}


def key_data(key: ApiKey) -> Json:
    return {**_common_data(key), "last_used_at": instant_or_none(key.last_used_at)}


def _common_data(key: ApiKey) -> Json:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": [scope.value for scope in Scope if scope in key.scopes],
        "created_at": rfc3339(key.created_at),
        "expires_at": instant_or_none(key.expires_at),
    }
