"""What signs in a cell that is not the first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from random import Random

from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.signing import SigningSecret
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.routed import FollowingSigning
from timer_trio.storage.signing import secrets_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROJECTS = [DEFAULT_PROJECT]
BITS = Random(1).getrandbits


class First(MemoryStorage):
    is_away = False

    async def add_signing_secrets(self, secrets: Sequence[SigningSecret]) -> None:
        self._need()
        await super().add_signing_secrets(secrets)

    async def signing_secrets(
        self, projects: Collection[ProjectId], now: datetime
    ) -> Sequence[SigningSecret]:
        self._need()
        return await super().signing_secrets(projects, now)

    def _need(self) -> None:
        if self.is_away:
            raise StorageUnavailableError("away")


def cells() -> tuple[First, MemoryStorage, FollowingSigning]:
    first, second = First(lambda: NOW), MemoryStorage(lambda: NOW)
    return first, second, FollowingSigning(second, first)


async def test_new_cell_signs_as_the_first_does() -> None:
    first, second, following = cells()
    known = await secrets_of(first, PROJECTS, NOW, BITS)
    assert await secrets_of(following, PROJECTS, NOW, BITS) == known
    assert await second.signing_secrets(PROJECTS, NOW) == known


async def test_secret_that_a_later_cell_needs_first_is_that_of_all() -> None:
    first, _, following = cells()
    made = await secrets_of(following, PROJECTS, NOW, BITS)
    assert len(made) == 1
    assert await first.signing_secrets(PROJECTS, NOW) == made


async def test_what_is_known_does_while_the_first_cell_is_away() -> None:
    first, _, following = cells()
    known = await secrets_of(following, PROJECTS, NOW, BITS)
    first.is_away = True
    assert await secrets_of(following, PROJECTS, NOW, BITS) == known


async def test_cell_that_has_never_been_told_makes_none_of_its_own() -> None:
    first, second, following = cells()
    first.is_away = True
    assert await secrets_of(following, PROJECTS, NOW, BITS) == []
    assert await second.signing_secrets(PROJECTS, NOW) == []
