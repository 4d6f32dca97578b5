"""One process of the service: what it takes of the system, what it hears, and its replica."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn

import structlog
import trio
from pydantic import SecretStr

from timer_trio import __version__
from timer_trio.clock import Clock
from timer_trio.config import Settings
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.membership import Identity
from timer_trio.replica import Replica
from timer_trio.server import Server
from timer_trio.storage.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.transport import CallbackTransport
from timer_trio.transport.pool import MAX_IDLE, Pool

OPEN_FILES: Final = 16_384
"""Callbacks in flight at their highest setting, idle connections, clients, and some to spare."""
IDLE_SHARE: Final = 4
"""Idle connections may take a quarter of the open files, so that others can still be opened."""
GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Callbacks in flight are up to a million objects and no garbage: under Python's own thresholds a
burst of 10,000 spends a third of its CPU time on looking at them again and again."""
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger()


def use_system() -> int:
    """Make this process one of many callbacks; answers how many files it may open."""
    _collect_garbage_seldom()
    return _allow_open_files()


def _allow_open_files() -> int:
    """Use what the system lets us have: a callback in flight and an idle connection take one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    allowed = max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def _collect_garbage_seldom() -> None:
    """Look for cyclic garbage less often than Python does, and never among what was imported."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


@dataclass(slots=True)
class Signals:
    handler: Callable[[], None]


@asynccontextmanager
async def heard_signals() -> AsyncIterator[Signals]:
    """Call the current handler at each SIGTERM or SIGINT; at first, that ends the block.

    After the block they are ignored, so that one too many does not spoil the exit code.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with trio.open_signal_receiver(*STOP_SIGNALS) as received:
        async with trio.open_nursery() as nursery:
            signals = Signals(nursery.cancel_scope.cancel)
            nursery.start_soon(_obey, received, signals)
            yield signals
            nursery.cancel_scope.cancel()


async def _obey(received: AsyncIterator[int], signals: Signals) -> NoReturn:
    async for number in received:
        log.info("signal", name=signal.Signals(number).name)
        signals.handler()
    raise AssertionError("signals never end")


@asynccontextmanager
async def replica_on(
    database_url: str, settings: Settings, *, open_files: int, alone: bool
) -> AsyncIterator[Replica]:
    """Make a replica, and what it stands on for the length of the block.

    `alone`: no other replica can be alive on this database.
    """
    async with (
        PostgresStorage(
            database_url,
            pool_size=settings.database_pool_size,
            listen_url=settings.listen_url.get_secret_value() if settings.listen_url else None,
        ) as storage,
        CallbackTransport(
            guard=AddressGuard(settings.callback_allow),
            ca_file=settings.callback_ca_file,
            pool=Pool(max_idle=min(MAX_IDLE, open_files // IDLE_SHARE)),
        ) as transport,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(transport.close_expired_forever)
        yield Replica(
            settings,
            storage=storage,
            clock=Clock(),
            transport=transport,
            alone=alone,
            prepare=partial(migrate_database, database_url),
            warnings=storage.durability_warnings,
            identity=Identity(host=socket.gethostname(), pid=os.getpid(), version=__version__),
        )
        nursery.cancel_scope.cancel()


async def run_replica(
    replica: Replica, server: Server, api_key: SecretStr, on_loaded: Callable[[], None]
) -> None:
    """Let a replica work and serve until it is stopped; `on_loaded`: it does all its work now.

    Raises:
        OutcomesLostError: the database did not take the last outcomes.
    """
    app = replica.create_app(api_key.get_secret_value())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tell_loaded, replica, on_loaded)
        await replica.run(partial(server.run, app))
        nursery.cancel_scope.cancel()


async def _tell_loaded(replica: Replica, on_loaded: Callable[[], None]) -> None:
    await replica.wait_loaded()
    on_loaded()
    for warning in replica.warnings:
        log.warning("weakened", warning=warning)
