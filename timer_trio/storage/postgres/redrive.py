"""Ended timers that live again, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime

from psycopg.rows import DictRow
from psycopg.sql import Composed, Literal

from timer_trio.domain.errors import NotEndedError, TimerNotFoundError
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import ENDED, Status, TimerId, TimerSummary
from timer_trio.storage.postgres.connections import Connection
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.queries import template
from timer_trio.storage.postgres.quotas import Counted, Quota, within_quota
from timer_trio.storage.postgres.rows import summary_of


class PostgresRedrive(Database):
    """RedriveStorage in PostgreSQL."""

    async def redrive(
        self,
        timer_id: TimerId,
        due_at: datetime,
        now: datetime,
        holder: TimerId | None = None,
        project: ProjectId = DEFAULT_PROJECT,
        *,
        max_live: int | None = None,
    ) -> TimerSummary | None:
        statement = template("redrive_one").format(
            id=Literal(timer_id),
            project=Literal(project),
            due_at=Literal(due_at),
            holder=Literal(holder),
            redriven=redriven(now, is_counted=max_live is not None),
        )

        def run(connection: Connection) -> list[DictRow]:
            return connection.execute(statement, prepare=False, binary=True).fetchall()

        def run_counted(connection: Connection) -> Counted[list[DictRow]]:
            rows = run(connection)
            return Counted(rows, sum(row["id"] is not None for row in rows))

        quota = None if max_live is None else Quota(project, max_live)
        rows = await self._api.run(
            run
            if quota is None
            else lambda connection: within_quota(connection, quota, now, run_counted),
            verb="redrive",
        )
        if not rows:
            raise TimerNotFoundError(timer_id)
        status = Status(rows[0]["status_before"])
        if status not in ENDED:
            raise NotEndedError(status)
        return summary_of(rows[0]) if rows[0]["id"] else None


def redriven(now: datetime, *, is_counted: bool) -> Composed:
    """Return the part of a statement that redrives the ended timers that it has locked."""
    name = "redriven_counted" if is_counted else "redriven"
    return template(name).format(now=Literal(now))
