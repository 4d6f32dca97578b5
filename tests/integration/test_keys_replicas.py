"""One key, many requests at once, several replicas on one PostgreSQL: one timer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import httpx
import pytest
import trio

from tests.replicas import api_client, replica_on, running
from timer_trio.config import Settings
from timer_trio.domain.query import TimerQuery
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.transport import Answer, Permit, Request

WANTED: Final = {"delay": 3600, "callback_url": "https://example.com/hook", "metadata": {"n": 1}}
NO_GRACE: Final = Settings(shutdown_grace_s=0)
REPLICAS: Final = 3
REQUESTS: Final = 50


class NoReceiver:
    def begin(self, _request: Request, _permit: Permit) -> None:
        """Have no connection ready."""

    async def send(self, request: Request, permit: Permit) -> Answer:
        raise AssertionError(request, permit)


class Fleet:
    def __init__(self, storage: PostgresStorage, clients: Sequence[httpx.AsyncClient]) -> None:
        self.storage = storage
        self._clients = clients

    async def post_many(
        self, path: str, bodies: Sequence[Any], method: str = "POST", *, keyed: bool = True
    ) -> list[httpx.Response]:
        """Send one after the other to each replica, all at once; with one key if `keyed`."""
        answers: list[httpx.Response] = []

        async def post(number: int) -> None:
            client = self._clients[number % len(self._clients)]
            body = bodies[number % len(bodies)]
            headers = {"Idempotency-Key": "the-one"} if keyed else {}
            answers.append(await client.request(method, path, json=body, headers=headers))

        async with trio.open_nursery() as nursery:
            for number in range(REQUESTS):
                nursery.start_soon(post, number)
        return answers

    async def total(self) -> int | None:
        return (await self.storage.list(TimerQuery())).total


@asynccontextmanager
async def fleet(url: str) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(REPLICAS):
            storage = await stack.enter_async_context(PostgresStorage(url, pool_size=4))
            prepare = partial(migrate_database, url)
            replica = replica_on(storage, NoReceiver(), NO_GRACE, alone=False, prepare=prepare)
            await stack.enter_async_context(running(replica))
            clients.append(await stack.enter_async_context(api_client(replica)))
        yield Fleet(storage, clients)


@pytest.mark.parametrize(
    ("path", "body", "count"),
    [("/timers", WANTED, 1), ("/timers/batch", {"timers": [WANTED] * 9}, 9)],
)
async def test_fifty_at_once_over_three_replicas_make_one(
    clean_database_url: str, path: str, body: Any, count: int
) -> None:
    async with fleet(clean_database_url) as replicas:
        answers = await replicas.post_many(path, [body])
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        fresh = [answer for answer in answers if "Idempotent-Replayed" not in answer.headers]
        assert len(fresh) == 1
        assert await replicas.total() == count


async def test_of_different_bodies_at_once_one_has_the_key(clean_database_url: str) -> None:
    bodies = [WANTED, {**WANTED, "delay": 1800}]
    async with fleet(clean_database_url) as replicas:
        answers = await replicas.post_many("/timers", bodies)
        assert sorted(answer.status_code for answer in answers) == [201] * 25 + [409] * 25
        assert len({answer.content for answer in answers}) == 2
        assert await replicas.total() == 1


async def test_of_many_puts_at_once_one_creates_and_all_others_replace(
    clean_database_url: str,
) -> None:
    bodies = [{**WANTED, "delay": delay} for delay in range(3600, 3700)]
    async with fleet(clean_database_url) as replicas:
        answers = await replicas.post_many("/timers/by-key/cart", bodies, method="PUT")
        assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
        assert len({answer.json()["data"]["id"] for answer in answers}) == 1
        assert await replicas.total() == 1


async def test_of_many_batches_at_once_that_share_a_name_one_is_written(
    clean_database_url: str,
) -> None:
    keys = (("a", "cart"), ("cart", "b"), ("c", "d", "cart"))
    bodies = [{"timers": [{**WANTED, "key": key} for key in some] + [WANTED]} for some in keys]
    async with fleet(clean_database_url) as replicas:
        answers = await replicas.post_many("/timers/batch", bodies, keyed=False)
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 49
        (won,) = [answer for answer in answers if answer.status_code == 201]
        ids = {timer["id"] for timer in won.json()["data"]["timers"]}
        told = {a.json()["data"]["id"] for a in answers if a is not won}
        assert told <= ids
        assert await replicas.total() == len(ids)


async def test_of_many_creates_at_once_one_gets_the_name(clean_database_url: str) -> None:
    async with fleet(clean_database_url) as replicas:
        answers = await replicas.post_many("/timers", [{**WANTED, "key": "cart"}], keyed=False)
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 49
        assert len({answer.json()["data"]["id"] for answer in answers}) == 1
        assert await replicas.total() == 1
