"""Who may do what, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import trio

from timer_trio.domain.api_key import ApiKey, KeyId, KnownKey
from timer_trio.domain.errors import ApiKeyNotFoundError, ProjectNotFoundError
from timer_trio.domain.project import ProjectId
from timer_trio.storage.memory.database import ApiKeyRow
from timer_trio.storage.memory.projects import MemoryProjects


class MemoryApiKeys(MemoryProjects):
    """ApiKeyStorage in memory."""

    async def key_seal(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._key_seal

    async def set_key_seal(self, seal: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._key_seal = seal

    async def create_api_key(self, key: ApiKey, secret_sha256: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if not self._is_open(key.project):
            raise ProjectNotFoundError
        self._api_keys.setdefault(key.id, ApiKeyRow(key, secret_sha256))

    async def api_keys(self, project: ProjectId) -> Sequence[ApiKey]:
        await trio.lowlevel.checkpoint()
        keys = [row.key for row in self._api_keys.values() if row.key.project == project]
        return sorted(keys, key=lambda key: (key.created_at, key.id), reverse=True)

    async def known_key(self, key_id: KeyId) -> KnownKey | None:
        await trio.lowlevel.checkpoint()
        row = self._api_keys.get(key_id)
        if row is None or not self._is_open(row.key.project):
            return None
        return KnownKey(
            key=row.key,
            secret_sha256=row.secret_sha256,
            project=self._project(row.key.project),
        )

    async def revoke_api_key(self, project: ProjectId, key_id: KeyId) -> None:
        await trio.lowlevel.checkpoint()
        row = self._api_keys.get(key_id)
        if row is None or row.key.project != project:
            raise ApiKeyNotFoundError
        del self._api_keys[key_id]

    async def note_key_uses(self, uses: Mapping[KeyId, datetime]) -> None:
        await trio.lowlevel.checkpoint()
        for key_id, used_at in uses.items():
            row = self._api_keys.get(key_id)
            if row is not None and (row.key.last_used_at or used_at) <= used_at:
                self._api_keys[key_id] = replace(row, key=replace(row.key, last_used_at=used_at))

    def _is_open(self, project: ProjectId) -> bool:
        row = self._projects.get(project)
        return row is not None and row.closed_at is None
