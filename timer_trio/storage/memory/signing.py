"""What signs callbacks, in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import trio

from timer_trio.domain.project import ProjectId
from timer_trio.domain.signing import SigningSecret, in_order
from timer_trio.storage.memory.database import Database


class MemorySigning(Database):
    """SigningStorage in memory."""

    async def signing_secrets(
        self, projects: Collection[ProjectId], now: datetime
    ) -> Sequence[SigningSecret]:
        await trio.lowlevel.checkpoint()
        return [
            secret
            for project in sorted(projects)
            for secret in in_order(self._signing.get(project, ()))
            if secret.is_valid(now)
        ]

    async def add_signing_secrets(self, secrets: Sequence[SigningSecret]) -> None:
        await trio.lowlevel.checkpoint()
        for secret in secrets:
            known = self._signing.setdefault(secret.project, [])
            if all(each.expires_at for each in known):
                known.append(secret)

    async def change_signing_secrets(
        self,
        project: ProjectId,
        decide: Callable[[Sequence[SigningSecret]], Sequence[SigningSecret]],
    ) -> Sequence[SigningSecret]:
        await trio.lowlevel.checkpoint()
        changed = decide(in_order(self._signing.get(project, ())))
        self._signing[project] = [*changed]
        return changed
