"""One process of the service: its share of the system, the signals that it handles, its replica."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn

import structlog
import trio
from pydantic import SecretStr

from timer_trio import __version__
from timer_trio.clock import Clock
from timer_trio.config import CellUrl, Settings
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.cells import CellMap
from timer_trio.domain.membership import Identity
from timer_trio.maintenance.index_builds import build_indexes
from timer_trio.run.open_files import Shares, Wanted, divide
from timer_trio.run.replica import Replica
from timer_trio.run.stages import Database
from timer_trio.run.tracing import collecting
from timer_trio.server import Server
from timer_trio.storage.cipher import cipher_of
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.database import BULK_CONNECTIONS, STAGE_CONNECTIONS
from timer_trio.transport import CallbackTransport
from timer_trio.transport.pool import MAX_IDLE, Pool
from timer_trio.transport.readiness import PATIENCE_S

OPEN_FILES: Final = 16_384
"""Enough for the settings as they are, and for callbacks in flight at their highest."""
OWN_CONNECTIONS: Final = STAGE_CONNECTIONS + BULK_CONNECTIONS + 2
"""To the database, beside the API's: the last two are of the heartbeat and of who listens."""
GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Callbacks in flight are up to a million objects and no garbage: under Python's own thresholds a
burst of 10,000 spends a third of its CPU time on looking at them again and again."""
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = structlog.get_logger()


def use_system(settings: Settings) -> Shares:
    """Prepare this process for many connections; answers how many of each kind it can have.

    One to the database takes two files: by the second it can be cut at any time.
    """
    _collect_garbage_seldom()
    wanted = Wanted(
        clients=settings.max_connections,
        callbacks=settings.max_in_flight,
        idle=MAX_IDLE,
        database=2
        * max(1, len(settings.databases))
        * (settings.database_pool_size + OWN_CONNECTIONS),
    )
    return divide(_allow_open_files(wanted), wanted)


def _allow_open_files(wanted: Wanted) -> int:
    """Raise the limit of open files as far as the system lets us; answers what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(OPEN_FILES, wanted.open_files)
    allowed = max(soft, most if hard == resource.RLIM_INFINITY else min(most, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def fit(settings: Settings, shares: Shares) -> Settings:
    """Lower the callbacks in flight to what can be open at once, and log it."""
    short = {
        "MAX_IN_FLIGHT": (settings.max_in_flight, shares.callbacks),
        "MAX_CONNECTIONS": (settings.max_connections, shares.clients),
    }
    cut = {name: allowed for name, (asked, allowed) in short.items() if allowed < asked}
    if cut:
        log.warning("open_files_short", advice="raise the limit of open files (ulimit -n)", **cut)
    in_flight = shares.callbacks
    per_destination = min(settings.max_in_flight_per_destination, in_flight)
    return settings.model_copy(
        update={"max_in_flight": in_flight, "max_in_flight_per_destination": per_destination}
    )


def _collect_garbage_seldom() -> None:
    """Collect cyclic garbage less often than Python does, and never among what was imported."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


@dataclass(slots=True)
class Signals:
    handler: Callable[[], None]


@asynccontextmanager
async def handled_signals() -> AsyncIterator[Signals]:
    """Call the current handler at each SIGTERM, SIGINT or SIGHUP; at first, that ends the block.

    A SIGHUP that is ignored stays so: `nohup` asks for it. After the block all are ignored, so that
    one too many does not spoil the exit code.
    """
    numbers = set(STOP_SIGNALS)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    with trio.open_signal_receiver(*numbers) as received:
        async with trio.open_nursery() as nursery:
            signals = Signals(nursery.cancel_scope.cancel)
            nursery.start_soon(_handle, received, signals)
            yield signals
            nursery.cancel_scope.cancel()


async def _handle(received: AsyncIterator[int], signals: Signals) -> NoReturn:
    async for number in received:
        log.info("signal_received", name=signal.Signals(number).name)
        signals.handler()
    raise AssertionError("signals never end")


@asynccontextmanager
async def replica_on(
    databases: Sequence[CellUrl],
    settings: Settings,
    *,
    shares: Shares,
    alone: bool,
    prepare: Callable[[str], Awaitable[None]] = migrate_database,
) -> AsyncIterator[Replica]:
    """Make a replica, and what it stands on for the length of the block.

    `alone`: no other replica can be alive on its database. `prepare` brings one to the schema.
    """
    cipher = cipher_of(settings.encryption_keys)
    identity = Identity(
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        map=str(CellMap([each.cell for each in databases])),
    )
    async with (
        AsyncExitStack() as stack,
        CallbackTransport(
            guard=AddressGuard(settings.callback_allow),
            ca_file=settings.callback_ca_file,
            pool=Pool(max_idle=shares.idle),
            # Who waits for others that are to go out with him has time for their answers as well.
            patience_s=PATIENCE_S + settings.fire_together_s,
        ) as transport,
        collecting(f"{identity.host}:{identity.pid}", is_on=settings.tracing) as collector,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(transport.close_expired_forever)
        known = []
        for cell, secret in databases:
            url = secret.get_secret_value()
            listen_url = settings.listen_url.get_secret_value() if settings.listen_url else None
            nursery.start_soon(build_indexes, listen_url or url)
            storage = await stack.enter_async_context(
                PostgresStorage(
                    url,
                    pool_size=settings.database_pool_size,
                    listen_url=listen_url,
                    cipher=cipher,
                )
            )
            nursery.start_soon(storage.watch_servers)
            known.append(
                Database(
                    storage=storage,
                    clock=Clock(),
                    alone=alone,
                    cell=cell,
                    prepare=partial(_prepare, storage, partial(prepare, url)),
                    warnings=storage.warnings,
                    trouble=storage.trouble,
                    encrypts=cipher.seals,
                )
            )
        yield Replica(
            fit(settings, shares),
            known,
            transport=transport,
            new_alarm=lambda: transport.alarm,
            identity=identity,
            collector=collector,
        )
        nursery.cancel_scope.cancel()


async def _prepare(storage: PostgresStorage, prepare: Callable[[], Awaitable[None]]) -> None:
    await prepare()
    await storage.look_for_sealed()


async def run_replica(
    replica: Replica,
    server: Server,
    api_key: SecretStr,
    on_loaded: Callable[[], None],
    metrics_text: Callable[[], Awaitable[bytes]] | None = None,
) -> None:
    """Run a replica and its API until it is stopped; `on_loaded` is called after its first load.

    `metrics_text` tells of the processes beside it, too, if there are any.

    Raises:
        OutcomesLostError: the database did not take the last outcomes.
    """
    app = replica.create_app(api_key.get_secret_value(), metrics_text=metrics_text)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_report_loaded, replica, on_loaded)
        await replica.run(partial(server.run, app, replica.metrics))
        nursery.cancel_scope.cancel()


async def _report_loaded(replica: Replica, on_loaded: Callable[[], None]) -> None:
    await replica.wait_loaded()
    on_loaded()
    for warning in replica.warnings:
        log.warning("promise_weakened", warning=warning)
