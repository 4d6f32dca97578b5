"""What a timer is, and which way it may go.

Theory of operation. A timer is *pending* until a replica claims it: so pending means *certainly not
sent*, and a consumer may still change or cancel it. A claim makes it *executing* and gives one
replica the right to send. What the receiver answers ends it as *completed* or *failed*, or makes it
*retrying*: it waits for its next attempt, and may be changed and canceled meanwhile. Only the owner
of the claim, who knows that nothing was sent, gives a timer back to what it was. A replica that
dies leaves its timers executing with nobody's claim: whether they were sent is unknown, so they
cannot be changed, only claimed again.

Every instant is a timezone-aware UTC datetime by the database's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple, NewType, TypedDict
from uuid import UUID

from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.signing import Signing
from timer_trio.domain.unix_time import unix_us
from timer_trio.domain.value import value

TimerId = NewType("TimerId", UUID)
ReplicaId = NewType("ReplicaId", UUID)
Claim = NewType("Claim", int)
"""A random number of 63 bits that a replica chooses before it asks: the fencing token."""
Destination = NewType("Destination", str)
"""Scheme, host and port of a callback: `https://example.com:443`."""
JsonText = NewType("JsonText", str)
"""A JSON value as it arrived, so that key order and integers of any size survive."""

SHARDS: Final = 256


class Status(StrEnum):
    PENDING = "pending"
    EXECUTING = "executing"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


ENDED: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED})
"""What a timer stays for good."""


WAITING: Final = frozenset({Status.PENDING, Status.RETRYING})
"""What may be changed and canceled: nothing of its next attempt has been sent."""


class Delivery(StrEnum):
    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class Method(StrEnum):
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    GET = "GET"
    DELETE = "DELETE"


class CallbackUrl(NamedTuple):
    """A URL as its consumer wrote it, and what the reader of URLs has read in it."""

    text: str
    scheme: str
    host: str
    """A name in ASCII or an IP, without brackets."""
    port: int
    authority: str
    """The host, and the port where it is named, as a request's Host says them."""
    target: str
    """The path with its query, as a request's first line says them."""
    destination: Destination
    """A name in ASCII is here that which it encodes."""


@value(frozen=True, slots=True, kw_only=True)
class CallbackSpec:
    """What is sent, and how; not when."""

    url: CallbackUrl
    method: Method
    headers: Mapping[str, str]
    payload: JsonText | None
    """None: no body."""
    timeout_s: float
    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTarget:
    """Where the result of a timer is sent."""

    url: CallbackUrl
    headers: Mapping[str, str]


@value(frozen=True, slots=True, kw_only=True)
class TimerSpec:
    """What the consumer asked for: the writable part of a timer."""

    execute_at: datetime
    callback: CallbackSpec
    metadata: Mapping[str, object] | None
    misfire_grace_s: float | None
    """How late it may still fire; None: however late."""
    retry: RetryPolicy | None = None
    """None: one attempt."""
    store_response: StoreResponse = StoreResponse.FAILURES
    on_completed: ResultTarget | None = None
    """Who is told that it has completed; None: nobody."""
    on_failed: ResultTarget | None = None
    signing: Signing = Signing.DEFAULT

    @property
    def is_plain(self) -> bool:
        """Whether it asks for nothing that replicas of the first release do not know."""
        return (
            self.retry is None
            and self.store_response is StoreResponse.FAILURES
            and self.signing is Signing.DEFAULT
            and not self.has_results
        )

    @property
    def has_results(self) -> bool:
        """Whether anybody is told how it ends."""
        return self.on_completed is not None or self.on_failed is not None


NEW_COLUMNS: Final = frozenset({"retry", "store_response", "on_completed", "on_failed", "signing"})
"""Those of a SpecChange that replicas of the first release do not know."""


class SpecChange(TypedDict, total=False):
    """Some values of a TimerSpec by the names of their columns; what is absent stays as it is."""

    execute_at: datetime
    callback_url: CallbackUrl
    callback_method: Method
    callback_headers: Mapping[str, str]
    callback_payload: JsonText | None
    metadata: Mapping[str, object] | None
    timeout_s: float
    delivery: Delivery
    misfire_grace_s: float | None
    retry: RetryPolicy | None
    store_response: StoreResponse
    on_completed: ResultTarget | None
    on_failed: ResultTarget | None
    signing: Signing


