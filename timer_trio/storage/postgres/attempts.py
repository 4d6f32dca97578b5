"""What is kept of attempts, in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from psycopg.rows import DictRow

from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import TimerId
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.partitions import rotate
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.storage.protocols import Rotated
from timer_trio.storage.sealing import opened_record


class PostgresAttempts(Database):
    """AttemptStorage in PostgreSQL."""

    async def attempts(
        self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT
    ) -> Sequence[AttemptRecord]:
        rows = await self._api.fetch("attempts", {"id": timer_id, "project": project})
        return [opened_record(_record_of(row), self._cipher) for row in rows]

    async def rotate_attempts(self, now: datetime, cutoff: datetime) -> Rotated:
        return await self._stages.run(
            lambda connection: rotate(connection, now, cutoff), verb="rotate_attempts"
        )

    async def prune_attempts(self, cutoff: datetime, limit: int) -> int:
        parameters = {"cutoff": cutoff, "limit": limit}
        return await self._stages.run(
            lambda connection: connection.execute(QUERIES["prune_attempts"], parameters).rowcount,
            verb="prune_attempts",
        )


def _record_of(row: DictRow) -> AttemptRecord:
    return AttemptRecord(
        attempt=row["attempt"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        outcome=row["outcome"],
        http_status=row["http_status"],
        error=row["error"],
        answer=None if row["response_headers"] is None else _answer_of(row),
    )


def _answer_of(row: DictRow) -> KeptAnswer:
    return KeptAnswer(
        headers=tuple((name, value) for name, value in json.loads(row["response_headers"])),
        body=row["response_body"],
        is_truncated=row["is_truncated"],
    )
