"""One process over two cells, each a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from tests.acceptance.conftest import as_url
from tests.command import run_command
from tests.replicas import API_KEY, api_client, running
from timer_trio.config import CellUrl, Settings, StartRefusedError
from timer_trio.domain.cells import Cell, CellMap
from timer_trio.domain.keys import key_shard
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.run.open_files import Shares
from timer_trio.run.process import replica_on
from timer_trio.run.replica import Replica

HALVES: Final = (Cell(0, 127), Cell(128, 255))
MAP: Final = CellMap(HALVES)
PATIENCE_S: Final = 20
SHARES: Final = Shares(clients=16, callbacks=64, idle=16)
TIMER: Final = {"delay": 0, "callback_url": "http://callbacks.invalid/"}
LATER: Final = {"delay": 3600, "callback_url": "http://callbacks.invalid/"}

Urls = tuple[str, str]


@pytest.fixture
def urls(clean_database_url: str, second_clean_database_url: str) -> Urls:
    return clean_database_url, second_clean_database_url


@asynccontextmanager
async def service(*databases: tuple[Cell, str]) -> AsyncIterator[tuple[Replica, httpx.AsyncClient]]:
    """Run a replica over these cells, and yield it with a client of its API."""
    cells = [CellUrl(cell, SecretStr(url)) for cell, url in databases]
    async with (
        replica_on(cells, Settings(), shares=SHARES, alone=False) as replica,
        running(replica),
        api_client(replica) as client,
    ):
        yield replica, client


def both(urls: Urls) -> list[tuple[Cell, str]]:
    return [*zip(HALVES, urls, strict=True)]


@contextmanager
def refused(words: str) -> Iterator[None]:
    """Expect that a process does not start, and says why."""
    with pytest.raises(BaseExceptionGroup) as caught:
        yield
    told, rest = caught.value.split(StartRefusedError)
    assert rest is None
    assert words in repr(told)


async def all_there(replica: Replica) -> None:
    with trio.fail_after(PATIENCE_S):
        while not all(cell.is_connected for cell in replica.cells):  # noqa: ASYNC110 - a probe
            await trio.sleep(0.01)


@contextmanager
def away(url: str, postgres_url: str) -> Iterator[None]:
    """Let nobody into a database for the length of the block, and throw out who is in it."""
    name = str(conninfo_to_dict(url)["dbname"])
    allow = SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(allow.format(Identifier(name), SQL("false")))
        try:
            owner.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
                [name],
            )
            yield
        finally:
            owner.execute(allow.format(Identifier(name), SQL("true")))


async def created(client: httpx.AsyncClient, timer: dict[str, Any], **more: Any) -> httpx.Response:
    return await client.post("/timers", json=timer | more)


def cell_of(timer_id: str) -> int:
    return int(timer_id[-2:], 16) >> 7


def name_of(cell: int) -> str:
    names = (f"name-{number}" for number in range(1_000))
    return next(name for name in names if MAP.of_shard(key_shard(DEFAULT_PROJECT, name)) == cell)


async def test_timers_of_both_cells_are_fired_and_listed_as_one(urls: Urls) -> None:
    async with service(*both(urls)) as (replica, client):
        await all_there(replica)
        ids = [(await created(client, TIMER)).json()["data"]["id"] for _ in range(30)]
        with trio.fail_after(PATIENCE_S):
            listed: dict[str, Any] = {}
            while listed.get("total") != len(ids):
                listed = (await client.get("/timers?status=failed&limit=7")).json()["data"]
        seen = [timer["id"] for timer in listed["timers"]]
        while cursor := listed["next_cursor"]:
            listed = (await client.get(f"/timers?status=failed&limit=7&cursor={cursor}")).json()[
                "data"
            ]
            seen += [timer["id"] for timer in listed["timers"]]
    assert {cell_of(timer_id) for timer_id in ids} == {0, 1}
    assert seen == [*reversed(ids)]
    for number, url in enumerate(urls):
        with psycopg.connect(url) as sql:
            kept = {str(row[0]) for row in sql.execute("SELECT id FROM timers").fetchall()}
        assert kept == {timer_id for timer_id in ids if cell_of(timer_id) == number}


async def test_cell_that_is_away_costs_its_own_timers_alone(urls: Urls, postgres_url: str) -> None:
    async with service(*both(urls)) as (replica, client):
        await all_there(replica)
        names = [name_of(0), name_of(1)]
        here, there = [
            (await created(client, LATER, key=name)).json()["data"]["id"] for name in names
        ]
        with away(urls[1], postgres_url):
            with trio.fail_after(PATIENCE_S):
                while replica.cells[1].is_connected:  # noqa: ASYNC110 - a probe
                    await trio.sleep(0.01)
            health = (await client.get("/health")).json()["data"]
            assert (health["status"], replica.ready) == ("up", True)
            assert [cell["database"] for cell in health["cells"]] == ["connected", "disconnected"]
            assert "cell 128-255 is away" in health["warnings"]
            for _ in range(10):
                answer = await created(client, LATER)
                assert (answer.status_code, cell_of(answer.json()["data"]["id"])) == (201, 0)
            assert (await client.get(f"/timers/{here}")).status_code == 200
            answer = await client.get(f"/timers/{there}")
            assert answer.status_code == 503
            assert "cell 128-255 is away" in answer.json()["message"]
            assert (await client.get("/timers")).status_code == 503
            assert (await client.post("/projects", json={"name": "shop"})).status_code == 503
        await all_there(replica)
        assert (await client.get(f"/timers/{there}")).status_code == 200
        assert (await client.get("/timers")).json()["data"]["total"] == 12
        assert (await client.post("/projects", json={"name": "shop"})).status_code == 201


async def test_what_is_written_together_must_be_of_one_cell(urls: Urls) -> None:
    async with service(*both(urls)) as (replica, client):
        await all_there(replica)
        answer = await created(client, LATER, key=name_of(0), flow_key=name_of(1))
        assert answer.status_code == 400
        assert "must be of one cell" in answer.json()["message"]
        batch = [LATER | {"key": name_of(0)}, LATER | {"key": name_of(1)}]
        assert (await client.post("/timers/batch", json={"timers": batch})).status_code == 400
        batch = [LATER, LATER | {"key": name_of(1)}, LATER]
        answer = await client.post("/timers/batch", json={"timers": batch})
        ids = [timer["id"] for timer in answer.json()["data"]["timers"]]
        assert [cell_of(timer_id) for timer_id in ids] == [1, 1, 1]
        headers = {"Idempotency-Key": name_of(1)}
        first = await client.post("/timers", json=LATER, headers=headers)
        again = await client.post("/timers", json=LATER, headers=headers)
        assert first.json() == again.json()
        assert cell_of(first.json()["data"]["id"]) == 1


async def test_each_process_is_a_replica_in_each_cell(urls: Urls) -> None:
    async with service(*both(urls)) as (replica, client):
        await all_there(replica)
        replicas = (await client.get("/replicas")).json()["data"]["replicas"]
    told = [(each["cell"], each["shards"], each["is_this_one"]) for each in replicas]
    assert sorted(told) == [("0-127", 128, True), ("128-255", 128, True)]


async def test_key_made_before_there_was_a_second_cell_opens_it_as_well(urls: Urls) -> None:
    async with service(*both(urls)) as (replica, client):
        await all_there(replica)
        made = await client.post("/keys", json={"name": "shop", "scopes": ["read"]})
        key = {"X-API-Key": made.json()["data"]["key"]}
        assert (await client.get("/schedules", headers=key)).status_code == 200
    for url in urls:
        with psycopg.connect(url) as sql:
            assert sql.execute("SELECT count(*) FROM api_keys").fetchone() == (1,)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([1, 0], "two URLs are exchanged"),
        ([0, None], "the same CELLS"),
    ],
)
async def test_process_with_another_map_refuses_to_start(
    urls: Urls, cells: list[int | None], words: str
) -> None:
    async with service(*both(urls)) as (replica, _):
        await all_there(replica)
    if cells == [1, 0]:
        databases = [*zip(HALVES, reversed(urls), strict=True)]
    else:
        databases = [(Cell(0, 255), urls[0])]
    with refused(words):
        async with service(*databases):
            pass


async def test_database_that_has_timers_of_other_shards_is_no_new_cell(urls: Urls) -> None:
    async with service((Cell(0, 255), urls[1])) as (_, client):
        await created(client, LATER, key=name_of(0))
    with refused("timers of other shards than 128-255"):
        async with service(*both(urls)):
            await trio.sleep_forever()


def test_commands_tell_of_cells_and_take_one(urls: Urls, tmp_path: Path) -> None:
    async def start() -> None:
        async with service(*both(urls)) as (replica, _):
            await all_there(replica)

    settings = {
        "CELLS": ";".join(f"{cell}={as_url(url)}" for cell, url in both(urls)),
        "API_KEY": API_KEY,
    }
    code, out, err = run_command(tmp_path, "cells", "status", **settings)
    assert (code, out.count("start the service")) == (2, 2)
    assert "not all cells are well" in err
    trio.run(start)
    code, out, err = run_command(tmp_path, "cells", "status", **settings)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["cell", "0-127", "128-255"]
    assert out.count("well") == 2
    code, _, err = run_command(tmp_path, "db", "status", **settings)
    assert (code, "of 0-127, 128-255" in err) == (2, True)
    code, out, _ = run_command(tmp_path, "db", "--cell", "128-255", "status", **settings)
    assert (code, "cell_map" in out) == (0, True)
