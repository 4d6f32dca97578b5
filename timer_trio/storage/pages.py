"""Pages: of a list, and of all timers in the order of their creation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.query import ListedTimer, Position, Sort, TimerPage, TimerQuery
from timer_trio.domain.timer import TimerId, TimerSummary
from timer_trio.storage.protocols import PrunePosition

START: Final = Position(datetime(1970, 1, 1, tzinfo=UTC), TimerId(UUID(int=0)))
"""Before all timers of a project in the order of their creation."""
FIRST_PAGE: Final = PrunePosition(DEFAULT_PROJECT, START)
"""Before those of all projects."""


def page_of(timers: Sequence[ListedTimer], total: int | None, query: TimerQuery) -> TimerPage:
    """Make a page of up to one timer more than it holds, which shows that another one follows."""
    page = timers[: query.limit]
    follows = len(timers) > query.limit
    return TimerPage(
        timers=page, total=total, next=_position_of(page[-1], query.sort) if follows else None
    )


def _position_of(timer: TimerSummary, sort: Sort) -> Position:
    return Position(timer.created_at if sort is Sort.CREATED_AT else timer.execute_at, timer.id)
