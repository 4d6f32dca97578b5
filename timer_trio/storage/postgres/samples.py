"""What people are told of many timers, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.rows import DictRow

from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.sample import NOTHING, SHARES, Sample, Span
from timer_trio.domain.timer import Status
from timer_trio.storage.postgres.database import Database


class PostgresSamples(Database):
    """SampleStorage in PostgreSQL."""

    async def samples(
        self, spans: Sequence[Span], project: ProjectId = DEFAULT_PROJECT
    ) -> Sequence[Sample]:
        since, until, most = [[span[place] for span in spans] for place in range(3)]
        parameters = {
            "since": since,
            "until": until,
            "most": most,
            "shares": [*SHARES],
            "project": project,
        }
        rows = await self._api.fetch("samples", parameters)
        found = {row["place"]: _sample_of(row) for row in rows}
        return [found.get(place, NOTHING) for place in range(1, len(spans) + 1)]


def _sample_of(row: DictRow) -> Sample:
    counts = {status: row[status.value] for status in Status if row[status.value]}
    return Sample(counts=counts, late_s=None if row["late_s"] is None else tuple(row["late_s"]))
