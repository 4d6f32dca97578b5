"""How many live timers those projects have that limit them, in PostgreSQL.

Who writes such timers counts them in the same transaction: the lock of the project's row orders all
who do, and is taken last. What leaves no room is taken back, and then the timers are counted, with
nothing in hand that anybody waits for but others of the same project.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from timer_trio.domain.errors import QuotaUsedUpError
from timer_trio.domain.project import ProjectId
from timer_trio.domain.query import Position
from timer_trio.domain.quota import (
    BEYOND,
    NEVER_COUNTED,
    LiveCount,
    Verdict,
    admitted,
    counted,
)
from timer_trio.domain.timer import NewTimer
from timer_trio.storage.pages import START
from timer_trio.storage.postgres.connections import Connection, rows_of
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.protocols import Marked

T = TypeVar("T")


class Quota(NamedTuple):
    project: ProjectId
    max_live: int


@dataclass(frozen=True, slots=True)
class Counted(Generic[T]):
    """What was done, and how many more live timers there are that count."""

    reply: T
    more: int


class _UncountedError(Exception):
    """It is not known whether there is room for so many more."""

    def __init__(self, more: int) -> None:
        super().__init__()
        self.more = more


class PostgresQuotas(Database):
    """QuotaStorage in PostgreSQL."""

    async def unmarked_projects(self) -> Sequence[ProjectId]:
        rows = await self._api.fetch("unmarked_projects", {})
        return [ProjectId(row["id"]) for row in rows]

    async def mark_counted(self, project: ProjectId, after: Position | None, limit: int) -> Marked:
        return await self._bulk.run(
            lambda connection: _mark(connection, project, after, limit), verb="mark_counted"
        )


def quota_of(timers: Sequence[NewTimer]) -> Quota | None:
    """Return what timers that are written together count towards; None: nothing."""
    if not timers or timers[0].max_live is None:
        return None
    return Quota(timers[0].project, timers[0].max_live)


def within_quota(
    connection: Connection,
    quota: Quota,
    now: datetime,
    work: Callable[[Connection], Counted[T]],
) -> T:
    """Do `work` in a transaction, and count what it makes live.

    Raises:
        QuotaUsedUpError: there is no room for it; nothing was done.
    """
    while True:
        try:
            return _done_and_counted(connection, quota, now, work)
        except _UncountedError as error:
            _count_anew(connection, quota, error.more, now)


def _done_and_counted(
    connection: Connection,
    quota: Quota,
    now: datetime,
    work: Callable[[Connection], Counted[T]],
) -> T:
    with connection.transaction():
        done = work(connection)
        if done.more:
            _count_in(connection, quota, done.more, now)
        return done.reply


def _count_in(connection: Connection, quota: Quota, more: int, now: datetime) -> None:
    known = _lock(connection, quota.project)
    verdict = admitted(known, quota.max_live, more, now)
    if verdict is Verdict.COUNT:
        raise _UncountedError(more)
    if verdict is Verdict.REFUSE:
        raise QuotaUsedUpError(quota.project, known, quota.max_live, more)
    _note(connection, quota.project, verdict)


def _count_anew(connection: Connection, quota: Quota, more: int, now: datetime) -> None:
    """Count, unless somebody else has done so while we waited for him."""
    asked = {"project": quota.project, "most": quota.max_live + 1}
    rows_of(connection, "begin_counting", asked)
    with connection.transaction():
        known = _lock(connection, quota.project)
        if admitted(known, quota.max_live, more, now) is Verdict.COUNT:
            (row,) = rows_of(connection, "count_live", asked)
            _note(connection, quota.project, counted(row["found"], quota.max_live, now))


def _lock(connection: Connection, project: ProjectId) -> LiveCount:
    rows = rows_of(connection, "lock_live", {"project": project})
    return LiveCount(rows[0]["live"], rows[0]["counted_at"]) if rows else NEVER_COUNTED


def _note(connection: Connection, project: ProjectId, known: LiveCount) -> None:
    parameters = {"project": project, "live": known.live, "counted_at": known.counted_at}
    rows_of(connection, "write_live", parameters)


def _mark(connection: Connection, project: ProjectId, after: Position | None, limit: int) -> Marked:
    behind = after or START
    if after is None:
        rows_of(connection, "begin_counting", {"project": project})
    parameters = {
        "project": project,
        "instant": behind.instant,
        "id": behind.id,
        "limit": limit,
        "beyond": BEYOND,
    }
    (row,) = rows_of(connection, "mark_counted", parameters)
    if row["looked_at"] == limit:
        return Marked(count=row["marked"], next=Position(row["created_at"], row["id"]))
    rows_of(connection, "end_marking", {"project": project})
    return Marked(count=row["marked"], next=None)
