"""What replicas write of themselves and of each other, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import psycopg

from timer_trio.domain.errors import StorageError
from timer_trio.domain.membership import Identity, ReplicaRecord, ReplicaStats
from timer_trio.domain.project import DEFAULT_NAME, ProjectSettings
from timer_trio.domain.timer import ReplicaId
from timer_trio.storage.postgres.connections import Connection
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.locks import Locked, LockWatch
from timer_trio.storage.postgres.projects import settings_of
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.storage.postgres.rows import record_of
from timer_trio.storage.protocols import Beat, Swept

UNREAD_S: Final = 2.0
"""An answer that a living replica has not read by then it will hardly read within the fence."""


class PostgresReplicas(Database):
    """ReplicaStorage in PostgreSQL."""

    async def join(
        self,
        replica: ReplicaId,
        now: datetime,
        identity: Identity = Identity(),  # noqa: B008 - frozen
    ) -> None:
        parameters = {"replica": replica, "now": now, **asdict(identity)}
        await self._heartbeat.fetch("join", parameters)

    async def beat(
        self,
        replica: ReplicaId,
        stats: ReplicaStats = ReplicaStats(),  # noqa: B008 - frozen
    ) -> Beat:
        parameters = {
            "replica": replica,
            "in_flight": stats.in_flight,
            "cached": stats.cached,
            "clock_offset_s": stats.clock_offset_s,
        }
        (row,) = await self._heartbeat.fetch("beat", parameters)
        return Beat(
            now=row["now"],
            counters=dict(zip(row["replicas"], row["counters"], strict=True)),
            leaving=frozenset(row["leaving"]),
            default_settings=_settings_of(row["default_settings"]),
            rules_version=row["rules_version"],
        )

    async def leave(self, replica: ReplicaId) -> None:
        await self._heartbeat.fetch("leave", {"replica": replica})

    async def sweep(
        self, replica: ReplicaId | None, counter: int | None, now: datetime
    ) -> Swept | None:
        parameters = {"replica": replica, "counter": counter, "now": now}
        return await self._heartbeat.run(
            lambda connection: _sweep(connection, parameters, self._locks), verb="sweep"
        )

    async def replicas(self) -> Sequence[ReplicaRecord]:
        return [record_of(row) for row in await self._api.fetch("replicas", {})]


def _sweep(
    connection: Connection, parameters: Mapping[str, object], locks: LockWatch
) -> Swept | None:
    with suppress(psycopg.errors.InsufficientPrivilege):  # else the locks are waited for
        connection.execute(QUERIES["end_unread"], {"unread_s": UNREAD_S})
    # Many statements go in one message only if their values stand in them.
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(QUERIES["sweep"], parameters)
        cursor.nextset()
        freed = cursor.rowcount
        cursor.nextset()
        was_there = cursor.rowcount > 0
        cursor.nextset()
        (left,) = cursor.fetchall()
    if not was_there and parameters["counter"] is not None:
        return None
    if left["count"]:
        locks.notice(connection, Locked("sweep", left["count"]))
    # A replica that ends is freed even of claims that outlived its row.
    return Swept(freed=freed, left=left["count"])


def _settings_of(stored: Mapping[str, Any] | None) -> ProjectSettings | None:
    try:
        return None if stored is None else settings_of(DEFAULT_NAME, stored)
    except StorageError:
        return None  # whoever edits them by hand must not end the heartbeat
