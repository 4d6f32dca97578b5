"""Who probes a destination whose breaker is half open, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from psycopg.rows import DictRow

from timer_trio.domain.probes import (
    HELD_FOR,
    Answered,
    Granted,
    ProbeEnd,
    ProbeVerdict,
    ProbeWish,
    Refused,
)
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import Destination, Lane, ReplicaId
from timer_trio.storage.postgres.database import Database


class PostgresProbes(Database):
    """ProbeStorage in PostgreSQL, and what is pruned of it."""

    async def ask_probes(
        self, replica: ReplicaId, wishes: Sequence[ProbeWish], now: datetime
    ) -> Mapping[Lane, ProbeVerdict]:
        until = now + HELD_FOR
        parameters = {
            **_names([wish.lane for wish in wishes]),
            "opened": [wish.opened_at for wish in wishes],
            "replica": replica,
            "until": until,
            "now": now,
        }
        rows = await self._stages.fetch("ask_probes", parameters)
        return {_lane(row): _verdict(row, until) for row in rows}

    async def end_probes(self, replica: ReplicaId, ends: Sequence[ProbeEnd], now: datetime) -> None:
        ordered = sorted(ends, key=lambda end: (end.lane.project, end.lane.destination))
        parameters = {
            **_names([end.lane for end in ordered]),
            "granted": [end.granted_until for end in ordered],
            "until": [end.until for end in ordered],
            "answered": [end.is_answered for end in ordered],
            "replica": replica,
            "now": now,
        }
        await self._stages.fetch("end_probes", parameters)

    async def prune_probes(self, cutoff: datetime, limit: int) -> int:
        (row,) = await self._stages.fetch("prune_probes", {"cutoff": cutoff, "limit": limit})
        return int(row["deleted"])


def _names(lanes: Sequence[Lane]) -> dict[str, object]:
    return {
        "projects": [lane.project for lane in lanes],
        "destinations": [lane.destination for lane in lanes],
    }


def _lane(row: DictRow) -> Lane:
    return Lane(Destination(row["destination"]), ProjectId(row["project"]))


def _verdict(row: DictRow, until: datetime) -> ProbeVerdict:
    if row["is_granted"]:
        return Granted(until)
    return Answered() if row["is_answered"] else Refused(row["open_until"])
