"""Replicas under test: each is made here, whatever storage and receivers it has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import trio

from timer_trio.clock import Clock
from timer_trio.config import Settings
from timer_trio.domain.membership import LeaseTimes
from timer_trio.run.replica import Replica
from timer_trio.run.stages import Chance, Database
from timer_trio.storage import Storage
from timer_trio.transport import Transport

API_KEY: Final = "a-key-of-32-characters-for-tests"


def replica_on(
    storage: Storage,
    transport: Transport,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    *,
    clock: Clock | None = None,
    alone: bool = True,
    prepare: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    warnings: Callable[[], Sequence[str]] = tuple,
    trouble: Callable[[], str | None] = lambda: None,
    encrypts: bool = False,
    lease: LeaseTimes = LeaseTimes(),  # noqa: B008 - frozen
    chance: Chance = Chance(),  # noqa: B008 - frozen
) -> Replica:
    """A replica with its own clock, on a storage that nobody else uses, unless told otherwise."""
    return Replica(
        settings,
        [
            Database(
                storage=storage,
                clock=clock or Clock(),
                alone=alone,
                prepare=prepare,
                warnings=warnings,
                trouble=trouble,
                encrypts=encrypts,
            )
        ],
        transport=transport,
        lease=lease,
        chance=chance,
    )


def api_client(replica: Replica) -> httpx.AsyncClient:
    """A client of the API of this replica, in-process, that has the key."""
    # Quart's types of the ASGI messages are narrower than httpx's.
    app: Any = replica.create_app(API_KEY)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url="http://timer-trio",
        headers={"X-API-Key": API_KEY},
    )


@asynccontextmanager
async def running(replica: Replica) -> AsyncIterator[None]:
    """Runs it from its first load until the block ends, and then stops it in order."""
    async with trio.open_nursery() as nursery:
        await nursery.start(replica.run)
        yield
        replica.stop()
