"""Who has done what, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

import trio

from timer_trio.domain.audit import (
    OF_SERVICE,
    ON_PROJECTS,
    AuditEntry,
    AuditPage,
    AuditQuery,
    audit_page,
)
from timer_trio.storage.memory.database import Database


class MemoryAudit(Database):
    """AuditStorage in memory."""

    async def write_audit(self, entries: Sequence[AuditEntry]) -> None:
        await trio.lowlevel.checkpoint()
        for entry in entries:
            known = self._audit.get(entry.id)
            if known is None or known.count < entry.count:
                self._audit[entry.id] = entry

    async def audit(self, query: AuditQuery) -> AuditPage:
        await trio.lowlevel.checkpoint()
        behind = query.behind
        found = [
            entry
            for entry in self._audit.values()
            if (behind is None or _place_of(entry) < (behind.instant, behind.id))
            and all(_matches(entry, query))
        ]
        found.sort(key=_place_of, reverse=True)
        return audit_page(found[: query.limit + 1], query)

    async def prune_audit(self, cutoff: datetime, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        old = sorted((entry for entry in self._audit.values() if entry.at < cutoff), key=_place_of)
        for entry in old[:limit]:
            del self._audit[entry.id]
        return len(old[:limit])


def _place_of(entry: AuditEntry) -> tuple[datetime, UUID]:
    return entry.at, entry.id


def _matches(entry: AuditEntry, query: AuditQuery) -> Iterator[bool]:
    yield entry.project == query.project
    yield query.tells_of_projects or entry.action not in ON_PROJECTS
    yield query.action in {None, entry.action}
    yield query.key_id in {None, entry.key_id or OF_SERVICE}
    yield query.target in {None, entry.target}
    yield query.after is None or entry.at > query.after
    yield query.before is None or entry.at < query.before
