"""A start that holds back what is due, for a copy of a database that was restored from a backup."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

import structlog

from timer_trio.domain.timer import ReplicaId
from timer_trio.run.database_wait import wait_for_database
from timer_trio.storage import RuleStorage
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage

log = structlog.get_logger()


async def pause_all(storage: RuleStorage, now: datetime) -> None:
    """Pause every project, and log it.

    Raises:
        StorageUnavailableError, ContentionError: call it again.
    """
    count = await storage.pause_all(now)
    advice = "POST /resume lets a project go on: then take START_PAUSED out"
    log.warning("started_paused", projects=count, advice=advice)


async def pause_all_on(url: str) -> None:
    """Pause every project of a database, however long it is away.

    Raises:
        MigrationError: it cannot be brought to the schema.
    """
    async with PostgresStorage(url, pool_size=1) as storage:

        async def pause() -> None:
            await migrate_database(url)
            # The clock is the database's; the one who asks has no row there.
            await pause_all(storage, (await storage.beat(ReplicaId(uuid4()))).now)

        await wait_for_database(pause)
