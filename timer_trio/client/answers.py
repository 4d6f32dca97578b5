"""What the service answers: what it means stands in the API's `/docs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from timer_trio.client.fields import (
    CatchUp,
    Delivery,
    Method,
    Overlap,
    Rate,
    ResultTarget,
    Retry,
    ScheduleStatus,
    Signing,
    Status,
    StoreResponse,
)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list; `next_cursor` None: the last one. `total` is of timers alone."""

    items: tuple[T, ...]
    next_cursor: str | None
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class TimerSummary:
    id: str
    created_at: datetime
    execute_at: datetime
    callback_url: str
    status: Status
    executed_at: datetime | None
    parent_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ListedTimer(TimerSummary):
    """A timer of a list; `metadata` is None as well where it is too long for one."""

    destination: str
    attempt: int
    last_error: str | None
    http_status: int | None
    key: str | None
    schedule_id: str | None
    flow_key: str | None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class _Callback:
    callback_url: str
    callback_method: Method
    callback_headers: Mapping[str, str] = field(repr=False)
    callback_payload: Any
    metadata: Mapping[str, Any] | None
    timeout_seconds: float
    delivery: Delivery
    misfire_grace_seconds: float | None
    retry: Retry | None
    store_response: StoreResponse
    on_completed: ResultTarget | None = field(repr=False)
    on_failed: ResultTarget | None = field(repr=False)
    signing: Signing
    flow_key: str | None


@dataclass(frozen=True, kw_only=True)
class Timer(_Callback):
    id: str
    created_at: datetime
    updated_at: datetime
    execute_at: datetime
    status: Status
    executed_at: datetime | None
    attempt: int
    last_error: str | None
    http_status: int | None
    duration_ms: int | None
    next_attempt_at: datetime | None
    key: str | None
    parent_id: str | None
    schedule_id: str | None


@dataclass(frozen=True, kw_only=True)
class Canceled:
    id: str
    status: Literal["canceled"]


@dataclass(frozen=True, kw_only=True)
class ReceiverAnswer:
    """What is kept of a receiver's answer; `unreadable`: why nothing of it is shown."""

    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: str
    body_encoding: Literal["utf-8", "base64"]
    truncated: bool
    unreadable: str | None = None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    attempt: int
    started_at: datetime | None
    duration_ms: int | None
    outcome: str
    http_status: int | None
    error: str | None
    response: ReceiverAnswer | None


@dataclass(frozen=True, kw_only=True)
class LineError:
    line: int
    field: str
    message: str


@dataclass(frozen=True, kw_only=True)
class UnknownLines:
    """Lines of an import that are imported if a timer has this id, and otherwise not."""

    first_line: int
    last_line: int
    id: str


@dataclass(frozen=True, kw_only=True)
class Import:
    """How far an import is: up to `through_line`, None: the last, lines are imported or refused."""

    lines: int = 0
    imported: int = 0
    refused: int = 0
    through_line: int | None = None
    errors: tuple[LineError, ...] = ()
    unknown: UnknownLines | None = None


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """How far a bulk action is: the same again with its `as_of` goes on from there."""

    matched: int = 0
    done: int = 0
    skipped: int = 0
    as_of: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class _ScheduleHead:
    id: str
    name: str | None
    status: ScheduleStatus
    created_at: datetime
    updated_at: datetime
    cron: str | None
    every: float | None
    rrule: str | None
    timezone: str | None
    start_at: datetime | None
    end_at: datetime | None
    max_occurrences: int | None
    catch_up: CatchUp
    overlap: Overlap
    jitter_seconds: float
    last_error: str | None


@dataclass(frozen=True, kw_only=True)
class LastOccurrence:
    id: str
    execute_at: datetime
    status: Status
    executed_at: datetime | None
    attempt: int
    last_error: str | None


@dataclass(frozen=True, kw_only=True)
class Schedule(_ScheduleHead, _Callback):
    next: tuple[datetime, ...]
    last_occurrence: LastOccurrence | None
    occurrences: int
    skipped: int


@dataclass(frozen=True, kw_only=True)
class ListedSchedule(_ScheduleHead):
    """A schedule of a list; `metadata` is None as well where it is too long for one."""

    flow_key: str | None
    next_at: datetime | None
    callback_url: str
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class EndedSchedule:
    id: str
    status: Literal["ended"]


@dataclass(frozen=True, kw_only=True)
class Backfilled:
    """How many occurrences were created; `next` is where to go on, None: that was all."""

    created: int
    next: datetime | None


@dataclass(frozen=True, kw_only=True)
class Flow:
    flow_key: str
    max_in_flight: int | None
    rate: Rate | None
    paused: bool
    paused_since: datetime | None
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class FlowState(Flow):
    in_flight: int
    waiting: int


@dataclass(frozen=True, kw_only=True)
class DeletedFlow:
    flow_key: str


@dataclass(frozen=True, kw_only=True)
class LastHour:
    delivered: int
    rejected: int
    unreachable: int
    timed_out: int
    other: int


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Milliseconds within which a half and 95 % of the callbacks ended; None: there were none."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, kw_only=True)
class Breaker:
    state: Literal["closed", "open", "half_open"]
    open_until: datetime | None


@dataclass(frozen=True, kw_only=True)
class Destination:
    destination: str
    waiting: int
    in_flight: int
    last_hour: LastHour
    duration_ms: Durations
    paused: bool
    paused_since: datetime | None
    breaker: Breaker | None


@dataclass(frozen=True, kw_only=True)
class DestinationPause:
    destination: str
    paused: bool
    paused_since: datetime | None


@dataclass(frozen=True, kw_only=True)
class Pause:
    paused: bool
    paused_since: datetime | None


@dataclass(frozen=True, kw_only=True)
class SigningSecret:
    """A secret; `expires_at` None: it is the current one."""

    id: str
    secret: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DeletedSecret:
    id: str


@dataclass(frozen=True, kw_only=True)
class CellHealth:
    """One of several databases, which is called by its shards."""

    name: str
    database: Literal["connected", "disconnected"]


@dataclass(frozen=True, kw_only=True)
class Health:
    status: Literal["up", "degraded"]
    database: Literal["connected", "disconnected"]
    timestamp: datetime
    zone_data: str
    reason: str | None = None
    cells: tuple[CellHealth, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Readiness:
    status: Literal["ready", "not ready"]
