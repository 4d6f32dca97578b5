"""What signs callbacks, in several cells: the same in all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial

from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.project import ProjectId
from timer_trio.domain.signing import SigningSecret
from timer_trio.storage.protocols import SigningStorage
from timer_trio.storage.routed.cells import FIRST, Cells
from timer_trio.storage.routed.common import all_secrets, put_secrets


class RoutedSigning(Cells):
    """SigningStorage in several cells."""

    async def signing_secrets(
        self, projects: Collection[ProjectId], now: datetime
    ) -> Sequence[SigningSecret]:
        return await self._ask_any(lambda storage: storage.signing_secrets(projects, now))

    async def add_signing_secrets(self, secrets: Sequence[SigningSecret]) -> None:
        """Write them to the first cell, and to those others that are connected.

        So a cell that is away keeps no callback of a new project waiting. What it lacks it is given
        when it is back, before anything changes the secrets.
        """
        async with self._turn:
            await self._ask(FIRST, lambda storage: storage.add_signing_secrets(secrets))
            others = [cell for cell in self._all[1:] if self._is_connected(cell)]
            for project in {secret.project for secret in secrets}:
                known = await self._ask(FIRST, partial(all_secrets, project))
                await self._tell_these(others, partial(put_secrets, project, known))

    async def change_signing_secrets(
        self,
        project: ProjectId,
        decide: Callable[[Sequence[SigningSecret]], Sequence[SigningSecret]],
    ) -> Sequence[SigningSecret]:
        async with self._changing():
            changed = await self._ask(
                FIRST, lambda own: own.change_signing_secrets(project, decide)
            )
            await self._have_others_sign(project)
            return changed

    async def _have_others_sign(self, project: ProjectId) -> None:
        """Have the others sign as the first does, whoever else changes that meanwhile."""
        told: Sequence[SigningSecret] = ()
        while told != (known := await self._ask(FIRST, partial(all_secrets, project))):
            await self._tell_others(partial(put_secrets, project, known))
            told = known


class FollowingSigning:
    """SigningStorage of a cell that is not the first: it makes no secret of its own.

    One would be taken back when the cells are united, and its receivers have the first's. So what
    is to be signed for a project that has none yet waits until the first cell is there.
    """

    def __init__(self, own: SigningStorage, first: SigningStorage) -> None:
        self._own = own
        self._first = first

    async def signing_secrets(
        self, projects: Collection[ProjectId], now: datetime
    ) -> Sequence[SigningSecret]:
        return await self._own.signing_secrets(projects, now)

    async def add_signing_secrets(self, secrets: Sequence[SigningSecret]) -> None:
        """Write what the first cell has, which is this if it has none; nothing if it is away."""
        projects = {secret.project for secret in secrets}
        try:
            await self._first.add_signing_secrets(secrets)
            known = await self._first.signing_secrets(projects, secrets[0].created_at)
        except StorageUnavailableError:
            return
        await self._own.add_signing_secrets([each for each in known if each.expires_at is None])

    async def change_signing_secrets(
        self,
        project: ProjectId,
        decide: Callable[[Sequence[SigningSecret]], Sequence[SigningSecret]],
    ) -> Sequence[SigningSecret]:
        return await self._own.change_signing_secrets(project, decide)
