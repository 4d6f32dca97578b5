"""The PostgreSQL of the default set-up: a real server of our own under DATA_DIR, from a wheel.

Whoever holds the lock of a DATA_DIR owns its server: it ends one that a killed predecessor left
behind, and starts anew. The server is a direct child and ends when the service does, however that
ends; it listens on a Unix socket alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import structlog
import trio

from timer_trio.backoff import restart_pause_s
from timer_trio.embedded.api_key import kept_api_key, read_api_key
from timer_trio.embedded.errors import DataDirHeldError, EmbeddedUnavailableError
from timer_trio.embedded.folders import reachable_data_dir
from timer_trio.embedded.lock import WorkersLock
from timer_trio.embedded.postgres_server import PostgresServer, running_url
from timer_trio.embedded.subprocesses import exit_code

__all__ = [
    "DataDirHeldError",
    "EmbeddedUnavailableError",
    "PostgresServer",
    "WorkersLock",
    "embedded_postgres",
    "exit_code",
    "keep_running",
    "kept_api_key",
    "reachable_data_dir",
    "read_api_key",
    "running_url",
]

log = structlog.get_logger()


@asynccontextmanager
async def embedded_postgres(data_dir: Path) -> AsyncIterator[str]:
    """Run PostgreSQL for the length of a block, which gets the database's URL.

    If the server ends meanwhile, it is started again under the same URL. Run it in the main thread.

    Raises:
        EmbeddedUnavailableError: it cannot run here, or another process holds the DATA_DIR.
    """
    server = PostgresServer(data_dir)
    url = await server.start()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_running, server)
            yield url
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await server.stop()


async def keep_running(server: PostgresServer) -> NoReturn:
    """Start a server again whenever it has ended, each time later while it ends young."""
    pause_s, launched_s = 0.0, trio.current_time()
    while True:
        code = await server.wait_ended()
        pause_s = restart_pause_s(pause_s, trio.current_time() - launched_s)
        log.error("embedded_postgresql_ended", code=code, restart_in_s=pause_s)
        await trio.sleep(pause_s)
        try:
            await server.launch()
        except (EmbeddedUnavailableError, OSError) as error:
            log.error("embedded_postgresql_not_started", reason=str(error))  # noqa: TRY400 - the words say it all
        launched_s = trio.current_time()
