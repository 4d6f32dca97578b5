"""Which timers a consumer wants to see, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from timer_trio.domain.flow import FlowKey
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import (
    ENDED,
    Destination,
    JsonText,
    Status,
    TimerId,
    TimerSummary,
)


class Sort(StrEnum):
    CREATED_AT = "created_at"
    EXECUTE_AT = "execute_at"


class Order(StrEnum):
    ASC = "asc"
    DESC = "desc"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a sorted list: the sort key of the last timer seen, ties broken by its id."""

    instant: datetime
    id: TimerId


JsonScalar = str | int | float | bool | None


INDEXED_ENDS: Final = ENDED - {Status.COMPLETED}
"""Whose ends are in an index: one of all ends would cost each timer that completes an entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFilter:
    """Which timers: those of which all that is asked for holds. None asks for nothing.

    Bounds of instants are exclusive; the `ended_` ones are those of an end, so that what has not
    ended is left out. `last_error` is a part of the text, `metadata` asks, for each key, for
    equality with one of the scalars.
    """

    project: ProjectId = DEFAULT_PROJECT
    """Whose: nobody sees the timers of several."""
    status: Status | None = None
    destination: Destination | None = None
    last_error: str | None = None
    http_status: int | None = None
    key: str | None = None
    schedule_id: UUID | None = None
    flow_key: FlowKey | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    execute_after: datetime | None = None
    execute_before: datetime | None = None
    ended_after: datetime | None = None
    ended_before: datetime | None = None
    metadata: Mapping[str, Sequence[JsonScalar]] = field(default_factory=dict)

    @property
    def unindexed(self) -> Sequence[str]:
        """The filters that no index serves: alone, each would read every timer."""
        names = ["destination", "last_error", "http_status", "key"]
        if self.status not in INDEXED_ENDS:
            names += ["ended_after", "ended_before"]
        return [name for name in names if getattr(self, name) is not None]

    @property
    def is_bounded(self) -> bool:
        """Whether an index leads to the oldest timer in question: what lies before is not read."""
        ended_after = self.ended_after if self.status in INDEXED_ENDS else None
        bounds = (self.created_after, self.execute_after, ended_after)
        return any(bound is not None for bound in bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerQuery(TimerFilter):
    """A page of timers.

    With `after` the page begins behind that position and is not counted; without it, behind
    `offset` timers.
    """

    sort: Sort = Sort.CREATED_AT
    order: Order = Order.DESC
    limit: int = 50
    offset: int = 0
    after: Position | None = None


MAX_LISTED_METADATA: Final = 8_192
"""Bytes of its JSON: a page holds 200 timers, and the metadata of one may have 256 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTimer(TimerSummary):
    """What a list tells of a timer."""

    destination: Destination
    attempt: int
    last_error: str | None
    http_status: int | None
    key: str | None
    schedule_id: UUID | None
    metadata: JsonText | None
    """None: it is longer than a list holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerPage:
    """`total` is None on a page that began at a position; `next` is None on the last page."""

    timers: Sequence[ListedTimer]
    total: int | None
    next: Position | None
