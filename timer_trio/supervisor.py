"""The root nursery: what runs, and in which order it ends."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import structlog
import trio
from pydantic import SecretStr

from timer_trio import __version__
from timer_trio.clock import Clock
from timer_trio.config import Settings
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.membership import Identity
from timer_trio.embedded import embedded_postgres, kept_api_key
from timer_trio.replica import Replica
from timer_trio.server import Server
from timer_trio.storage.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.transport import CallbackTransport
from timer_trio.transport.pool import MAX_IDLE, Pool
from timer_trio.welcome import welcome

OPEN_FILES: Final = 16_384
"""Callbacks in flight at their highest setting, idle connections, clients, and some to spare."""
IDLE_SHARE: Final = 4
"""Idle connections may take a quarter of the open files, so that others can still be opened."""
GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Callbacks in flight are up to a million objects and no garbage: under Python's own thresholds a
burst of 10,000 spends a third of its CPU time on looking at them again and again."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Database:
    """`is_ours`: the embedded one, on which no other service can be alive."""

    url: str
    api_key: SecretStr
    is_ours: bool


async def serve(settings: Settings, *, hypercorn_config: Path | None = None) -> None:
    """Run the service until SIGTERM or SIGINT; a second signal hurries.

    Raises:
        StartRefusedError: it cannot run in this environment.
        OutcomesLostError: it stopped, and the database did not take the last outcomes.
    """
    open_files = _allow_open_files()
    _collect_garbage_seldom()
    server = Server(settings, hypercorn_config)
    guard = AddressGuard(settings.callback_allow)
    async with (
        _signals() as signals,
        _database(settings) as database,
        PostgresStorage(
            database.url,
            pool_size=settings.database_pool_size,
            listen_url=settings.listen_url.get_secret_value() if settings.listen_url else None,
        ) as storage,
        CallbackTransport(
            guard=guard,
            ca_file=settings.callback_ca_file,
            pool=Pool(max_idle=min(MAX_IDLE, open_files // IDLE_SHARE)),
        ) as transport,
    ):
        replica = Replica(
            settings,
            storage=storage,
            clock=Clock(),
            transport=transport,
            alone=database.is_ours,
            prepare=partial(migrate_database, database.url),
            warnings=storage.durability_warnings,
            identity=Identity(host=socket.gethostname(), pid=os.getpid(), version=__version__),
        )
        signals.handler = replica.stop
        app = replica.create_app(database.api_key.get_secret_value())
        allowed = [str(entry) for entry in settings.callback_allow]
        log.info("starting", version=__version__, listening=server.urls, callback_allow=allowed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_greet, settings, database, server, replica)
            nursery.start_soon(transport.close_expired_forever)
            await replica.run(partial(server.run, app))
            nursery.cancel_scope.cancel()
        log.info("stopped")


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
class _Signals:
    handler: Callable[[], None]


@asynccontextmanager
async def _signals() -> AsyncIterator[_Signals]:
    """Call the current handler at each SIGTERM or SIGINT; at first, that ends the block."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async with trio.open_nursery() as nursery:
            signals = _Signals(nursery.cancel_scope.cancel)
            nursery.start_soon(_obey, received, signals)
            yield signals
            nursery.cancel_scope.cancel()


async def _obey(received: AsyncIterator[int], signals: _Signals) -> NoReturn:
    async for number in received:
        log.info("signal", name=signal.Signals(number).name)
        signals.handler()
    raise AssertionError("signals never end")


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[_Database]:
    """Name the database of the settings, or run our own for the length of the block."""
    if settings.database_url is None:
        async with embedded_postgres(settings.data_dir) as url:
            api_key = settings.api_key or kept_api_key(settings.data_dir)
            yield _Database(url=url, api_key=api_key, is_ours=True)
        return
    if settings.api_key is None:
        raise AssertionError("the settings demand a key with a database")
    url = settings.database_url.get_secret_value()
    yield _Database(url=url, api_key=settings.api_key, is_ours=False)


async def _greet(settings: Settings, database: _Database, server: Server, replica: Replica) -> None:
    """Tell whoever started the service that it is ready, and how to use it."""
    await replica.wait_loaded()
    url = server.urls[0]
    log.info("ready", url=url)
    for warning in replica.warnings:
        log.warning("durability", warning=warning)
    if database.is_ours:
        shown = "$API_KEY" if settings.api_key else database.api_key.get_secret_value()
        words = welcome(
            url=url,
            data_dir=settings.data_dir,
            api_key=shown,
            called_as=sys.argv[0],
            may_call_here=AddressGuard(settings.callback_allow).admits("127.0.0.1"),
        )
        with suppress(OSError):  # nobody reads it
            print(words, flush=True)  # noqa: T201 - for the person who started it
