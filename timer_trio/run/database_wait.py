"""What a start asks of the database, which may be away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
import trio

from timer_trio.cluster.heartbeat import RETRY_INTERVAL_S
from timer_trio.domain.errors import ContentionError, StorageUnavailableError

log = structlog.get_logger()


async def wait_for_database(ask: Callable[[], Awaitable[None]]) -> None:
    """Ask again and again until the database takes it, and log each other reason why it does not.

    Raises whatever else `ask` raises.
    """
    reason = ""
    while True:
        try:
            await ask()
        except (StorageUnavailableError, ContentionError) as error:
            if str(error) != reason:
                reason = str(error)
                log.warning("waiting_for_database", reason=reason)
            await trio.sleep(RETRY_INTERVAL_S)
        else:
            return
