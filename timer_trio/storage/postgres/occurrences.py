"""What the stages ask for occurrences, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import TupleRow, tuple_row

from timer_trio.domain.flow import Terms
from timer_trio.domain.settlement import OVERLAPPED, SUPERSEDED
from timer_trio.domain.timer import Claim, ReplicaId, TimerId
from timer_trio.storage.postgres.connections import Connection
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.storage.postgres.work import PostgresWork, claim_parameters, claim_reply
from timer_trio.storage.protocols import ClaimReply, OccurrenceClaimReply


class PostgresOccurrences(PostgresWork):
    """OccurrenceStorage in PostgreSQL."""

    async def claim_occurrences(
        self,
        replica: ReplicaId,
        claim: Claim,
        timer_ids: Collection[TimerId],
        until: datetime,
        now: datetime,
        *,
        terms: Terms | None = None,
        skip_locked: bool = False,
    ) -> ClaimReply:
        parameters = claim_parameters(replica, claim, timer_ids, until, now)
        rows, locked = await self._claim(
            "claim_occurrences", parameters, terms=terms, skip_locked=skip_locked
        )
        return await self._opened(claim_reply(rows, claim, locked))

    async def claim_exclusive(
        self,
        replica: ReplicaId,
        claim: Claim,
        timer_ids: Collection[TimerId],
        until: datetime,
        now: datetime,
        *,
        terms: Terms | None = None,
        skip_locked: bool = False,
    ) -> OccurrenceClaimReply:
        parameters = claim_parameters(replica, claim, timer_ids, until, now)
        parameters |= {"superseded": SUPERSEDED, "overlapped": OVERLAPPED}
        rows, locked = await self._claim(
            "claim_exclusive",
            parameters,
            terms=terms,
            skip_locked=skip_locked,
            ask=_ask_in_one_message,
        )
        # The last column says whether it was skipped.
        skipped = [row[0] for row in rows if row[-1]]
        taken = claim_reply([row for row in rows if not row[-1]], claim, locked)
        reply = await self._opened(taken)
        return OccurrenceClaimReply(
            claimed=reply.claimed,
            moved=reply.moved,
            unreadable=reply.unreadable,
            locked=reply.locked,
            foreign=reply.foreign,
            skipped=skipped,
        )


def _ask_in_one_message(
    connection: Connection, query: str, parameters: Mapping[str, Any]
) -> list[TupleRow]:
    # Many statements go in one message only if their values stand in them.
    with psycopg.ClientCursor(connection, row_factory=tuple_row) as cursor:
        cursor.execute(QUERIES[query], parameters)
        cursor.nextset()
        return cursor.fetchall()
