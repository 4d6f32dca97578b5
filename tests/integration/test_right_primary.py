"""A primary and a standby that is promoted: which of them is used, and what ends at the other."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
import trio
from psycopg.conninfo import make_conninfo
from structlog.testing import capture_logs

from tests.contract.timers import ALICE
from tests.several_servers import Servers, several_servers
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage, fence
from timer_trio.storage.postgres.connections import Connection, connect
from timer_trio.storage.postgres.watch import look

PAUSE_S = 0.02
WAITS_FOR_STANDBY = "SELECT true FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@contextmanager
def as_if_started_now() -> Iterator[None]:
    """Know nothing of what this process has seen."""
    fence._fence_of.cache_clear()
    yield
    fence._fence_of.cache_clear()


@pytest.fixture
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """A migrated primary, and a standby of it that no commit waits for."""
    async with several_servers(tmp_path_factory.mktemp("servers")) as servers:
        first = await servers.make_primary("first")
        await migrate_database(first.url)
        await servers.make_standby("second", first, synchronous=False)
        yield servers


def port_of(connection: psycopg.Connection[Any]) -> int:
    return connection.info.port


async def beaten(storage: PostgresStorage) -> int:
    """Beat until the database takes it; answers with the port of the server that has."""
    with trio.fail_after(10):
        while True:
            try:
                await storage.beat(ALICE)
            except StorageUnavailableError:
                await trio.sleep(PAUSE_S)
            else:
                return await storage._heartbeat.run(port_of)


def drop_all(storage: PostgresStorage) -> None:
    for connections in (storage._heartbeat, storage._stages, storage._api, storage._bulk):
        connections._drop_idle()


async def test_an_old_primary_that_comes_back_is_used_no_more(servers: Servers) -> None:
    first, second = servers.all
    with closing(PostgresStorage(servers.url, pool_size=1)) as storage:
        assert await beaten(storage) == first.port
        assert any("synchronous_standby_names" in each for each in storage.warnings())
        await first.kill()
        await second.promote()
        assert await beaten(storage) == second.port
        await first.launch()
        former, _ = storage._dialer.servers
        storage._dialer.fence.put_last(storage._dialer.servers[1].name)
        assert await storage._api.run(port_of) == second.port
        (warning,) = (each for each in storage.warnings() if "old primary" in each)
        assert f"{former.name} is an old primary: its timeline is 1, and 2" in warning
        with as_if_started_now(), connect(servers.url) as connection:
            assert port_of(connection) == second.port
        with as_if_started_now(), closing(PostgresStorage(servers.url, pool_size=1)) as another:
            assert await another._heartbeat.run(port_of) == second.port
            assert any("old primary" in each for each in another.warnings())
        await second.stop()
        drop_all(storage)
        with pytest.raises(StorageUnavailableError, match="is an old primary"):
            await storage.beat(ALICE)
        await first.stop()
        look(storage._dialer, former)
        assert not any("old primary" in each for each in storage.warnings())


async def test_what_goes_on_at_an_old_primary_ends_and_does_not_count(servers: Servers) -> None:
    first, second = servers.all
    with closing(PostgresStorage(servers.url, pool_size=2)) as storage:
        dialer = storage._dialer
        other = next(each for each in dialer.servers if str(second.port) in each.name)
        assert await beaten(storage) == first.port
        ended: list[str] = []
        listening, promoted = trio.Event(), trio.Event()

        async def listen() -> None:
            with pytest.raises(StorageUnavailableError):
                await storage.listen(listening.set, lambda _: None)
            ended.append("listens")

        async def wait_for_an_answer() -> None:
            with pytest.raises(StorageUnavailableError, match="another server now"):
                await storage._api.run(lambda session: session.execute("SELECT pg_sleep(9)"))
            ended.append("waits")

        def answer_late(session: Connection) -> int:
            trio.from_thread.run(promoted.wait)
            look(dialer, other)
            return port_of(session)

        async def answer() -> None:
            with pytest.raises(StorageUnavailableError, match="another server now"):
                await storage._stages.run(answer_late)
            ended.append("answers")

        with trio.fail_after(8):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                await listening.wait()
                nursery.start_soon(wait_for_an_answer)
                nursery.start_soon(answer)
                await second.promote()
                promoted.set()
        assert sorted(ended) == ["answers", "listens", "waits"]
        assert await storage._heartbeat.run(port_of) == second.port
        assert await storage._stages.run(port_of) == second.port


async def test_a_frozen_primary_is_given_up_for_the_one_that_is_promoted(servers: Servers) -> None:
    first, second = servers.all
    with closing(
        PostgresStorage(servers.url, pool_size=1, heartbeat_patience_s=0.3, patience_s=0.6)
    ) as storage:
        assert await beaten(storage) == first.port
        await storage._api.run(port_of)
        first.freeze()
        with trio.fail_after(5), pytest.raises(StorageUnavailableError, match=r"within 0\.3s"):
            await storage.beat(ALICE)
        with trio.fail_after(5), pytest.raises(StorageUnavailableError, match=r"within 0\.6s"):
            await storage._api.run(lambda session: session.execute("SELECT 1"))
        tried_first = storage._dialer.fence.order(storage._dialer.servers)[0]
        assert tried_first.name == f"127.0.0.1:{second.port}"
        await second.promote()
        assert await beaten(storage) == second.port


async def test_servers_that_tell_no_timeline_are_believed_and_warned_of(
    database_url: str,
) -> None:
    role = f"told_nothing_{os.getpid()}"
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN".encode())
        try:
            owner.execute("REVOKE EXECUTE ON FUNCTION pg_walfile_name FROM PUBLIC")
            owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}".encode())
            await told_nothing_warned(make_conninfo(database_url, user=role))
        finally:
            owner.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}".encode())


async def told_nothing_warned(url: str) -> None:
    with closing(PostgresStorage(url, pool_size=1)) as alone:
        await alone.beat(ALICE)
        assert not alone.warnings()
    given = psycopg.conninfo.conninfo_to_dict(url)
    twice = {name: f"{given[name]},{given[name]}" for name in ("host", "port")}
    with closing(PostgresStorage(make_conninfo(url, **twice), pool_size=1)) as storage:
        await storage.beat(ALICE)
        (warning,) = storage.warnings()
        assert "permission denied" in warning
        assert "old primary" in warning


def add_project(number: int, session: Connection) -> None:
    statement = "INSERT INTO projects (id, name, created_at) VALUES (%s, %s, now())"
    session.execute(statement, [number, f"p{number}"])


async def test_commits_that_wait_for_a_standby_in_vain_are_given_up_but_not_piled_up(
    servers: Servers,
) -> None:
    first, second = servers.all
    with closing(PostgresStorage(servers.url, pool_size=1, patience_s=0.3)) as storage:
        await storage._api.run(port_of)
        await first.set(synchronous_standby_names="nobody")
        for number, words in ((1, "0.3s"), (2, "0.3s"), (3, "no other is begun")):
            with pytest.raises(StorageUnavailableError, match=words):
                await storage._api.run(partial(add_project, number))
        await first.set(synchronous_standby_names="")
        with trio.fail_after(10):
            while await first.ask(WAITS_FOR_STANDBY):  # noqa: ASYNC110 - nothing tells
                await trio.sleep(PAUSE_S)
        with capture_logs() as logged:
            assert await storage._api.run(port_of) == first.port
        assert [each["event"] for each in logged] == ["promise_weakened"]
        assert await first.ask("SELECT count(*) FROM projects WHERE id > 0") == 2
    assert second.runs
