"""What the audit tells: who has done what, when, and from where."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, NewType
from uuid import UUID

from timer_trio.domain.api_key import KeyId
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import Position
from timer_trio.domain.timer import JsonText, TimerId

EntryId = NewType("EntryId", UUID)

MAX_TARGET_LENGTH: Final = 512
"""More than any name has; an entry of the index holds it in any script."""
MAX_TOLD_LENGTH: Final = 255
"""Of a filter's names and values: they may be as long as a request, and are told a month long."""
OF_SERVICE: Final = "API_KEY"
"""In the place of a key's id: the key of the whole service, which has none."""


class Action(StrEnum):
    """What can be done: a thing, and what has become of it."""

    TIMER_CREATED = "timer.created"
    TIMER_CHANGED = "timer.changed"
    TIMER_CANCELED = "timer.canceled"
    TIMER_REDRIVEN = "timer.redriven"
    TIMERS_BULK = "timers.bulk"
    SCHEDULE_CREATED = "schedule.created"
    SCHEDULE_CHANGED = "schedule.changed"
    SCHEDULE_DELETED = "schedule.deleted"
    SCHEDULE_PAUSED = "schedule.paused"
    SCHEDULE_RESUMED = "schedule.resumed"
    SCHEDULE_TRIGGERED = "schedule.triggered"
    SCHEDULE_BACKFILLED = "schedule.backfilled"
    SCHEDULE_REPLANNED = "schedule.replanned"
    PROJECT_CREATED = "project.created"
    PROJECT_CHANGED = "project.changed"
    PROJECT_DELETED = "project.deleted"
    PROJECT_PAUSED = "project.paused"
    PROJECT_RESUMED = "project.resumed"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    SECRET_ROTATED = "secret.rotated"  # noqa: S105 - what is done to one
    SECRET_DELETED = "secret.deleted"  # noqa: S105
    FLOW_CHANGED = "flow.changed"
    FLOW_DELETED = "flow.deleted"
    DESTINATION_PAUSED = "destination.paused"
    DESTINATION_RESUMED = "destination.resumed"


ON_PROJECTS: Final = frozenset({Action.PROJECT_CREATED, Action.PROJECT_DELETED})
"""What is done to the projects as such: it is told in `default`, and to whoever has the key of the
whole service alone."""


class Actor(NamedTuple):
    """Who does something, and from where; `key_id` is None for the key of the whole service."""

    project: ProjectId
    key_id: KeyId | None
    address: str | None


class Act(NamedTuple):
    """What somebody does; `details` is a JSON object, without values of headers and payloads."""

    action: Action
    target: str | None
    times: int = 1
    details: JsonText | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """What was done to a target, or to several, `count` times from `at` to `last_at`.

    `action` is an Action, or one that a newer release knows. An entry that is written again tells
    of more than before.
    """

    id: EntryId
    project: ProjectId
    at: datetime
    last_at: datetime
    key_id: KeyId | None
    address: str | None
    action: str
    target: str | None
    count: int
    details: JsonText | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """A page of the audit, the newest first, behind a position; None asks for nothing.

    Bounds are exclusive, of the first instant of an entry. `key_id` may be `OF_SERVICE`.
    `tells_of_projects`: whether what is ON_PROJECTS is among it.
    """

    project: ProjectId = DEFAULT_PROJECT
    """Whose: nobody sees the audit of several."""
    tells_of_projects: bool = False
    action: Action | None = None
    key_id: str | None = None
    target: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    limit: int = 50
    behind: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """`next` is None on the last page."""

    entries: Sequence[AuditEntry]
    next: Position | None


def new_entry(entry_id: EntryId, actor: Actor, act: Act, now: datetime) -> AuditEntry:
    """Make the entry of what somebody does `now`."""
    target = act.target
    return AuditEntry(
        id=entry_id,
        project=DEFAULT_PROJECT if act.action in ON_PROJECTS else actor.project,
        at=now,
        last_at=now,
        key_id=actor.key_id,
        address=actor.address,
        action=act.action,
        target=None if target is None else target[:MAX_TARGET_LENGTH],
        count=act.times,
        details=act.details,
    )


def audit_page(entries: Sequence[AuditEntry], query: AuditQuery) -> AuditPage:
    """Make a page of up to one entry more than it holds, which shows that another one follows."""
    page = entries[: query.limit]
    if len(entries) <= len(page):
        return AuditPage(entries=page, next=None)
    return AuditPage(entries=page, next=Position(page[-1].at, TimerId(page[-1].id)))


def details(told: Mapping[str, object]) -> JsonText:
    """Write down what an entry tells besides."""
    return JsonText(json.dumps(told))


def told_filter(given: Mapping[str, object]) -> Mapping[str, object]:
    """Return what is told of a filter: all of its members, the ends of long ones left out."""
    return {
        _shortened(name): _shortened(value) if isinstance(value, str) else value
        for name, value in given.items()
    }


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TOLD_LENGTH else f"{text[:MAX_TOLD_LENGTH]}…"
