"""The secrets of projects, and one for each that has none yet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from timer_trio.domain.project import ProjectId
from timer_trio.domain.signing import SigningSecret, new_secret
from timer_trio.storage.protocols import SigningStorage


async def secrets_of(
    storage: SigningStorage,
    projects: Collection[ProjectId],
    now: datetime,
    random_bits: Callable[[int], int],
) -> Sequence[SigningSecret]:
    """Read the valid secrets of projects, each project's current one last.

    One that has none gets one, the same for all who ask at once.
    """
    secrets = await storage.signing_secrets(projects, now)
    current = {secret.project for secret in secrets if secret.expires_at is None}
    missing = sorted({*projects} - current)
    if not missing:
        return secrets
    await storage.add_signing_secrets([new_secret(each, now, random_bits) for each in missing])
    return await storage.signing_secrets(projects, now)
