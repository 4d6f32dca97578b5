"""Which timers a consumer wants to see, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from timer_trio.domain.timer import Status, TimerId, TimerSummary


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerQuery:
    """A page of timers.

    With `after` the page begins behind that position and is not counted; without it, behind
    `offset` timers. `metadata` asks, for each key, for equality with one of the scalars;
    `execute_after` and `execute_before` are exclusive bounds of `execute_at`.
    """

    status: Status | None = None
    execute_after: datetime | None = None
    execute_before: datetime | None = None
    metadata: Mapping[str, Sequence[JsonScalar]] = field(default_factory=dict)
    sort: Sort = Sort.CREATED_AT
    order: Order = Order.DESC
    limit: int = 50
    offset: int = 0
    after: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerPage:
    """`total` is None on a page that began at a position; `next` is None on the last page."""

    timers: Sequence[TimerSummary]
    total: int | None
    next: Position | None
