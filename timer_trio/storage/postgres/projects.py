"""Whose things are, in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow

from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.errors import ProjectNameTakenError, ProjectNotFoundError, StorageError
from timer_trio.domain.project import (
    MAX_PROJECT_IN_FLIGHT,
    Live,
    Project,
    ProjectId,
    ProjectSettings,
    SettingsChange,
)
from timer_trio.domain.rate_limit import RateLimit
from timer_trio.domain.retry import RetryPolicy
from timer_trio.storage.postgres.database import Database


class PostgresProjects(Database):
    """ProjectStorage in PostgreSQL."""

    async def create_project(
        self, name: str, now: datetime, number: ProjectId | None = None
    ) -> Project:
        if number is not None:
            return await self._adopt_project(name, now, number)
        rows = await self._api.fetch("create_project", {"name": name, "now": now})
        if not rows:
            raise ProjectNameTakenError
        return project_of(rows[0])

    async def projects(self) -> Sequence[Project]:
        return [project_of(row) for row in await self._api.fetch("projects", {})]

    async def project_named(self, name: str) -> Project | None:
        rows = await self._api.fetch("project_named", {"name": name})
        return project_of(rows[0]) if rows else None

    async def change_project(self, project: ProjectId, change: SettingsChange) -> Project:
        parameters = {"project": project, "change": json.dumps(_in_json(change))}
        rows = await self._api.fetch("change_project", parameters)
        if not rows:
            raise ProjectNotFoundError
        return project_of(rows[0])

    async def close_project(self, project: ProjectId, now: datetime) -> None:
        await self._api.fetch("close_project", {"project": project, "now": now})

    async def open_project(self, project: ProjectId) -> None:
        await self._api.fetch("open_project", {"project": project})

    async def live_in(self, project: ProjectId) -> Live:
        (row,) = await self._api.fetch("live_in", {"project": project})
        return Live(timers=row["timers"], schedules=row["schedules"])

    async def empty_project(self, project: ProjectId, limit: int, now: datetime) -> int:
        parameters = {"project": project, "now": now}
        await self._api.fetch("end_schedules_in", parameters)
        (row,) = await self._api.fetch("cancel_in", {**parameters, "limit": limit})
        return int(row["canceled"])

    async def delete_project(self, project: ProjectId) -> None:
        await self._api.fetch("delete_project", {"project": project})

    async def deleted_projects(self) -> Mapping[ProjectId, datetime]:
        rows = await self._api.fetch("deleted_projects", {})
        return {ProjectId(row["id"]): row["closed_at"] for row in rows}

    async def forget_project(self, project: ProjectId) -> None:
        await self._api.fetch("forget_project", {"project": project})

    async def _adopt_project(self, name: str, now: datetime, number: ProjectId) -> Project:
        await self._api.fetch("adopt_project", {"number": number, "name": name, "now": now})
        known = await self.project_named(name)
        if known is None or known.id != number:
            raise ProjectNameTakenError
        return known


def project_of(row: DictRow) -> Project:
    """Make a project of its row.

    Raises:
        StorageError: its settings cannot be followed.
    """
    return Project(
        id=ProjectId(row["id"]),
        name=row["name"],
        created_at=row["created_at"],
        settings=settings_of(row["name"], row["settings"]),
        closed_at=row["closed_at"],
        paused_at=row["paused_at"],
    )


def settings_of(name: str, stored: Mapping[str, Any]) -> ProjectSettings:
    """Read the settings of a project; those of later releases are none of ours.

    Raises:
        StorageError: they cannot be followed.
    """
    try:
        hosts, retry = stored.get("allowed_hosts"), stored.get("default_retry")
        limit = stored.get("rate_limit")
        in_flight, breaker = stored.get("max_in_flight"), stored.get("breaker")
        return ProjectSettings(
            allowed_hosts=None if hosts is None else tuple(map(str, hosts)),
            default_retry=None if retry is None else _policy_of(**retry),
            rate_limit=None if limit is None else RateLimit(**limit),
            max_in_flight=None if in_flight is None else _limit_of(in_flight),
            breaker=None if breaker is None else BreakerPolicy(**breaker),
            max_live_timers=_most_live_of(stored.get("max_live_timers")),
        )
    except (TypeError, ValueError):
        raise StorageError(f"the settings of project {name} cannot be followed") from None


def _most_live_of(stored: object) -> int | None:
    if stored is not None and (type(stored) is not int or stored < 1):
        raise ValueError
    return stored


def _policy_of(delays: Sequence[float] | None = None, **values: Any) -> RetryPolicy:
    return RetryPolicy(delays=None if delays is None else tuple(delays), **values)


def _limit_of(stored: object) -> int:
    if not isinstance(stored, int) or not 1 <= stored <= MAX_PROJECT_IN_FLIGHT:
        raise ValueError("no limit of callbacks at once")
    return stored


def _in_json(change: SettingsChange) -> dict[str, object]:
    return {
        name: asdict(value) if isinstance(value, RetryPolicy | RateLimit | BreakerPolicy) else value
        for name, value in change.items()
    }
