"""The keys and projects that consumers name: what is known of them is a few seconds old."""

from __future__ import annotations

from typing import Final

from timer_trio.access.recent import Recent
from timer_trio.domain.api_key import KeyId, KnownKey, Token, bears_seal
from timer_trio.domain.project import NO_SETTINGS, Project, ProjectSettings
from timer_trio.storage import ApiStorage

MOST_KEYS: Final = 10_000
"""Some 10 MB; of more keys that are used within five seconds some are read again."""
_SEAL: Final = "seal"


class KeyRing:
    """Finds keys by their ids, and projects by their names.

    A key that was made up costs no look-up, and one that was revoked one in five seconds.
    """

    def __init__(self, storage: ApiStorage) -> None:
        self._storage = storage
        self._seal: bytes | None = None
        self._default_settings = NO_SETTINGS
        self._seals = Recent(self._read_seal, most=1)
        self._keys = Recent(self._read_key, most=MOST_KEYS)
        self._projects = Recent(self._read_project, most=MOST_KEYS)

    async def find(self, token: Token) -> KnownKey | None:
        """Return the key that somebody sends; None: there is none such, or no more.

        Raises:
            StorageUnavailableError: it is not known, and cannot be read.
        """
        known = await self.named(token.id)
        return known if known is not None and known.has(token.secret) else None

    async def named(self, key_id: KeyId) -> KnownKey | None:
        """Return the key that has an id, as whoever has proved to know it; None: no more.

        Raises:
            StorageUnavailableError: it is not known, and cannot be read.
        """
        known = self._keys.peek(key_id)
        if known is None and bears_seal(key_id, await self.seal()):
            known = await self._keys.get(key_id)
        return known

    async def project(self, name: str) -> Project | None:
        """Return the project of this name; None: there is none, or it is being deleted.

        Raises:
            StorageUnavailableError: it is not known, and cannot be read.
        """
        found = await self._projects.get(name)
        return None if found is None or found.closed_at is not None else found

    async def seal(self) -> bytes:
        """Return what the ids of keys are sealed with.

        Raises:
            StorageUnavailableError: it is not known, and cannot be read.
        """
        if self._seal is None:
            self._seal = await self._seals.get(_SEAL)
        if self._seal is None:
            raise AssertionError("there is one from the start")
        return self._seal

    @property
    def default_settings(self) -> ProjectSettings:
        """What the default project has, as the last heartbeat read it; `NO_SETTINGS`: none."""
        return self._default_settings

    def note_default_settings(self, settings: ProjectSettings) -> None:
        self._default_settings = NO_SETTINGS if settings == NO_SETTINGS else settings

    def forget_key(self, key_id: KeyId) -> None:
        """Have a key read again that was changed by way of this replica."""
        self._keys.forget(key_id)

    def forget_project(self, name: str) -> None:
        """Have a project read again that was changed by way of this replica, and all keys."""
        self._projects.forget(name)
        self._keys.forget_all()

    async def _read_key(self, key_id: KeyId) -> KnownKey | None:
        return await self._storage.known_key(key_id)

    async def _read_project(self, name: str) -> Project | None:
        return await self._storage.project_named(name)

    async def _read_seal(self, _: str) -> bytes:
        return await self._storage.key_seal()
