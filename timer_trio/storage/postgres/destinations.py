"""What is known of destinations, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from psycopg.rows import DictRow

from timer_trio.domain.destination import (
    NO_DURATIONS,
    Counted,
    DestinationFacts,
    DestinationNow,
    DestinationPage,
    DestinationQuery,
    DestinationReport,
    Ends,
)
from timer_trio.domain.timer import Destination, Lane
from timer_trio.storage.columns import ENCODE
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.rows import array, written

_BEHIND_ALL: Final = "i"
"""They begin with http."""


class PostgresDestinations(Database):
    """DestinationStorage in PostgreSQL."""

    async def note_destinations(self, report: DestinationReport) -> None:
        parameters = {
            "counter": report.counter,
            "replica": report.replica,
            "at": report.at,
            "counted": array(await written(report.counted, _counted_json)),
            "now": array(await written(report.now, _now_json)),
            "gone": array(await written(report.gone, lambda lane: ENCODE(_columns_of(lane)))),
        }
        await self._api.fetch("note_destinations", parameters)

    async def destinations(self, query: DestinationQuery) -> DestinationPage:
        parameters = {
            "project": query.project,
            "recent_at": query.recent_at,
            "after": query.after or "",
            "first": query.destination or "",
            "last": query.destination or _BEHIND_ALL,
            "limit": query.limit + 1,
        }
        rows = await self._api.fetch("destinations", parameters, refuses=True)
        facts = [_facts_of(row) for row in rows[: query.limit]]
        is_last = len(rows) <= query.limit
        return DestinationPage(destinations=facts, next=None if is_last else facts[-1].destination)

    async def prune_destinations(self, cutoff: datetime, limit: int) -> int:
        parameters = {"cutoff": cutoff, "limit": limit}
        (row,) = await self._api.fetch("prune_destinations", parameters)
        return int(row["deleted"])


def _counted_json(counted: Counted) -> str:
    return ENCODE(
        {
            **_columns_of(counted.lane),
            **counted.ends._asdict(),
            "since": counted.since.isoformat(),
            "durations": counted.durations,
        }
    )


def _now_json(now: DestinationNow) -> str:
    until = now.breaker_open_until
    return ENCODE(
        {
            **_columns_of(now.lane),
            "waiting": now.waiting,
            "in_flight": now.in_flight,
            "breaker_open_until": None if until is None else until.isoformat(),
        }
    )


def _columns_of(lane: Lane) -> dict[str, object]:
    return {"project": lane.project, "destination": lane.destination}


def _facts_of(row: DictRow) -> DestinationFacts:
    durations = row["durations"]
    return DestinationFacts(
        destination=Destination(row["destination"]),
        waiting=int(row["waiting"] or 0),
        in_flight=int(row["in_flight"] or 0),
        breaker_open_until=row["breaker_open_until"],
        ends=Ends(*(int(row[name] or 0) for name in Ends._fields)),
        durations=NO_DURATIONS if durations is None else tuple(map(int, durations)),
        paused_at=row["paused_at"],
    )
