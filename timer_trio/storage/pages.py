"""What a storage found, as a page of a list."""

from __future__ import annotations

from collections.abc import Sequence

from timer_trio.domain.query import ListedTimer, Position, Sort, TimerPage, TimerQuery
from timer_trio.domain.timer import TimerSummary


def page_of(timers: Sequence[ListedTimer], total: int | None, query: TimerQuery) -> TimerPage:
    """Make a page of up to one timer more than it holds, which shows that another one follows."""
    page = timers[: query.limit]
    follows = len(timers) > query.limit
    return TimerPage(
        timers=page, total=total, next=_position_of(page[-1], query.sort) if follows else None
    )


def _position_of(timer: TimerSummary, sort: Sort) -> Position:
    return Position(timer.created_at if sort is Sort.CREATED_AT else timer.execute_at, timer.id)
