"""What is done to many timers, in PostgreSQL: a statement a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from psycopg.rows import DictRow
from psycopg.sql import Composable, Composed, Literal

from timer_trio.domain.bulk import TAKES, Bulk, BulkAction, BulkPage, BulkReply, changed_at
from timer_trio.domain.project import ProjectId
from timer_trio.domain.query import Position
from timer_trio.domain.timer import TimerId
from timer_trio.storage.pages import START
from timer_trio.storage.postgres.connections import Connection
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.listing import conditions_of
from timer_trio.storage.postgres.queries import template
from timer_trio.storage.postgres.quotas import Counted, Quota, within_quota
from timer_trio.storage.postgres.redrive import redriven
from timer_trio.storage.postgres.rows import due_of

LOOK_ROWS: Final = 10_000
"""What one page reads at most in search of timers that match: some 10 ms, and it locks none."""


class PostgresBulk(Database):
    """BulkStorage in PostgreSQL."""

    async def bulk(self, page: BulkPage, now: datetime) -> BulkReply:
        statement = _statement(page, now)

        def run(connection: Connection) -> BulkReply:
            rows = connection.execute(statement, prepare=False, binary=True).fetchall()
            return _reply_of(rows, page.bulk.wanted.project)

        def run_counted(connection: Connection) -> Counted[BulkReply]:
            reply = run(connection)
            return Counted(reply, reply.done)

        quota = _quota_of(page.bulk)
        return await self._bulk.run(
            run
            if quota is None
            else lambda connection: within_quota(connection, quota, now, run_counted),
            verb="bulk",
            refuses=True,
        )


def _quota_of(bulk: Bulk) -> Quota | None:
    """Return what those that it makes live count towards; None: nothing."""
    if bulk.max_live is None or bulk.action is not BulkAction.REDRIVE or bulk.is_dry_run:
        return None
    return Quota(bulk.wanted.project, bulk.max_live)


def _statement(page: BulkPage, now: datetime) -> Composed:
    bulk, behind = page.bulk, page.after or START
    return template("bulk").format(
        project=Literal(bulk.wanted.project),
        as_of=Literal(bulk.as_of),
        conditions=conditions_of(bulk.wanted),
        instant=Literal(behind.instant),
        id=Literal(behind.id),
        look=Literal(LOOK_ROWS),
        size=Literal(page.size),
        work=_work(page, now),
    )


def _work(page: BulkPage, now: datetime) -> Composable:
    bulk = page.bulk
    statuses = Literal(sorted(TAKES[bulk.action]))
    if bulk.is_dry_run:
        return template("bulk_count").format(statuses=statuses)
    locked = template("bulk_locked").format(statuses=statuses, as_of=Literal(bulk.as_of))
    at = changed_at(bulk, now)
    match bulk.action:
        case BulkAction.CANCEL:
            return template("bulk_cancel").format(locked=locked, now=Literal(at))
        case BulkAction.REDRIVE:
            return template("bulk_redrive").format(
                locked=locked,
                project=Literal(bulk.wanted.project),
                due_at=Literal(page.due_at),
                spacing=Literal(bulk.spacing),
                redriven=redriven(at, is_counted=bulk.max_live is not None),
            )
        case BulkAction.DELETE:
            return template("bulk_delete").format(
                locked=locked, project=Literal(bulk.wanted.project)
            )


def _reply_of(rows: Sequence[DictRow], project: ProjectId) -> BulkReply:
    first = rows[0]
    follows = first["id"] is not None
    return BulkReply(
        matched=first["matched"],
        done=first["done"],
        next=Position(first["created_at"], TimerId(first["id"])) if follows else None,
        due=tuple(
            due_of(row["due_at"], row["due_id"], row["destination"], project, row["flow_key"])
            for row in rows
            if row["due_id"]
        ),
    )
