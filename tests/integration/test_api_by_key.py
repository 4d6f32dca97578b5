"""Timers by the names that their consumers give them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.api_under_test import WANTED, ApiUnderTest, running_api
from timer_trio.testing import start_timer_service

PATH = "/timers/by-key/cart"


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def post(api: ApiUnderTest, **fields: Any) -> httpx.Response:
    return await api.client.post("/timers", json={**WANTED, "key": "cart", **fields})


def data(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


async def test_a_named_timer_has_its_key_and_is_found_by_it(api: ApiUnderTest) -> None:
    answer = await post(api)
    timer = data(answer, 201)
    assert answer.headers["Location"] == f"/timers/{timer['id']}"
    whole = await api.client.get(PATH)
    assert data(whole, 200)["key"] == "cart"
    assert whole.content == (await api.client.get(f"/timers/{timer['id']}")).content


async def test_a_second_one_is_rejected_unless_it_says_otherwise(api: ApiUnderTest) -> None:
    first = data(await post(api), 201)
    for more in ({}, {"on_conflict": "reject"}):
        answer = await post(api, **more)
        assert data(answer, 409) == {"id": first["id"]}
        assert answer.json()["code"] == 5
        assert answer.json()["message"] == "a timer with this key is there already, and pending"
    kept = await post(api, on_conflict="keep", delay=7)
    assert data(kept, 200) == first
    replaced = data(await post(api, on_conflict="replace", delay=7, metadata={"a": 1}), 200)
    assert replaced["id"] == first["id"]
    assert replaced["execute_at"] < first["execute_at"]
    whole = data(await api.client.get(PATH), 200)
    assert (whole["metadata"], whole["execute_at"]) == ({"a": 1}, replaced["execute_at"])
    assert data(await api.client.get("/timers"), 200)["total"] == 1


async def test_a_replacement_leaves_nothing_of_the_old_one(api: ApiUnderTest) -> None:
    await post(api, metadata={"a": 1}, callback_payload=1, callback_headers={"A": "b"})
    data(await api.client.put(PATH, json=WANTED), 200)
    whole = data(await api.client.get(PATH), 200)
    assert (whole["metadata"], whole["callback_payload"]) == (None, None)
    assert whole["callback_headers"] == {}


async def test_put_creates_and_then_replaces(api: ApiUnderTest) -> None:
    first = data(await api.client.put(PATH, json=WANTED), 201)
    assert data(await api.client.put(PATH, json={**WANTED, "delay": 90}), 200)["id"] == first["id"]
    data(await api.client.delete(PATH), 200)
    second = data(await api.client.put(PATH, json=WANTED), 201)
    assert second["id"] != first["id"]


async def test_delete_cancels_the_live_one_and_get_finds_the_last(api: ApiUnderTest) -> None:
    assert (await api.client.delete(PATH)).status_code == 404
    first = data(await post(api), 201)
    canceled = data(await api.client.delete(PATH), 200)
    assert canceled == {"id": first["id"], "status": "canceled"}
    again = await api.client.delete(PATH)
    assert (again.status_code, again.json()["code"]) == (404, 3)
    assert again.json()["message"] == "no timer has this key"
    assert data(await api.client.get(PATH), 200)["status"] == "canceled"
    second = data(await post(api), 201)
    assert data(await api.client.get(PATH), 200)["id"] == second["id"]


async def test_one_that_is_executing_is_left_alone(api: ApiUnderTest) -> None:
    first = data(await post(api), 201)
    await api.begin(first["id"])
    for answer in (
        await api.client.put(PATH, json=WANTED),
        await api.client.delete(PATH),
        await post(api, on_conflict="replace"),
        await post(api),
    ):
        assert data(answer, 409) == {"id": first["id"]}
        assert answer.json()["code"] == 5
        assert "executing" in answer.json()["message"]
    assert data(await post(api, on_conflict="keep"), 200)["id"] == first["id"]


@pytest.mark.parametrize(
    "key", ["a/b", "/", "a//b/", "ü 🎈", "%2F", "?#&", "batch", "x" * 255, ".."]
)
async def test_any_text_is_a_key(api: ApiUnderTest, key: str) -> None:
    timer = data(await post(api, key=key), 201)
    path = f"/timers/by-key/{quote(key, safe='').replace('.', '%2E')}"
    assert data(await api.client.get(path), 200)["id"] == timer["id"]
    assert data(await api.client.delete(path), 200)["id"] == timer["id"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"key": ""}, "key: must not be empty"),
        ({"key": "x" * 256}, "key: must be at most 255 characters"),
        ({"key": 1}, "key: must be a string"),
        ({"key": None}, "key: must be a string"),
        ({"key": "a\0"}, "key: holds a NUL character"),
        ({"on_conflict": "merge"}, "on_conflict: must be 'reject', 'keep' or 'replace'"),
    ],
)
async def test_a_bad_key_is_refused_in_words(
    api: ApiUnderTest, fields: dict[str, Any], words: str
) -> None:
    answer = await post(api, **fields)
    assert (answer.status_code, answer.json()["message"]) == (400, words)


async def test_names_are_for_new_timers_alone(api: ApiUnderTest) -> None:
    wanted = {**WANTED, "on_conflict": "keep"}
    answer = await api.client.post("/timers", json=wanted)
    assert answer.json()["message"].startswith("on_conflict: needs a key")
    wanted = {**WANTED, "key": "cart"}
    timer = await api.create()
    update = await api.client.put(f"/timers/{timer['id']}", json={"key": "cart"})
    assert update.json()["message"] == ("key: is for new timers: POST /timers, batches and imports")
    headers = {"Idempotency-Key": "k"}
    both = await api.client.post("/timers", json=wanted, headers=headers)
    assert both.json()["message"].startswith("key: cannot stand beside an Idempotency-Key")
    assert (await api.client.put(PATH, json=wanted)).status_code == 400
    assert (await api.client.get(f"/timers/by-key/{'x' * 256}")).status_code == 400
    assert (await api.client.get("/timers/by-key/%00")).status_code == 400


@pytest.mark.parametrize("path", ["%FF", "a%C3", "%ED%A0%80"])
async def test_what_is_not_utf_8_is_no_name(api: ApiUnderTest, path: str) -> None:
    # All that cannot be read would be one name.
    for method, body in (("GET", None), ("PUT", WANTED), ("DELETE", None)):
        answer = await api.client.request(method, f"/timers/by-key/{path}", json=body)
        words = "key: is not UTF-8, percent-encoded"
        assert (answer.status_code, answer.json()["message"]) == (400, words)
    mark = await api.client.put("/timers/by-key/%EF%BF%BD", json=WANTED)
    assert mark.status_code == 201


async def test_what_is_moved_ahead_again_and_again_fires_once_at_the_end(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0
    service = await start_timer_service(nursery)
    body = {"delay": 1, "callback_url": "https://shop.example/idle"}
    statuses = []
    for _ in range(200):
        statuses.append((await service.client.put(PATH, json=body)).status_code)
        await trio.sleep(0.1)
    last_s = trio.current_time() - 0.1
    await service.wait_callbacks(1)
    assert trio.current_time() == pytest.approx(last_s + 1, abs=0.01)
    await trio.sleep(60)
    assert len(service.callbacks) == 1
    assert statuses == [201] + [200] * 199
    assert (await service.client.put(PATH, json=body)).status_code == 201


async def test_many_at_once_make_one(api: ApiUnderTest) -> None:
    statuses = []

    async def put() -> None:
        statuses.append((await api.client.put(PATH, json=WANTED)).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(put)
    assert sorted(statuses) == [200] * 29 + [201]
    assert data(await api.client.get("/timers"), 200)["total"] == 1
