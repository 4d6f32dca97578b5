"""A service that starts with START_PAUSED holds back what is due, until somebody resumes it."""

from __future__ import annotations

from contextlib import closing

import pytest
import trio
from pydantic import SecretStr
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.contract.timers import NOW
from timer_trio.config import Settings
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.run import database_wait, start_paused
from timer_trio.run.main import _Database, _Service
from timer_trio.run.process import Signals
from timer_trio.run.start_paused import pause_all_on
from timer_trio.server import Server
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.testing import start_timer_service


@pytest.mark.parametrize("is_paused", [True, False])
async def test_replica_pauses_before_it_works(
    autojump_clock: MockClock, *, is_paused: bool
) -> None:
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            settings = Settings(start_paused=is_paused)
            service = await start_timer_service(nursery, settings=settings, log=True)
            answer = await service.client.get("/projects/default")
            assert (answer.json()["data"]["paused_since"] is not None) is is_paused
            nursery.cancel_scope.cancel()
    told = [line["projects"] for line in logs if line["event"] == "started_paused"]
    assert told == ([1] if is_paused else [])
    assert autojump_clock.autojump_threshold == 0


async def test_parent_pauses_all_projects_once_the_database_is_there(
    clean_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = [StorageUnavailableError("no connection"), None, StorageUnavailableError("again")]

    async def migrate(_: str) -> None:
        await trio.lowlevel.checkpoint()
        if error := outcomes.pop(0):
            raise error

    monkeypatch.setattr(start_paused, "migrate_database", migrate)
    monkeypatch.setattr(database_wait, "RETRY_INTERVAL_S", 0.01)
    with closing(PostgresStorage(clean_database_url, pool_size=1)) as storage:
        shop = (await storage.create_project("shop", NOW)).id
        with capture_logs() as logs:
            await pause_all_on(clean_database_url)
        for project in (DEFAULT_PROJECT, shop):
            assert (await storage.project_pause(project)).paused_at is not None
        assert await storage.replicas() == []
    assert [line["event"] for line in logs] == ["waiting_for_database", "started_paused"]
    assert len(outcomes) == 1


def test_worker_that_is_started_again_pauses_nothing() -> None:
    settings = Settings(start_paused=True, workers=2)
    database = _Database(urls=[], api_key=SecretStr("k" * 32))
    server = Server(settings, None, most_connections=10)
    service = _Service(settings, database, server, Signals(lambda: None))
    assert not service._settings_of_workers().start_paused
