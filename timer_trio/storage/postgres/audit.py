"""Who has done what, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable, Composed, Literal

from timer_trio.domain.audit import (
    OF_SERVICE,
    ON_PROJECTS,
    AuditEntry,
    AuditPage,
    AuditQuery,
    EntryId,
    audit_page,
)
from timer_trio.domain.project import ProjectId
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.listing import all_of

_COLUMNS: Final = (
    *("project", "at", "id", "last_at", "key_id", "address", "action", "target", "count"),
    "details",
)


class PostgresAudit(Database):
    """AuditStorage in PostgreSQL."""

    async def write_audit(self, entries: Sequence[AuditEntry]) -> None:
        columns = {name: [getattr(entry, name) for entry in entries] for name in _COLUMNS}
        await self._api.fetch("write_audit", columns)

    async def audit(self, query: AuditQuery) -> AuditPage:
        statement = _page_statement(query)
        rows = await self._api.run(
            lambda connection: connection.execute(statement, prepare=False, binary=True).fetchall(),
            verb="audit",
            refuses=True,
        )
        return audit_page([_entry_of(row) for row in rows], query)

    async def prune_audit(self, cutoff: datetime, limit: int) -> int:
        (row,) = await self._stages.fetch("prune_audit", {"cutoff": cutoff, "limit": limit})
        return int(row["deleted"])


def _entry_of(row: DictRow) -> AuditEntry:
    return AuditEntry(
        id=EntryId(row["id"]),
        project=ProjectId(row["project"]),
        at=row["at"],
        last_at=row["last_at"],
        key_id=row["key_id"],
        address=row["address"],
        action=row["action"],
        target=row["target"],
        count=row["count"],
        details=row["details"],
    )


def _page_statement(query: AuditQuery) -> Composed:
    return SQL(
        "SELECT project, at, id, last_at, key_id, address, action, target, count,"
        " details::text AS details"
        " FROM audit WHERE {} ORDER BY at DESC, id DESC LIMIT {}"
    ).format(all_of([*_conditions(query)]), Literal(query.limit + 1))


_CONDITIONS: Final[Mapping[str, SQL]] = {
    "action": SQL("action = {}"),
    "target": SQL("target = {}"),
    "after": SQL("at > {}"),
    "before": SQL("at < {}"),
}


def _conditions(query: AuditQuery) -> Iterator[Composable]:
    yield SQL("project = {}").format(Literal(query.project))
    if not query.tells_of_projects:
        yield SQL("action <> ALL ({})").format(Literal(sorted(ON_PROJECTS)))
    if query.key_id == OF_SERVICE:
        yield SQL("key_id IS NULL")
    elif query.key_id is not None:
        yield SQL("key_id = {}").format(Literal(query.key_id))
    for name, condition in _CONDITIONS.items():
        if (value := getattr(query, name)) is not None:
            yield condition.format(Literal(str(value) if name == "action" else value))
    if query.behind is not None:
        yield SQL("(at, id) < ({}, {})").format(
            Literal(query.behind.instant), Literal(query.behind.id)
        )
