"""Timers that ended long ago: counted, and deleted page by page.

The command `db prune` does it by itself, over a connection in autocommit mode.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from timer_trio.domain.query import Position
from timer_trio.storage.pages import FIRST_PAGE, START
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.storage.protocols import Pruned, PrunePosition

PAGE_ROWS: Final = 1000
"""What one statement looks at: some 10 ms of the database's time, little enough for a claim."""

MIN_PAUSE_S: Final = 0.05

# Any number that all replicas agree upon and nobody else is likely to.
_TURN: Final = 0x5052554E45

Connection = psycopg.Connection[Any]


class PostgresRetention(Database):
    """RetentionStorage in PostgreSQL."""

    async def prune(self, cutoff: datetime, after: PrunePosition | None, limit: int) -> Pruned:
        return await self._stages.run(
            lambda connection: _page(connection, cutoff, after, limit=limit, turn=_TURN),
            verb="prune",
        )

    async def prune_keys(self, now: datetime, limit: int) -> int:
        (row,) = await self._stages.fetch("prune_keys", {"now": now, "limit": limit})
        return int(row["deleted"])


def pause_s(page_s: float) -> float:
    """Return how long to wait after a page that took `page_s`: half of the time is for others."""
    return max(MIN_PAUSE_S, page_s)


def cutoff_of(connection: Connection, age: timedelta) -> datetime:
    """Return what time it was `age` ago, by the database's clock."""
    now: datetime = _only_row(connection, b"SELECT clock_timestamp() AS now", {})["now"]
    return now - age


def count_ended(connection: Connection, cutoff: datetime) -> int:
    """Count what `prune_all` would delete."""
    count: int = _only_row(connection, QUERIES["count_ended"], {"cutoff": cutoff})["ended"]
    return count


def prune_all(connection: Connection, cutoff: datetime) -> Iterator[int]:
    """Delete what ended before the cutoff, beside whoever else may do so.

    Yields after each page how many timers it deleted.
    """
    after: PrunePosition | None = None
    while True:
        began = time.monotonic()
        pruned = _page(connection, cutoff, after, limit=PAGE_ROWS, turn=None)
        yield pruned.count
        if pruned.next is None:
            return
        after = pruned.next
        time.sleep(pause_s(time.monotonic() - began))  # noqa: TID251 - nobody waits for a command


def _page(
    connection: Connection,
    cutoff: datetime,
    after: PrunePosition | None,
    *,
    limit: int,
    turn: int | None,
) -> Pruned:
    project, behind = after or FIRST_PAGE
    parameters = {
        "turn": turn,
        "cutoff": cutoff,
        "project": project,
        "instant": behind.instant,
        "id": behind.id,
        "limit": limit,
    }
    row = _only_row(connection, QUERIES["prune"], parameters)
    following: PrunePosition | None = None
    if row["looked_at"] == limit:
        following = PrunePosition(project, Position(row["created_at"], row["id"]))
    elif row["next_project"] is not None:
        following = PrunePosition(row["next_project"], START)
    return Pruned(count=row["deleted"], next=following)


def _only_row(
    connection: Connection, query: bytes, parameters: Mapping[str, object]
) -> dict[str, Any]:
    with connection.cursor(row_factory=dict_row) as cursor:
        (row,) = cursor.execute(query, parameters, binary=True).fetchall()
        return row
