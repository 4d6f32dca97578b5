"""What a database is told of the cells, in PostgreSQL."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg.rows import dict_row

from timer_trio.domain.cells import KeptMap, read_cell
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.queries import QUERIES


class CellFacts(NamedTuple):
    """What is in a cell; of `timers` the database's estimate."""

    replicas: int
    timers: int
    kept: KeptMap | None


def facts(connection: psycopg.Connection[Any]) -> CellFacts:
    """Read what is in the database of a cell."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(QUERIES["cell_facts"]).fetchone() or {}
    kept = None if row["map"] is None else KeptMap(row["map"], row["own"])
    return CellFacts(row["replicas"], row["timers"], kept)


class PostgresCellMap(Database):
    """Which cell this database is."""

    async def keep_map(self, told: KeptMap) -> KeptMap | None:
        """Keep what the database is told, unless it has been told something before.

        Answers with what it has been told; None: nothing, and it may have all there is. So it is
        where it has timers or schedules of other shards than those it is told of.

        Raises:
            StorageUnavailableError, ContentionError: call it again.
        """
        if told.map != told.own:
            first, last = read_cell(told.own)
            parameters = {"map": told.map, "own": told.own, "first": first, "last": last}
            await self._api.fetch("keep_map", parameters)
        rows = await self._stages.fetch("kept_map", {})
        return KeptMap(rows[0]["map"], rows[0]["own"]) if rows else None
