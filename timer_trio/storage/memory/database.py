"""What all verbs of the storage in memory share: rows, replicas, and who locks what."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple

import trio

from timer_trio.domain.api_key import ApiKey, KeyId
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.audit import AuditEntry, EntryId
from timer_trio.domain.cells import KeptMap
from timer_trio.domain.destination import Counted, DestinationNow
from timer_trio.domain.errors import (
    ContentionError,
    QuotaUsedUpError,
    RowRefusedError,
    TimerNotFoundError,
)
from timer_trio.domain.flow import FlowId
from timer_trio.domain.keys import FirstAnswer
from timer_trio.domain.membership import ReplicaRecord
from timer_trio.domain.project import (
    DEFAULT_NAME,
    DEFAULT_PROJECT,
    NO_SETTINGS,
    ProjectId,
    ProjectSettings,
)
from timer_trio.domain.quota import (
    NEVER_COUNTED,
    LiveCount,
    Verdict,
    admitted,
    counted,
)
from timer_trio.domain.rules import NOT_PAUSED, Flow, Pause
from timer_trio.domain.schedule import Schedule, ScheduleId
from timer_trio.domain.signing import SigningSecret
from timer_trio.domain.timer import (
    ENDED,
    SHARDS,
    Destination,
    DueTimer,
    Lane,
    NewTimer,
    ReplicaId,
    Status,
    Timer,
    TimerId,
    shard_of,
)
from timer_trio.domain.unix_time import EPOCH
from timer_trio.storage.protocols import Hint

_SEAL: Final = bytes(32)
"""Nobody but the process itself reaches what is in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OccurrenceColumns:
    """What an occurrence has in the table `timers` beside the id of its schedule."""

    schedule_version: int | None
    occurs_at: datetime
    superseded_at: datetime | None
    may_be_skipped: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table `timers`; `schema/` says what its columns mean."""

    timer: Timer
    project: ProjectId = DEFAULT_PROJECT
    requested_at: datetime
    due_at: datetime | None
    settled_attempts: int = 0
    failures: int = 0
    next_attempt_at: datetime | None = None
    first_due_at: datetime | None = None
    claim: int | None = None
    claimed_by: ReplicaId | None = None
    occurrence: OccurrenceColumns | None = None
    is_counted: bool = False
    traceparent: str | None = None


ProjectKey = tuple[ProjectId, str]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A row of the table `timer_keys`."""

    answer: FirstAnswer
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A row of the table `projects`."""

    name: str | None
    created_at: datetime
    settings: ProjectSettings = NO_SETTINGS
    closed_at: datetime | None = None
    pause: Pause = NOT_PAUSED
    changed: int = 0


class FlowRow(NamedTuple):
    """A row of the table `flows`."""

    flow: Flow
    changed: int


class DestinationRow(NamedTuple):
    """A row of the table `paused_destinations`."""

    pause: Pause
    changed: int


class ProbeRow(NamedTuple):
    """A row of the table `breaker_probes`."""

    replica: ReplicaId | None
    until: datetime
    is_answered: bool = False


@dataclass(frozen=True, slots=True)
class ApiKeyRow:
    """A row of the table `api_keys`."""

    key: ApiKey
    secret_sha256: bytes = field(repr=False)


class Database:
    """Rows and replicas in memory; the database's clock is `now`.

    `locked` are rows that somebody else's transaction holds, who has changed nothing.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.locked: set[TimerId] = set()
        self._rows: dict[TimerId, Row] = {}
        self._attempts: dict[TimerId, list[AttemptRecord]] = {}
        self._due: list[list[tuple[datetime, TimerId]]] = [[] for _ in range(SHARDS)]
        self._keys: dict[ProjectKey, KeyRow] = {}
        self._names: dict[ProjectKey, TimerId] = {}
        self._schedules: dict[ScheduleId, Schedule] = {}
        self._projects = {DEFAULT_PROJECT: ProjectRow(DEFAULT_NAME, EPOCH)}
        self._next_project = 1
        self._rules_version = 1
        self._flows: dict[FlowId, FlowRow] = {}
        self._paused_destinations: dict[tuple[ProjectId, Destination], DestinationRow] = {}
        self._key_seal = _SEAL
        self._api_keys: dict[KeyId, ApiKeyRow] = {}
        self._audit: dict[EntryId, AuditEntry] = {}
        self._live: dict[ProjectId, LiveCount] = {}
        self._marked: set[ProjectId] = set()
        self._signing: dict[ProjectId, list[SigningSecret]] = {}
        self._outcomes: dict[tuple[Lane, ReplicaId, datetime], Counted] = {}
        self._in_hand: dict[tuple[Lane, ReplicaId], DestinationNow] = {}
        self._counters: dict[ReplicaId, int] = {}
        self._replicas: dict[ReplicaId, ReplicaRecord] = {}
        self._terms: dict[int, tuple[ReplicaId, int]] = {}
        self._probes: dict[Lane, ProbeRow] = {}
        self._listening: list[Callable[[Hint], None]] = []
        self._cell: KeptMap | None = None

    def _raised_version(self) -> int:
        """Raise the version of the rules, as whoever changes one does."""
        self._rules_version += 1
        return self._rules_version

    async def _wait_unlocked(self, timer_ids: Collection[TimerId], at_most_s: float) -> None:
        asked = self._rows.keys() & set(timer_ids)
        if asked & self.locked:
            await trio.sleep(at_most_s)
        if asked & self.locked:
            raise ContentionError("somebody else holds the row")

    def _row(self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT) -> Row:
        row = self._rows.get(timer_id)
        if row is None or row.project != project:
            raise TimerNotFoundError(timer_id)
        return row

    def _put(self, row: Row) -> None:
        timer_id = row.timer.id
        due = self._due[shard_of(timer_id)]
        before = self._rows.get(timer_id)
        if before is not None and before.due_at is not None:
            del due[bisect_left(due, (before.due_at, timer_id))]
        if row.due_at is not None:
            insort(due, (row.due_at, timer_id))
        self._rows[timer_id] = row

    def _delete(self, timer_id: TimerId) -> None:
        row = self._rows.pop(timer_id)
        if row.due_at is not None:
            due = self._due[shard_of(timer_id)]
            del due[bisect_left(due, (row.due_at, timer_id))]

    def _due_timer(self, row: Row, due_at: datetime) -> DueTimer:
        timer = row.timer
        lane = Lane(timer.spec.callback.url.destination, row.project)
        return DueTimer(due_at, timer.id, lane, timer.flow_key)

    def _count_in(self, project: ProjectId, max_live: int | None, more: int, now: datetime) -> None:
        """Count what is about to be live, or raise: then it must not be."""
        if max_live is None or not more:
            return
        known = self._live.get(project, NEVER_COUNTED)
        verdict = admitted(known, max_live, more, now)
        if verdict is Verdict.COUNT:
            known = counted(self._counted_in(project), max_live, now)
            verdict = admitted(known, max_live, more, now)
        self._live[project] = verdict if isinstance(verdict, LiveCount) else known
        if isinstance(verdict, Verdict):
            raise QuotaUsedUpError(project, known, max_live, more)

    def _counted_in(self, project: ProjectId) -> int:
        return sum(
            row.is_counted and row.project == project and row.timer.status not in ENDED
            for row in self._rows.values()
        )


def new_row(timer: NewTimer, now: datetime, parent_id: TimerId | None = None) -> Row:
    return Row(
        timer=Timer(
            id=timer.id,
            created_at=timer.created_at,
            updated_at=now,
            spec=timer.spec,
            status=Status.PENDING,
            executed_at=None,
            attempt=0,
            last_error=None,
            key=timer.key,
            parent_id=parent_id,
            flow_key=timer.flow_key,
        ),
        project=timer.project,
        requested_at=now,
        due_at=timer.spec.execute_at,
        is_counted=timer.max_live is not None,
        traceparent=timer.traceparent,
    )


def freed(row: Row, now: datetime) -> Row:
    """Return a row whose outcome nobody will tell, due at once.

    In a flow it is due before what came behind it there.
    """
    due_at = now
    if row.timer.flow_key is not None:
        due_at = min(now, row.next_attempt_at or row.timer.spec.execute_at)
    return replace(row, claimed_by=None, due_at=due_at)


def refuse(reason: str | None) -> None:
    if reason:
        raise RowRefusedError(reason)
