"""The signing secrets of a project, for those who manage them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import timedelta

from timer_trio.clock import Clock
from timer_trio.domain.project import ProjectId
from timer_trio.domain.signing import SecretId, SigningSecret, new_secret, rotated, without
from timer_trio.storage import SigningStorage
from timer_trio.storage.signing import secrets_of


class SigningSecrets:
    """Reads and changes what signs a project's callbacks; replicas hear of it within 5 s."""

    def __init__(
        self,
        *,
        storage: SigningStorage,
        clock: Clock,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._random_bits = random_bits

    async def valid(self, project: ProjectId) -> Sequence[SigningSecret]:
        """Read the valid secrets of a project, the current one last; it gets one if it has none.

        Raises:
            StorageUnavailableError, ContentionError: the database does not tell.
        """
        now = self._clock.now()
        return await secrets_of(self._storage, [project], now, self._random_bits)

    async def rotate(self, project: ProjectId, overlap: timedelta) -> SigningSecret:
        """Make a new secret the current one, and let the one before it be valid for a while.

        Raises:
            TooManySecretsError: nothing was changed.
            StorageUnavailableError: it may have been done or not.
            ContentionError: nothing was changed.
        """
        await self.valid(project)
        now = self._clock.now()
        new = new_secret(project, now, self._random_bits)
        changed = await self._storage.change_signing_secrets(
            project, lambda known: rotated(known, new, now + overlap, now)
        )
        return changed[-1]

    async def delete(self, project: ProjectId, secret_id: SecretId) -> None:
        """Let a secret sign nothing any more.

        Raises:
            SecretNotFoundError, LastSecretError: nothing was changed.
            StorageUnavailableError: it may have been done or not.
            ContentionError: nothing was changed.
        """
        now = self._clock.now()
        await self._storage.change_signing_secrets(
            project, lambda known: without(known, secret_id, now)
        )
