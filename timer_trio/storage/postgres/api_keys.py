"""Who may do what, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from psycopg.rows import DictRow

from timer_trio.domain.api_key import ApiKey, KeyId, KnownKey
from timer_trio.domain.errors import ApiKeyNotFoundError, ProjectNotFoundError
from timer_trio.domain.project import Project, ProjectId, Scope
from timer_trio.storage.postgres.database import Database
from timer_trio.storage.postgres.projects import settings_of


class PostgresApiKeys(Database):
    """ApiKeyStorage in PostgreSQL."""

    async def key_seal(self) -> bytes:
        (row,) = await self._api.fetch("key_seal", {})
        return bytes(row["seal"])

    async def set_key_seal(self, seal: bytes) -> None:
        await self._api.fetch("set_key_seal", {"seal": seal})

    async def create_api_key(self, key: ApiKey, secret_sha256: bytes) -> None:
        parameters = {
            "id": key.id,
            "project": key.project,
            "name": key.name,
            "scopes": sorted(key.scopes),
            "secret_sha256": secret_sha256,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
        }
        if not await self._api.fetch("create_api_key", parameters):
            raise ProjectNotFoundError

    async def api_keys(self, project: ProjectId) -> Sequence[ApiKey]:
        return [_key_of(row) for row in await self._api.fetch("api_keys", {"project": project})]

    async def known_key(self, key_id: KeyId) -> KnownKey | None:
        rows = await self._api.fetch("known_key", {"id": key_id})
        return _known_of(rows[0]) if rows else None

    async def revoke_api_key(self, project: ProjectId, key_id: KeyId) -> None:
        if not await self._api.fetch("revoke_api_key", {"project": project, "id": key_id}):
            raise ApiKeyNotFoundError

    async def note_key_uses(self, uses: Mapping[KeyId, datetime]) -> None:
        parameters = {"ids": [*uses], "instants": [*uses.values()]}
        await self._api.fetch("note_key_uses", parameters)


def _key_of(row: DictRow) -> ApiKey:
    return ApiKey(
        id=KeyId(row["id"]),
        project=ProjectId(row["project"]),
        name=row["name"],
        scopes=frozenset(map(Scope, row["scopes"])),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
    )


def _known_of(row: DictRow) -> KnownKey:
    project = Project(
        id=ProjectId(row["project"]),
        name=row["project_name"],
        created_at=row["project_created_at"],
        settings=settings_of(row["project_name"], row["settings"]),
    )
    return KnownKey(key=_key_of(row), secret_sha256=bytes(row["secret_sha256"]), project=project)
