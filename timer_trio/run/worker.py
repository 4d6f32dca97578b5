"""A worker: a replica that stops when the process that started it sends word of it, or ends."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

import structlog
import trio

from timer_trio.config import Settings
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.lifecycle import Lifecycle
from timer_trio.run.lifeline import READY, Lifeline
from timer_trio.run.metrics_line import MetricsLine
from timer_trio.run.process import handled_signals, replica_on, run_replica, use_system
from timer_trio.run.worker_metrics import WorkerMetrics
from timer_trio.server import Listening, Server
from timer_trio.storage.migrations.errors import GrantsMissingError
from timer_trio.storage.migrations.migrate import migrate_database

log = structlog.get_logger()


async def work(
    settings: Settings,
    *,
    hypercorn_config: Path | None,
    listening: Listening,
    parent: Lifeline,
    metrics_line: socket.socket,
) -> None:
    """Serve on sockets of the parent until its message to stop, or its end.

    The settings name its database and the key.

    Raises:
        StartRefusedError: it cannot run in this environment.
        OutcomesLostError: it stopped, and the database did not take the last outcomes.
    """
    if not settings.databases or settings.api_key is None:
        raise AssertionError("the parent names its database and the key")
    shares = use_system(settings)
    server = Server(settings, hypercorn_config, listening, most_connections=shares.clients)
    async with (
        handled_signals() as signals,
        replica_on(
            settings.databases, settings, shares=shares, alone=False, prepare=_prepare
        ) as replica,
        trio.open_nursery() as nursery,
    ):
        # A signal to all processes of a service comes twice, here and from the parent, who alone
        # hurries it.
        signals.handler = replica.lifecycle.hand_over
        metrics = WorkerMetrics(MetricsLine(metrics_line), replica.metrics.registry)
        nursery.start_soon(_follow, parent, replica.lifecycle)
        nursery.start_soon(metrics.run)
        ready = partial(parent.send, READY)
        await run_replica(replica, server, settings.api_key, ready, metrics.text)
        nursery.cancel_scope.cancel()


async def _prepare(database_url: str) -> None:
    """Migrate; rights that are missing are waited for.

    The parent has found them there as the service began, so they have been revoked since.

    Raises:
        MigrationError: it cannot be done, and why.
        StorageUnavailableError, ContentionError: call it again.
    """
    try:
        await migrate_database(database_url)
    except GrantsMissingError as error:
        raise StorageUnavailableError(str(error)) from error


async def _follow(parent: Lifeline, lifecycle: Lifecycle) -> None:
    if await parent.receive():
        lifecycle.hand_over()
        while await parent.receive():
            lifecycle.close()
    # Its database may have gone with it, so the rest is short.
    log.warning("parent_ended")
    lifecycle.hand_over()
