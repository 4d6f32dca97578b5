"""What happened to schedules in a simulation: what was asked, what was written, and what was sent.

What was written is noted as it is committed, so that the checkers need not guess what became of a
request whose reply was lost. Instants are seconds of the world's clock, which is the database's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from tests.simulation.history import Send, Try, Verdict
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.schedule import Schedule, ScheduleFacts, ScheduleId, ScheduleSpec
from timer_trio.domain.timer import Status, TimerId
from timer_trio.storage.memory.database import Row


class ScheduleAsked(StrEnum):
    """What a consumer can ask of a schedule."""

    CREATE = "create"
    CHANGE = "change"
    PAUSE = "pause"
    RESUME = "resume"
    END = "end"
    TRIGGER = "trigger"
    BACKFILL = "backfill"
    CANCEL = "cancel"
    """One occurrence by itself."""


@dataclass(slots=True, kw_only=True)
class ScheduleRequest:
    """Something a consumer asked for.

    `spec` is what it wants of a schedule, `timer_id` the occurrence that it is about, `written` how
    many occurrences it was told are new.
    """

    asked: ScheduleAsked
    asked_s: float
    schedule_id: ScheduleId | None = None
    spec: ScheduleSpec | None = None
    timer_id: TimerId | None = None
    written: int = 0
    answered_s: float = float("inf")
    verdict: Verdict = Verdict.UNKNOWN


class Commit(NamedTuple):
    """A schedule as it was written."""

    at_s: float
    schedule: Schedule


class StatusSince(NamedTuple):
    """What an occurrence has been from an instant on; None: it was deleted."""

    at_s: float
    status: Status | None


class Claimed(NamedTuple):
    """An attempt of an occurrence was claimed; `before` is what it was until then.

    It was judged by the time at which the claim was asked for, `asked_s`.
    """

    at_s: float
    attempt: int
    before: Status
    asked_s: float


@dataclass(slots=True, kw_only=True)
class OccurrenceLog:
    """An occurrence from its first row to its last: `row` is the latest that was written."""

    row: Row
    statuses: list[StatusSince] = field(default_factory=list)
    claims: list[Claimed] = field(default_factory=list)
    tries: list[Try] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    attempts: Sequence[AttemptRecord] = ()

    @property
    def id(self) -> TimerId:
        return self.row.timer.id

    @property
    def is_there(self) -> bool:
        return self.statuses[-1].status is not None

    @property
    def version(self) -> int | None:
        """None: somebody has asked for it beside the rule."""
        return self.row.occurrence.schedule_version if self.row.occurrence else None

    @property
    def occurs_at(self) -> datetime:
        assert self.row.occurrence is not None
        return self.row.occurrence.occurs_at

    @property
    def words(self) -> str:
        return self.row.timer.last_error or ""

    def status_at(self, at_s: float) -> Status | None:
        """Say what it was right after an instant; None: it was not there."""
        known = [each.status for each in self.statuses if each.at_s <= at_s]
        return known[-1] if known else None


@dataclass(slots=True, kw_only=True)
class ScheduleLog:
    """A schedule from its creation to its end; `facts` are what the database tells at the end."""

    id: ScheduleId
    commits: list[Commit] = field(default_factory=list)
    occurrences: dict[TimerId, OccurrenceLog] = field(default_factory=dict)
    facts: ScheduleFacts | None = None

    @property
    def planned(self) -> list[OccurrenceLog]:
        """Those of its rule, also if a change has deleted them."""
        return [one for one in self.occurrences.values() if one.version is not None]

    @property
    def last(self) -> Schedule:
        return self.commits[-1].schedule

    def at(self, at_s: float) -> Schedule:
        """Return what it was at an instant, what was written then included."""
        return [each.schedule for each in self.commits if each.at_s <= at_s][-1]
