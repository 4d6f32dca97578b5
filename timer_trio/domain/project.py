"""What a project is: all that the keys of one consumer see, and nothing of the others'."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, NewType, TypedDict

from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.rate_limit import RateLimit
from timer_trio.domain.retry import RetryPolicy

ProjectId = NewType("ProjectId", int)

DEFAULT_PROJECT: Final = ProjectId(0)
"""It is there from the start: all that was written before there were projects is in it."""
DEFAULT_NAME: Final = "default"
KEPT_WHEN_DELETED: Final = timedelta(days=1)
"""So long what was on its way into a deleted project is looked for: no request takes longer."""

MAX_PROJECT_IN_FLIGHT: Final = 100_000
NAME_PATTERN: Final = "[a-z0-9-]{1,63}"


class Scope(StrEnum):
    """What a key may do; one that may change may read as well."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    METRICS = "metrics"


_INCLUDED: Final = {Scope.WRITE: {Scope.READ}, Scope.ADMIN: {Scope.READ, Scope.WRITE}}


def with_included(scopes: frozenset[Scope]) -> frozenset[Scope]:
    """Return scopes with those that they include."""
    return scopes.union(*(_INCLUDED.get(scope, ()) for scope in scopes))


def is_project_name(text: str) -> bool:
    return re.fullmatch(NAME_PATTERN, text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """What holds for all that is created and changed in a project."""

    allowed_hosts: tuple[str, ...] | None = None
    """Callbacks go to these hosts alone, `*.example.com` to all below one; None: anywhere."""
    default_retry: RetryPolicy | None = None
    """Of what says nothing of retries; None: a single attempt."""
    rate_limit: RateLimit | None = None
    """Of each key, over all replicas; None: as many requests as the service can serve."""
    max_in_flight: int | None = None
    """Callbacks at once, over all replicas; None: as many as there are slots."""
    breaker: BreakerPolicy | None = None
    """Of each destination; None: what is due is sent, whatever became of the last."""
    max_live_timers: int | None = None
    """Pending, executing and retrying ones, which are counted; None: however many, uncounted."""

    def allows(self, host: str) -> bool:
        """Tell whether callbacks may go to a host, which is in lower case without a last dot."""
        return self.allowed_hosts is None or any(_fits(host, each) for each in self.allowed_hosts)


NO_SETTINGS: Final = ProjectSettings()


def _fits(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


class SettingsChange(TypedDict, total=False):
    """Settings to be changed; what is left out stays as it is."""

    allowed_hosts: tuple[str, ...] | None
    default_retry: RetryPolicy | None
    rate_limit: RateLimit | None
    max_in_flight: int | None
    breaker: BreakerPolicy | None
    max_live_timers: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project that is not deleted; `closed_at`: somebody is about to delete it.

    `paused_at`: since when all its callbacks are held back.
    """

    id: ProjectId
    name: str
    created_at: datetime
    settings: ProjectSettings = NO_SETTINGS
    closed_at: datetime | None = None
    paused_at: datetime | None = None


class Live(NamedTuple):
    """How much of a project has not ended."""

    timers: int
    schedules: int
