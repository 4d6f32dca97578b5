"""What is done to many timers at once: to which, and in which steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from timer_trio.domain.query import Position, TimerFilter
from timer_trio.domain.timer import ENDED, WAITING, DueTimer, Status

PAGE_ROWS: Final = 500
"""Timers in one statement: some 20 ms of the database's time, which a claim may have to wait."""


class BulkAction(StrEnum):
    CANCEL = "cancel"
    REDRIVE = "redrive"
    DELETE = "delete"


TAKES: Final[Mapping[BulkAction, AbstractSet[Status]]] = {
    BulkAction.CANCEL: WAITING,
    BulkAction.REDRIVE: ENDED,
    BulkAction.DELETE: ENDED,
}
"""The statuses that an action can be done to; other timers are skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """What a consumer asks for: `action` on the timers that `wanted` finds.

    What was changed after `as_of` is left alone: so the same
    bulk action, made again, goes on where the first one ended. At most `limit` timers are changed;
    None: however many. Redriven ones are due `spacing` one after the other.
    """

    action: BulkAction
    wanted: TimerFilter
    as_of: datetime
    limit: int | None = None
    spacing: timedelta = timedelta()
    is_dry_run: bool = False
    max_live: int | None = None
    """How many live timers the project may have once they are redriven; None: however many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPage:
    """What one statement does: the next `size` timers that match behind `after`.

    In order of creation. The first one that is redriven is due at `due_at`.
    """

    bulk: Bulk
    after: Position | None
    size: int
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkReply:
    """How many timers of a page matched, and of how many of them it was done.

    The others have a status that does not allow it, or somebody else is changing them. `due` are
    those that live again. `next` is where the next page begins; None: there is no more.
    """

    matched: int
    done: int
    next: Position | None
    due: Sequence[DueTimer] = ()


class BulkProgress:
    """Counts what the pages of a bulk action have done, and says what the next one is to do."""

    def __init__(self, bulk: Bulk) -> None:
        self.bulk = bulk
        self.matched = 0
        self.done = 0
        self._next_due_at = bulk.as_of
        self._after: Position | None = None
        self._is_through = False

    @property
    def skipped(self) -> int:
        return self.matched - self.done

    def next_page(self, now: datetime) -> BulkPage | None:
        """Return what is to be done at `now`; None: all is done."""
        limit = self.bulk.limit
        left = PAGE_ROWS if limit is None else limit - self.done
        if self._is_through or left <= 0:
            return None
        # What is behind its time is not made up for: a rate is never exceeded.
        self._next_due_at = max(self._next_due_at, now)
        return BulkPage(
            bulk=self.bulk,
            after=self._after,
            size=min(PAGE_ROWS, left),
            due_at=self._next_due_at,
        )

    def add(self, reply: BulkReply) -> None:
        """Count what a page has done."""
        self.matched += reply.matched
        self.done += reply.done
        self._next_due_at += reply.done * self.bulk.spacing
        self._after, self._is_through = reply.next, reply.next is None


def changed_at(bulk: Bulk, now: datetime) -> datetime:
    """Return when a page that is done at `now` changes its timers: after `as_of`, at any rate."""
    return max(now, bulk.as_of + timedelta(microseconds=1))
