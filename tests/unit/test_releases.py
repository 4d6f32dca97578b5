from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from uuid import UUID

import pytest
import trio

from tests.contract.timers import ALICE, BOB, NOW
from timer_trio import __version__
from timer_trio.api.errors import RETRY, Code, refusal_of
from timer_trio.cluster.releases import OLDEST, Releases
from timer_trio.domain.errors import OlderReplicasError, StorageUnavailableError
from timer_trio.domain.membership import Identity, ReplicaRecord
from timer_trio.domain.releases import is_older
from timer_trio.domain.timer import ReplicaId
from timer_trio.storage.memory import MemoryStorage


class Asked(MemoryStorage):
    """Counts how often it is asked for the replicas, and fails when told to."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.times = 0
        self.is_away = False

    async def replicas(self) -> Sequence[ReplicaRecord]:
        self.times += 1
        if self.is_away:
            raise StorageUnavailableError("away")
        return await super().replicas()

    async def add(self, replica: ReplicaId, version: str) -> None:
        await self.join(replica, NOW, Identity(host="node-1", pid=7, version=version))


@pytest.fixture
def storage() -> Asked:
    return Asked()


@pytest.mark.parametrize("version", ["0.2.0.dev0", "0.2.0", "0.10.0", "1.0"])
async def test_replicas_that_are_new_enough_are_asked_for_once(
    storage: Asked, version: str
) -> None:
    await storage.add(ALICE, version)
    releases = Releases(storage)
    for _ in range(3):
        await releases.require_all_new()
    assert storage.times == 1


@pytest.mark.parametrize(
    ("version", "named"),
    [("0.1.0", "0.1.0 on node-1:7"), ("0.1.9", "0.1.9 on node-1:7"), ("", "an unknown version on")],
)
async def test_older_replica_is_named_until_it_has_gone(
    storage: Asked, version: str, named: str
) -> None:
    await storage.add(ALICE, "0.2.0")
    await storage.add(BOB, version)
    releases = Releases(storage)
    for _ in range(2):
        with pytest.raises(OlderReplicasError) as raised:
            await releases.require_all_new()
        assert named in str(raised.value)
        assert "0.2.0" not in str(raised.value)
    await storage.sweep(BOB, None, NOW)
    await releases.require_all_new()
    await releases.require_all_new()
    assert storage.times == 3


async def test_replica_that_leaves_still_works(storage: Asked) -> None:
    await storage.add(ALICE, "0.1.0")
    await storage.leave(ALICE)
    with pytest.raises(OlderReplicasError):
        await Releases(storage).require_all_new()


async def test_database_that_does_not_tell_settles_nothing(storage: Asked) -> None:
    releases = Releases(storage)
    storage.is_away = True
    with pytest.raises(StorageUnavailableError):
        await releases.require_all_new()
    storage.is_away = False
    await storage.add(ALICE, "0.1.0")
    with pytest.raises(OlderReplicasError):
        await releases.require_all_new()


async def test_many_at_once_hear_the_same(storage: Asked) -> None:
    await storage.add(ALICE, "0.1.0")
    releases = Releases(storage)
    refused: list[OlderReplicasError] = []

    async def ask() -> None:
        try:
            await releases.require_all_new()
        except OlderReplicasError as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
    assert len(refused) == 10


async def test_consumer_is_told_who_is_in_the_way_and_when_to_come_back(storage: Asked) -> None:
    for number in range(5):
        await storage.add(ReplicaId(UUID(int=number)), "0.1.0")
    with pytest.raises(OlderReplicasError) as raised:
        await Releases(storage).require_all_new()
    refusal = refusal_of(raised.value)
    assert (refusal.status, refusal.code) == (HTTPStatus.SERVICE_UNAVAILABLE, Code.INTERNAL)
    assert refusal.headers == RETRY
    assert refusal.message == (
        "this release can do that, but not until replicas of older releases"
        " (0.1.0 on node-1:7, 0.1.0 on node-1:7, 0.1.0 on node-1:7 and 2 more) have stopped:"
        " stop or upgrade them, then try again"
    )


def test_this_version_is_new_enough() -> None:
    assert not is_older(__version__, OLDEST)
