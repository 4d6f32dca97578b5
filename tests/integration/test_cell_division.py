"""A process whose cells divide a database: it goes on with that until its shards are moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, LiteralString

import httpx
import psycopg
import pytest
import trio

from tests.integration.test_cells import (
    LATER,
    MAP,
    PATIENCE_S,
    TIMER,
    Urls,
    all_there,
    both,
    cell_of,
    created,
    name_of,
    service,
)
from timer_trio.domain.cells import Cell
from timer_trio.run.replica import Replica

KEEP: Final = "INSERT INTO cell_map (map, own, moving) VALUES (%s, %s, %s)"
CLOSING: Final = ("0-255", "0-255", "128-255")
COMING: Final = (str(MAP), "128-255", "128-255")
OPEN: Final = "UPDATE cell_map SET moving = NULL"
LEFT: Final = "UPDATE cell_map SET map = %s, own = '0-127', moving = NULL"
BACK: Final = "UPDATE cell_map SET map = '0-255', own = '0-255', moving = NULL"
COPIES: Final[Sequence[tuple[LiteralString, LiteralString]]] = (
    ("COPY (SELECT * FROM timers WHERE shard >= 128) TO STDOUT", "COPY timers FROM STDIN"),
    ("COPY timer_keys TO STDOUT", "COPY timer_keys FROM STDIN"),
)


@pytest.fixture
def urls(clean_database_url: str, second_clean_database_url: str) -> Urls:
    return clean_database_url, second_clean_database_url


def tell(url: str, statement: LiteralString, *values: str) -> None:
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute(statement, values)


def move(urls: Urls) -> None:
    """Do what is done between closing and opening, to timers and their names."""
    with psycopg.connect(urls[0]) as source, psycopg.connect(urls[1]) as target:
        for read, write in COPIES:
            with source.cursor().copy(read) as out, target.cursor().copy(write) as into:
                for data in out:
                    into.write(data)
        source.execute("DELETE FROM timers WHERE shard >= 128")
        source.execute(LEFT, [str(MAP)])


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - a probe
            await trio.sleep(0.02)


async def status_of(client: httpx.AsyncClient, timer_id: str) -> str:
    answer = await client.get(f"/timers/{timer_id}")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["status"])


async def wait_fired(client: httpx.AsyncClient, timer_id: str) -> None:
    with trio.fail_after(PATIENCE_S):
        while await status_of(client, timer_id) != "failed":  # noqa: ASYNC110 - a probe
            await trio.sleep(0.02)


async def made(client: httpx.AsyncClient, timer: dict[str, Any], cell: int) -> str:
    """Create a timer in a flow of a cell."""
    answer = await created(client, timer, flow_key=name_of(cell))
    assert answer.status_code == 201, answer.text
    timer_id = str(answer.json()["data"]["id"])
    assert cell_of(timer_id) == cell
    return timer_id


async def owns(replica: Replica, count: int) -> None:
    await until(lambda: len(replica._stages[0].shards.own) == count)


async def test_database_goes_on_with_all_that_it_has_until_it_is_divided(urls: Urls) -> None:
    async with service((Cell(0, 255), urls[0])) as (_, client):
        old = await made(client, LATER, 1)
    async with service(*both(urls)) as (replica, client):
        await owns(replica, 256)
        assert await status_of(client, old) == "pending"
        for cell in (0, 1):
            await wait_fired(client, await made(client, TIMER, cell))
        assert (await client.post("/projects", json={"name": "shop"})).status_code == 201
        mixed = [LATER | {"key": name_of(0)}, LATER | {"key": name_of(1)}]
        for answer in (
            await client.post("/timers/batch", json={"timers": mixed}),
            await created(client, LATER, key=name_of(0), flow_key=name_of(1)),
        ):
            assert (answer.status_code, "must be of one cell" in answer.text) == (400, True)
        health = (await client.get("/health")).json()["data"]
        assert any("cell 128-255 has no timers yet" in each for each in health["warnings"])
        replicas = (await client.get("/replicas")).json()["data"]["replicas"]
        assert [(each["cell"], each["shards"]) for each in replicas] == [("0-255", 256)]
    with psycopg.connect(urls[1]) as sql:
        assert sql.execute("SELECT count(*) FROM timers, cell_map").fetchone() == (0,)
    with psycopg.connect(urls[0]) as sql:
        assert sql.execute("SELECT DISTINCT map FROM replicas").fetchall() == []


async def test_what_moves_is_not_claimed_and_all_else_goes_on(urls: Urls) -> None:
    async with service((Cell(0, 255), urls[0])) as (_, client):
        await created(client, LATER, key=name_of(1))
    async with service(*both(urls)) as (replica, client):
        await owns(replica, 256)
        near = await made(client, TIMER | {"delay": 2}, 1)
        tell(urls[0], KEEP, *CLOSING)
        await owns(replica, 128)
        resting = await made(client, TIMER, 0), await made(client, TIMER, 0)
        for timer_id in resting:
            await wait_fired(client, timer_id)
        answers = [await created(client, LATER) for _ in range(20)]
        assert {cell_of(each.json()["data"]["id"]) for each in answers} == {0}
        late = await made(client, TIMER, 1)
        await wait_fired(client, await made(client, TIMER | {"delay": 2}, 0))  # due after both
        assert [await status_of(client, each) for each in (near, late)] == ["pending"] * 2
        tell(urls[0], OPEN)
        await wait_fired(client, near)
        await wait_fired(client, late)


async def test_what_was_moved_is_fired_from_where_it_is(urls: Urls) -> None:
    async with service((Cell(0, 255), urls[0])) as (_, client):
        stays, _ = await made(client, LATER, 0), await made(client, LATER, 1)
    async with service(*both(urls)) as (replica, client):
        await owns(replica, 256)
        tell(urls[1], KEEP, *COMING)
        goes = (await created(client, TIMER | {"delay": 1}, key=name_of(1))).json()["data"]["id"]
        later = await made(client, LATER, 1)
        tell(urls[0], KEEP, *CLOSING)
        await owns(replica, 128)
        move(urls)
        await until(lambda: not replica._cells.has_more(replica._cells.numbers[0]))
        tell(urls[0], BACK)
        await owns(replica, 256)
        tell(urls[0], LEFT, str(MAP))
        await owns(replica, 128)
        answer = await client.get(f"/timers/{goes}")
        assert (answer.status_code, "cell 128-255 is away" in answer.text) == (503, True)
        assert await status_of(client, stays) == "pending"
        tell(urls[1], OPEN)
        await all_there(replica)
        await wait_fired(client, goes)
        assert await status_of(client, later) == "pending"
        assert (await client.get("/timers")).json()["data"]["total"] == 4
        answer = await client.get(f"/timers/by-key/{name_of(1)}")
        assert answer.json()["data"]["id"] == goes
        assert (await client.post("/projects", json={"name": "shop"})).status_code == 201
    async with service(*both(urls)) as (replica, client):
        await all_there(replica)
        assert await status_of(client, later) == "pending"
