"""What consumers ask for, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import psycopg
from psycopg.rows import DictRow

from timer_trio.domain.errors import (
    IsResultError,
    NotPendingError,
    RowRefusedError,
    StorageError,
    TimerNotFoundError,
)
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import TimerPage, TimerQuery
from timer_trio.domain.timer import (
    WAITING,
    NewTimer,
    SpecChange,
    Status,
    Timer,
    TimerId,
    TimerSummary,
    asks_for_results,
)
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.pages import page_of
from timer_trio.storage.postgres.connections import Connection
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.listing import page_statement
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.storage.postgres.quotas import Counted, quota_of, within_quota
from timer_trio.storage.postgres.rows import (
    copy_line_of_new,
    json_of_change,
    json_of_new,
    listed_of,
    opened_timer_of,
    sealing,
    summary_of,
    written,
)
from timer_trio.storage.refusal import UNSTORABLE_TEXT
from timer_trio.storage.sealing import sealed_timer


class PostgresTimers(Database):
    """TimerStorage in PostgreSQL."""

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        parameters = {"timers": await json_of_new(timers, self._cipher), "now": now}
        if (quota := quota_of(timers)) is None:
            await self._stages.fetch("create", parameters, refuses=True)
            return
        await self._api.run(
            lambda connection: within_quota(
                connection, quota, now, lambda own: _create_counted(own, parameters)
            ),
            verb="create",
            refuses=True,
        )

    async def create_many(self, timers: Sequence[NewTimer], now: datetime) -> None:
        lines = await _copy_lines(timers, now.isoformat(), self._cipher)
        if not timers:
            return
        first, quota = {"id": timers[0].id}, quota_of(timers)
        if quota is None:
            await self._bulk.run(
                lambda connection: _copy(connection, lines, first),
                verb="create_many",
                refuses=True,
            )
            return

        def write(connection: Connection) -> Counted[None]:
            is_new = _copy_counted(connection, lines, first)
            return Counted(None, len(timers) if is_new else 0)

        await self._bulk.run(
            lambda connection: within_quota(connection, quota, now, write),
            verb="create_many",
            refuses=True,
        )

    async def get(self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT) -> Timer:
        rows = await self._api.fetch("get", {"id": timer_id, "project": project})
        row = _only(rows, timer_id)
        try:
            return opened_timer_of(row, self._cipher)
        except ValueError as error:
            raise StorageError(f"the row of timer {timer_id} makes no timer: {error}") from None

    async def list(self, query: TimerQuery) -> TimerPage:
        statement = page_statement(query)
        rows = await self._api.run(
            lambda connection: connection.execute(statement, prepare=False, binary=True).fetchall(),
            verb="list",
            refuses=True,
        )
        total = rows[0]["total"] if rows else None
        return page_of([listed_of(row) for row in rows if row["id"]], total, query)

    async def update(
        self,
        timer_id: TimerId,
        change: SpecChange,
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> TimerSummary:
        parameters = {
            "id": timer_id,
            "project": project,
            "change": json_of_change(change, self._cipher),
            "moved_to": change.get("execute_at"),
            "asks_for_results": asks_for_results(change),
            "now": now,
        }
        rows = await self._api.fetch("update", parameters, refuses=True)
        row = _only(rows, timer_id)
        if row["status_before"] not in WAITING:
            raise NotPendingError(Status(row["status_before"]))
        if row["id"] is None:
            raise IsResultError
        return summary_of(row)

    async def cancel(
        self, timer_id: TimerId, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> TimerSummary:
        parameters = {"id": timer_id, "project": project, "now": now}
        row = _only(await self._api.fetch("cancel", parameters), timer_id)
        if row["status_before"] not in {*WAITING, Status.CANCELED}:
            raise NotPendingError(Status(row["status_before"]))
        return summary_of(row)


async def _copy_lines(timers: Sequence[NewTimer], now: str, cipher: Cipher) -> bytes:
    sealed, row_characters = sealing(timers, sealed_timer, cipher)
    lines = await written(sealed, lambda timer: copy_line_of_new(timer, now), row_characters)
    try:
        return "".join(lines).encode()
    except UnicodeEncodeError:
        raise RowRefusedError(UNSTORABLE_TEXT) from None


def _create_counted(connection: Connection, parameters: Mapping[str, object]) -> Counted[None]:
    cursor = connection.execute(QUERIES["create_counted"], parameters, binary=True)
    return Counted(None, cursor.rowcount)


def _copy(connection: Connection, lines: bytes, first: Mapping[str, object]) -> None:
    try:
        _write(connection, "create_many", lines)
    except psycopg.errors.UniqueViolation:
        if not _is_there(connection, first):
            raise


def _copy_counted(connection: Connection, lines: bytes, first: Mapping[str, object]) -> bool:
    """Write new timers within a transaction, and answer whether they were not there."""
    try:
        with connection.transaction():  # which goes on after an error
            _write(connection, "create_many_counted", lines)
    except psycopg.errors.UniqueViolation:
        if not _is_there(connection, first):
            raise
        return False
    return True


def _write(connection: Connection, query: str, lines: bytes) -> None:
    with connection.cursor() as cursor, cursor.copy(QUERIES[query]) as copy:
        copy.write(lines)


def _is_there(connection: Connection, first: Mapping[str, object]) -> bool:
    """Whether they are ours, from an earlier call: they came in one transaction."""
    return connection.execute(QUERIES["is_there"], first).fetchone() is not None


def _only(rows: Sequence[DictRow], timer_id: TimerId) -> DictRow:
    if not rows:
        raise TimerNotFoundError(timer_id)
    return rows[0]
