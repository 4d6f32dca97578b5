"""Behind a pooler that gives the sessions of its clients away from one transaction to the next."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.chaos.proxy import Frames
from tests.contract.timers import ALICE, NOW, ask, created, new_timer
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.timer import Destination, DueTimer, Lane
from timer_trio.storage import Hint, HintsLostError
from timer_trio.storage.postgres import PostgresStorage, listener
from timer_trio.storage.postgres.connections import Connection

NOTIFICATION: Final = b"A"
KEY_DATA: Final = b"K"
TIMER: Final = DueTimer(NOW, new_timer().id, Lane(Destination("https://example.com:443")))


async def pass_on(source: trio.SocketStream, target: trio.SocketStream) -> None:
    async for data in source:
        await target.send_all(data)


async def pass_answers_on(source: trio.SocketStream, target: trio.SocketStream) -> None:
    """Pass on what the server says, but for what it says unasked, and under another number."""
    frames = Frames()
    async for data in source:
        for kind, message in frames.feed(data):
            if kind == KEY_DATA:
                await target.send_all(message[:5] + struct.pack("!I", 1) + message[9:])
            elif kind != NOTIFICATION:
                await target.send_all(message)


def hear_nothing(hint: Hint) -> None:
    raise AssertionError(hint)


@asynccontextmanager
async def pooler(database_url: str) -> AsyncIterator[str]:
    """Stand between clients and the database; yields the URL that leads here."""
    server = conninfo_to_dict(database_url)
    path = f"{server['host']}/.s.PGSQL.{server['port']}"

    async def serve(client: trio.SocketStream) -> None:
        upstream = await trio.open_unix_socket(path)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with client, upstream, trio.open_nursery() as nursery:
                nursery.start_soon(pass_on, client, upstream)
                await pass_answers_on(upstream, client)
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        (listening,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, [listening])
        here = {"host": "127.0.0.1", "port": listening.socket.getsockname()[1]}
        plain = {"sslmode": "disable", "gssencmode": "disable"}
        yield make_conninfo(database_url, **here, **plain)
        nursery.cancel_scope.cancel()


def session_of(connection: Connection) -> tuple[int | None, str, str]:
    names = ("lock_timeout", "enable_seqscan")
    rows = [connection.execute(f"SHOW {name}".encode()).fetchone() or {} for name in names]
    lock_timeout, enable_seqscan = (str(*row.values()) for row in rows)
    return connection.prepare_threshold, lock_timeout, enable_seqscan


async def test_nothing_is_prepared_behind_a_pooler(database_url: str) -> None:
    async with pooler(database_url) as url, PostgresStorage(url, pool_size=1) as storage:
        await storage.join(ALICE, NOW)
        timer_id = await created(storage)
        assert [timer.id for timer in (await ask(storage, [timer_id])).claimed] == [timer_id]
        assert await storage._stages.run(session_of) == (None, "1s", "on")


async def test_statements_are_prepared_where_the_server_itself_answers(database_url: str) -> None:
    async with PostgresStorage(database_url, pool_size=1) as storage:
        assert await storage._stages.run(session_of) == (0, "100ms", "off")


async def test_who_does_not_hear_his_own_voice_knows_that_hints_are_lost(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "PROBE_S", 0.3)
    async with pooler(database_url) as url, PostgresStorage(url, pool_size=1) as storage:
        with trio.fail_after(5), pytest.raises(HintsLostError):
            await storage.listen(pytest.fail, hear_nothing)


async def test_a_url_of_its_own_leads_who_listens_past_the_pooler(database_url: str) -> None:
    heard: list[Hint] = []
    news = trio.Event()

    def hear(hint: Hint) -> None:
        heard.append(hint)
        news.set()

    async with (
        pooler(database_url) as url,
        PostgresStorage(url, pool_size=1, listen_url=database_url) as storage,
        trio.open_nursery() as nursery,
    ):
        listening = trio.Event()
        nursery.start_soon(storage.listen, listening.set, hear)
        with trio.fail_after(5):
            await listening.wait()
            await storage.hint([TIMER])
            await news.wait()
        nursery.cancel_scope.cancel()
    assert heard == [Hint(timers=[TIMER])]


async def test_listening_ends_when_the_server_ends_the_session(database_url: str) -> None:
    async with PostgresStorage(database_url, pool_size=1) as storage:
        listening = trio.Event()

        async def end_all_sessions() -> None:
            await listening.wait()
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_all_sessions)
            with trio.fail_after(5), pytest.raises(StorageUnavailableError):
                await storage.listen(listening.set, hear_nothing)
