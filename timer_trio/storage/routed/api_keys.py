"""Who may do what, in several cells: all know the same keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from timer_trio.domain.api_key import ApiKey, KeyId, KnownKey
from timer_trio.domain.errors import ApiKeyNotFoundError
from timer_trio.domain.project import ProjectId
from timer_trio.storage.protocols import Storage
from timer_trio.storage.routed.cells import FIRST, Cells


class RoutedApiKeys(Cells):
    """ApiKeyStorage in several cells."""

    async def key_seal(self) -> bytes:
        return await self._ask_any(lambda storage: storage.key_seal())

    async def set_key_seal(self, seal: bytes) -> None:
        await self._tell_all(lambda storage: storage.set_key_seal(seal))

    async def create_api_key(self, key: ApiKey, secret_sha256: bytes) -> None:
        await self._tell_all(lambda storage: storage.create_api_key(key, secret_sha256))

    async def api_keys(self, project: ProjectId) -> Sequence[ApiKey]:
        return await self._ask_any(lambda storage: storage.api_keys(project))

    async def known_key(self, key_id: KeyId) -> KnownKey | None:
        return await self._ask_any(lambda storage: storage.known_key(key_id))

    async def revoke_api_key(self, project: ProjectId, key_id: KeyId) -> None:
        async def revoke(storage: Storage) -> None:
            with suppress(ApiKeyNotFoundError):
                await storage.revoke_api_key(project, key_id)

        # The first last: as long as it is there, it can be revoked again.
        async with self._changing():
            await self._tell_others(revoke)
            await self._ask(FIRST, lambda storage: storage.revoke_api_key(project, key_id))

    async def note_key_uses(self, uses: Mapping[KeyId, datetime]) -> None:
        await self._ask_any(lambda storage: storage.note_key_uses(uses))
