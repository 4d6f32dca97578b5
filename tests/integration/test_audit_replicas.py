"""The audit of whole replicas: in the background, at a stop, or not at all."""

from __future__ import annotations

import pytest

from tests.integration.test_keys_replicas import WANTED, NoReceiver
from tests.replicas import api_client, replica_on, running
from timer_trio.config import Settings
from timer_trio.domain.audit import AuditQuery
from timer_trio.storage.postgres import PostgresStorage


async def told(storage: PostgresStorage) -> list[tuple[str, int]]:
    page = await storage.audit(AuditQuery())
    return [(entry.action, entry.count) for entry in page.entries]


@pytest.mark.parametrize(
    ("days", "expected"), [(30.0, [("timer.created", 3)]), (0.0, [])], ids=["kept", "none"]
)
async def test_stop_writes_what_was_done_just_before(
    clean_database_url: str, days: float, expected: list[tuple[str, int]]
) -> None:
    settings = Settings(shutdown_grace_s=0, audit_days=days)
    async with PostgresStorage(clean_database_url, pool_size=4) as storage:
        replica = replica_on(storage, NoReceiver(), settings)
        async with running(replica), api_client(replica) as client:
            for _ in range(3):
                assert (await client.post("/timers", json=WANTED)).status_code == 201
        assert await told(storage) == expected


async def test_two_replicas_tell_of_the_same_minute_beside_each_other(
    clean_database_url: str,
) -> None:
    async with PostgresStorage(clean_database_url, pool_size=4) as storage:
        replicas = [
            replica_on(storage, NoReceiver(), Settings(shutdown_grace_s=0), alone=False)
            for _ in range(2)
        ]
        async with running(replicas[0]), running(replicas[1]):
            for replica in replicas:
                async with api_client(replica) as client:
                    for _ in range(2):
                        assert (await client.post("/timers", json=WANTED)).status_code == 201
        assert sum(count for _, count in await told(storage)) == 4