def asks_for_results(change: SpecChange) -> bool:
    """Whether somebody is to be told from then on."""
    targets = (change.get("on_completed"), change.get("on_failed"))
    return any(target is not None for target in targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTimer:
    id: TimerId
    created_at: datetime
    spec: TimerSpec
    key: str | None = None
    """The name that its consumer gave it."""
    project: ProjectId = DEFAULT_PROJECT
    """Whose it is."""
    flow_key: FlowKey | None = None
    """The flow that it is in, whose shard its id must say; None: in none."""
    max_live: int | None = None
    """How many live timers its project may have with it; None: it is not counted."""
    traceparent: str | None = None
    """The span in which it was created, as W3C Trace Context spells it; None: nobody told."""

    @property
    def is_plain(self) -> bool:
        """As TimerSpec.is_plain, of the whole timer."""
        return self.flow_key is None and self.spec.is_plain


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerSummary:
    id: TimerId
    created_at: datetime
    execute_at: datetime
    callback_url: str
    status: Status
    executed_at: datetime | None
    parent_id: TimerId | None = None
    """The timer whose result it is; None: it is no result."""
    flow_key: FlowKey | None = None
    """The flow that it is in; None: in none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A whole timer as its consumer sees it.

    `executed_at` is when its last callback was sent; `attempt` counts the attempts that were begun.
    `http_status` and `duration_ms` are of the last attempt whose outcome is known.
    `next_attempt_at` is when the next attempt after a failure is due, while it is retrying.
    """

    id: TimerId
    created_at: datetime
    updated_at: datetime
    spec: TimerSpec
    status: Status
    executed_at: datetime | None
    attempt: int
    last_error: str | None
    http_status: int | None = None
    duration_ms: int | None = None
    next_attempt_at: datetime | None = None
    key: str | None = None
    """The name that its consumer gave it."""
    parent_id: TimerId | None = None
    """The timer whose result it is; None: it is no result."""
    schedule_id: UUID | None = None
    """The schedule whose occurrence it is; None: it is none."""
    flow_key: FlowKey | None = None
    """The flow that it is in; None: in none."""

    @property
    def summary(self) -> TimerSummary:
        return TimerSummary(
            id=self.id,
            created_at=self.created_at,
            execute_at=self.spec.execute_at,
            callback_url=self.spec.callback.url.text,
            status=self.status,
            executed_at=self.executed_at,
            parent_id=self.parent_id,
            flow_key=self.flow_key,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What a timer's row said before a claim, for the result that shows the whole timer."""

    created_at: datetime
    executed_at: datetime | None
    http_status: int | None
    duration_ms: int | None
    key: str | None = None
    flow_key: FlowKey | None = None


class ClaimedOccurrence(NamedTuple):
    """What a claimed timer is an occurrence of."""

    schedule_id: UUID
    instant: datetime
    """Of the rule: jitter or a change may have moved the timer away from it."""
    is_superseded: bool
    """Whether it is to be skipped, since the next one is due as well."""


@value(frozen=True, slots=True, kw_only=True)
class ClaimedTimer:
    """A timer that this replica may fire, and what to send.

    `requested_at` is when the last create or update was written, or until when a pause or a limit
    of its flow has held it back: lateness counts from the later of it and `due_at`. `attempt`
    counts the attempts that were begun, this one included; `unknown_attempts` those just before it,
    in a row, whose outcome nobody knows; `failures` those that failed since the timer was created
    or redriven. `first_due_at` is when the first of them was due, where the policy asks for it.
    """

    id: TimerId
    claim: Claim
    attempt: int
    unknown_attempts: int = 0
    requested_at: datetime
    spec: TimerSpec
    failures: int = 0
    next_attempt_at: datetime | None = None
    """None: this attempt follows no failure."""
    first_due_at: datetime | None = None
    earlier: Earlier | None = None
    """None: nobody is told how it ends."""
    occurrence: ClaimedOccurrence | None = None
    """None: it is none of a schedule."""
    project: ProjectId = DEFAULT_PROJECT
    """Whose secrets sign it."""
    traceparent: str | None = None
    """The span in which it was created; of a result, in which its timer was."""

    @property
    def due_at(self) -> datetime:
        """The instant of this attempt."""
        return self.next_attempt_at or self.spec.execute_at

    @property
    def expected_at(self) -> datetime:
        """The instant from which lateness counts."""
        return max(self.due_at, self.requested_at)


def held_until(timer: ClaimedTimer, instant: datetime) -> ClaimedTimer:
    """Return a claimed timer as one that had to wait until then: waiting is not missing."""
    return timer if instant <= timer.requested_at else replace(timer, requested_at=instant)


class Lane(NamedTuple):
    """A destination of one project: what another has there is no concern of it."""

    destination: Destination
    project: ProjectId = DEFAULT_PROJECT


class DueTimer(NamedTuple):
    """All that the cache knows of a timer."""

    due_at: datetime
    id: TimerId
    lane: Lane
    flow_key: FlowKey | None = None

    @property
    def flow(self) -> FlowId | None:
        """The flow that it is in; None: in none."""
        return None if self.flow_key is None else FlowId(self.lane.project, self.flow_key)


def due_timer(timer: NewTimer) -> DueTimer:
    spec = timer.spec
    lane = Lane(spec.callback.url.destination, timer.project)
    return DueTimer(spec.execute_at, timer.id, lane, timer.flow_key)


def shard_of(timer_id: TimerId) -> int:
    """Which of the SHARDS a timer belongs to: its id's last byte."""
    return timer_id.int & 0xFF


def new_timer_id(now: datetime, shard: int, random_bits: Callable[[int], int]) -> TimerId:
    """Make a UUIDv7 (RFC 9562, section 5.7) of the instant `now` that belongs to `shard`."""
    chosen = random_bits(66)  # at once: each call asks the system
    head = unix_us(now) // 1_000 << 80 | 0x7 << 76 | chosen >> 54 << 64
    tail = 0b10 << 62 | (chosen & (1 << 54) - 1) << 8 | shard
    return TimerId(UUID(int=head | tail))


def rfc3339(instant: datetime) -> str:
    """Spell an instant in UTC, with a trailing Z and as many microseconds as it has."""
    text = instant.isoformat()
    if not text.endswith("+00:00"):
        text = instant.astimezone(UTC).isoformat()
    return f"{text[:-6]}Z"
