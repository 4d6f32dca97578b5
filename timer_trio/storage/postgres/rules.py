"""What holds callbacks back, in PostgreSQL: pauses, and what replicas are told of all rules.

A change is a transaction of several statements, between which it is decided what the next one says.
The first one takes the row of the version, so that of two changes one follows the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from psycopg.rows import DictRow

from timer_trio.domain.errors import StorageError, TooManyPausesError
from timer_trio.domain.project import NO_SETTINGS, ProjectId
from timer_trio.domain.rules import (
    DELETED_FLOWS_KEPT,
    MAX_PAUSED_DESTINATIONS,
    NOT_PAUSED,
    RESUMPTIONS_KEPT,
    DestinationPause,
    Pause,
    ProjectRules,
    RuleChanges,
)
from timer_trio.domain.timer import Destination
from timer_trio.storage.postgres.connections import Connection, rows_of
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.flow_rows import flows_of
from timer_trio.storage.postgres.projects import settings_of

Decide = Callable[[Pause], Pause]


class PostgresRules(Database):
    """RuleStorage but for flows, and what it forgets, in PostgreSQL."""

    async def rules_since(self, version: int) -> RuleChanges:
        is_first = version == 0
        parameters = {"version": -1 if is_first else version, "is_first": is_first}
        rows: dict[str, list[DictRow]] = defaultdict(list)
        for row in await self._stages.fetch("rules_since", parameters):
            rows[row["kind"]].append(row)
        (known,) = rows["version"]
        return RuleChanges(
            version=known["version"],
            projects=[*map(_project_rules_of, rows["project"])],
            destinations=[*map(_destination_of, rows["destination"])],
            flows=flows_of(rows["flow"]),
            others_exist=known["others_exist"],
        )

    async def pause_destination(
        self, project: ProjectId, destination: Destination, now: datetime
    ) -> DestinationPause:
        return await self._change_destination(project, destination, lambda each: each.begun(now))

    async def resume_destination(
        self, project: ProjectId, destination: Destination, now: datetime
    ) -> DestinationPause:
        return await self._change_destination(project, destination, lambda each: each.ended(now))

    async def project_pause(self, project: ProjectId) -> Pause:
        return _pause_of(await self._api.fetch("project_pause", {"project": project}))

    async def pause_project(self, project: ProjectId, now: datetime) -> Pause:
        return await self._change_project_pause(project, lambda pause: pause.begun(now))

    async def resume_project(self, project: ProjectId, now: datetime) -> Pause:
        return await self._change_project_pause(project, lambda pause: pause.ended(now))

    async def pause_all(self, now: datetime) -> int:
        (row,) = await self._api.fetch("pause_all", {"now": now})
        return int(row["paused"])

    async def prune_rules(self, now: datetime, limit: int) -> int:
        parameters = {
            "flows_until": now - DELETED_FLOWS_KEPT,
            "resumed_until": now - RESUMPTIONS_KEPT,
            "limit": limit,
        }
        (row,) = await self._stages.fetch("prune_rules", parameters)
        return int(row["deleted"])

    async def _change_destination(
        self, project: ProjectId, destination: Destination, decide: Decide
    ) -> DestinationPause:
        pause = await self._api.run(
            lambda connection: _change_destination(connection, project, destination, decide),
            verb="change_destination",
            refuses=True,
        )
        return DestinationPause(project=project, destination=destination, pause=pause)

    async def _change_project_pause(self, project: ProjectId, decide: Decide) -> Pause:
        return await self._api.run(
            lambda connection: _change_project_pause(connection, project, decide),
            verb="change_project_pause",
        )


@contextmanager
def changing(connection: Connection) -> Iterator[int]:
    """Begin a transaction that changes rules, and tell the version of what it changes."""
    with connection.transaction():
        (row,) = rows_of(connection, "raise_rules_version", {})
        yield row["version"]


def _change_destination(
    connection: Connection, project: ProjectId, destination: Destination, decide: Decide
) -> Pause:
    which = {"project": project, "destination": destination}
    with changing(connection) as version:
        known = rows_of(connection, "destination_pause", which)
        pause = decide(_pause_of(known))
        if not known:
            if pause == NOT_PAUSED:
                return pause
            _refuse_one_more(connection, project)
        rows_of(
            connection,
            "put_destination_pause",
            {**which, **pause._asdict(), "version": version},
        )
    return pause


def _refuse_one_more(connection: Connection, project: ProjectId) -> None:
    (row,) = rows_of(connection, "count_paused_destinations", {"project": project})
    if row["count"] >= MAX_PAUSED_DESTINATIONS:
        raise TooManyPausesError(MAX_PAUSED_DESTINATIONS)


def _change_project_pause(connection: Connection, project: ProjectId, decide: Decide) -> Pause:
    with changing(connection) as version:
        known = rows_of(connection, "project_pause", {"project": project})
        if not known:
            return NOT_PAUSED
        pause = decide(_pause_of(known))
        changed = {"project": project, **pause._asdict(), "version": version}
        rows_of(connection, "put_project_pause", changed)
    return pause


def _pause_of(rows: Sequence[DictRow]) -> Pause:
    return Pause(rows[0]["paused_at"], rows[0]["resumed_at"]) if rows else NOT_PAUSED


def _project_rules_of(row: DictRow) -> ProjectRules:
    try:
        settings = settings_of(row["name"], row["settings"])
    except StorageError:
        settings = NO_SETTINGS  # whoever edits them by hand must not keep the others' from us
    return ProjectRules(
        project=ProjectId(row["project"]),
        max_in_flight=settings.max_in_flight,
        breaker=settings.breaker,
        pause=Pause(row["paused_at"], row["resumed_at"]),
    )


def _destination_of(row: DictRow) -> DestinationPause:
    return DestinationPause(
        project=ProjectId(row["project"]),
        destination=Destination(row["name"]),
        pause=Pause(row["paused_at"], row["resumed_at"]),
    )
