"""The PostgreSQL of the default set-up: a real server of our own under DATA_DIR, from a wheel.

Whoever holds the lock of a DATA_DIR owns its server: it ends one that a killed predecessor left
behind, and starts anew. The server is a direct child and ends when the service does, however that
ends; it listens on a Unix socket alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.embedded.api_key import kept_api_key, read_api_key
from timer_trio.embedded.errors import DataDirHeldError, EmbeddedUnavailableError
from timer_trio.embedded.folders import reachable_data_dir
from timer_trio.embedded.lock import WorkersLock
from timer_trio.embedded.process import exit_code
from timer_trio.embedded.server import PostgresServer, running_url

__all__ = [
    "DataDirHeldError",
    "EmbeddedUnavailableError",
    "PostgresServer",
    "WorkersLock",
    "embedded_postgres",
    "exit_code",
    "kept_api_key",
    "reachable_data_dir",
    "read_api_key",
    "running_url",
]

log = structlog.get_logger()

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


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
            nursery.start_soon(_keep_running, server)
            yield url
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await server.stop()


async def _keep_running(server: PostgresServer) -> NoReturn:
    pause_s = _FIRST_PAUSE_S
    while True:
        code = await server.wait_ended()
        log.error("the embedded PostgreSQL ended", code=code, restart_in_s=pause_s)
        await trio.sleep(pause_s)
        try:
            await server.launch()
        except (EmbeddedUnavailableError, OSError) as error:
            log.error("the embedded PostgreSQL did not come back", reason=str(error))  # noqa: TRY400 - the words say it all
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        else:
            pause_s = _FIRST_PAUSE_S
