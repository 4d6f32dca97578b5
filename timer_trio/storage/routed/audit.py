"""Who has done what, in several cells: an entry is in any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from timer_trio.domain.audit import AuditEntry, AuditPage, AuditQuery, EntryId, audit_page
from timer_trio.storage.routed.cells import Cells


class RoutedAudit(Cells):
    """AuditTrail in several cells."""

    async def write_audit(self, entries: Sequence[AuditEntry]) -> None:
        await self._ask_any(lambda storage: storage.write_audit(entries))

    async def audit(self, query: AuditQuery) -> AuditPage:
        # One more than is to be shown tells whether another page follows.
        asked = replace(query, limit=query.limit + 1)
        pages = await self._ask_all(lambda storage: storage.audit(asked))
        # What was not answered in one cell was written to the next: the later one tells more.
        known: dict[EntryId, AuditEntry] = {}
        for page in pages:
            for entry in page.entries:
                other = known.get(entry.id)
                if other is None or other.count < entry.count:
                    known[entry.id] = entry
        found = sorted(known.values(), key=_place_of, reverse=True)
        return audit_page(found[: asked.limit], query)


def _place_of(entry: AuditEntry) -> tuple[datetime, UUID]:
    return entry.at, entry.id
