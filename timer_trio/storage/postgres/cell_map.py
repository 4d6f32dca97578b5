"""What a database is told of the cells, in PostgreSQL."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg.rows import dict_row

from timer_trio.domain.cells import KeptMap
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
    kept = None if row["map"] is None else KeptMap(row["map"], row["own"], row["moving"])
    return CellFacts(row["replicas"], row["timers"], kept)


class PostgresCellMap(Database):
    """CellMapStorage in PostgreSQL."""

    async def keep_map(self, told: KeptMap) -> None:
        first, last = told.held
        parameters = {"map": told.map, "own": told.own, "first": first, "last": last}
        await self._api.fetch("keep_map", parameters)

    async def kept_map(self) -> KeptMap | None:
        rows = await self._stages.fetch("kept_map", {})
        return KeptMap(**rows[0]) if rows else None
