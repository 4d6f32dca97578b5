"""What is asked for, as keyword arguments and mappings: what it means stands in the API's `/docs`.

Instants are a `datetime` with a zone, or RFC 3339; durations seconds, a `timedelta`, or ISO 8601.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Required, TypedDict

Instant = datetime | str
Duration = float | timedelta | str

Status = Literal["pending", "executing", "retrying", "completed", "failed", "canceled"]
ScheduleStatus = Literal["active", "paused", "ended"]
Method = Literal["POST", "PUT", "PATCH", "GET", "DELETE"]
Delivery = Literal["at_least_once", "at_most_once"]
StoreResponse = Literal["failures", "all", "none"]
Signing = Literal["default", "none"]
OnConflict = Literal["reject", "keep", "replace"]
CatchUp = Literal["latest", "all"]
Overlap = Literal["allow", "skip"]
BulkAction = Literal["cancel", "redrive", "delete"]
MetadataValue = str | float | bool | None


class Retry(TypedDict, total=False):
    """When a failed callback is made again; members that are left out have their defaults."""

    max_attempts: int
    delays: Sequence[float] | None
    initial_delay_seconds: float
    factor: float
    max_delay_seconds: float
    jitter: float
    give_up_after_seconds: float | None


class ResultTarget(TypedDict, total=False):
    """Who is told how a timer has ended."""

    url: Required[str]
    headers: Mapping[str, str] | None


class Rate(TypedDict):
    """Never more than `count` in any window of `per_seconds`."""

    count: int
    per_seconds: int


class CallbackFields(TypedDict, total=False):
    """What a timer and a schedule have in common; `callback_url` stands beside it."""

    callback_method: Method
    callback_headers: Mapping[str, str] | None
    callback_payload: Any
    metadata: Mapping[str, Any] | None
    timeout_seconds: float
    delivery: Delivery
    misfire_grace_seconds: float | None
    retry: Retry | None
    store_response: StoreResponse
    on_completed: ResultTarget | None
    on_failed: ResultTarget | None
    signing: Signing
    flow_key: str


class TimerFields(CallbackFields, total=False):
    """A timer; exactly one of `execute_at` and `delay` is to be there."""

    execute_at: Instant
    delay: Duration


class TimerChanges(TimerFields, total=False):
    """What is to be different of a timer."""

    callback_url: str


class NamedTimerFields(TimerFields, total=False):
    """A timer that may have a name of yours."""

    key: str
    on_conflict: OnConflict


class NewTimer(TimerFields, total=False):
    """A timer among many."""

    callback_url: Required[str]
    key: str


class RuleFields(TypedDict, total=False):
    """When occurrences are; exactly one of `cron`, `every` and `rrule` is to be there."""

    cron: str
    every: Duration
    rrule: str
    timezone: str
    start_at: Instant | None
    end_at: Instant | None
    max_occurrences: int | None


class ScheduleFields(CallbackFields, RuleFields, total=False):
    """A schedule, but its name."""

    catch_up: CatchUp
    overlap: Overlap
    jitter_seconds: float


class NamedScheduleFields(ScheduleFields, total=False):
    """A schedule that may have a name."""

    name: str | None


class ScheduleChanges(NamedScheduleFields, total=False):
    """What is to be different of a schedule."""

    callback_url: str


class TimerFilters(TypedDict, total=False):
    """Which timers; some filters need a bound beside them, which the refusal names."""

    status: Status
    destination: str
    last_error: str
    http_status: int
    key: str
    schedule_id: str
    flow_key: str
    created_after: Instant
    created_before: Instant
    execute_after: Instant
    execute_before: Instant
    ended_after: Instant
    ended_before: Instant
    metadata: Mapping[str, MetadataValue]


class TimerQuery(TimerFilters, total=False):
    """Which timers, and in which order."""

    sort: Literal["created_at", "execute_at"]
    order: Literal["asc", "desc"]


class ScheduleFilters(TypedDict, total=False):
    """Which schedules."""

    status: ScheduleStatus
    name: str
    flow_key: str
    metadata: Mapping[str, MetadataValue]


class FlowFields(TypedDict, total=False):
    """What holds for a flow; what is left out stays as it is."""

    max_in_flight: int | None
    rate: Rate | None
    paused: bool
