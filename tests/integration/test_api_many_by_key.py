"""Batches and imports of timers that have names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api_under_test import WANTED, ApiUnderTest, running_api
from timer_trio.api.import_run import CHUNK_LINES

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


def named(key: str, **fields: Any) -> dict[str, Any]:
    return {**WANTED, "key": key, **fields}


async def post(api: ApiUnderTest, *timers: Any, **headers: str) -> httpx.Response:
    return await api.client.post("/timers/batch", json={"timers": timers}, headers=headers)


async def import_timers(api: ApiUnderTest, *timers: Any) -> dict[str, Any]:
    content = b"\n".join(json.dumps(timer).encode() for timer in timers)
    answer = await api.client.post("/timers/import", content=content, headers=NDJSON)
    end = json.loads(answer.text.splitlines()[-1])
    assert end["code"] == 0
    found: dict[str, Any] = end["data"]
    return found


async def holder(api: ApiUnderTest, key: str) -> str | None:
    answer = await api.client.get(f"/timers/by-key/{key}")
    return answer.json()["data"]["id"] if answer.status_code == 200 else None


async def total(api: ApiUnderTest) -> int:
    return int((await api.client.get("/timers?limit=1")).json()["data"]["total"])


async def test_timers_of_a_batch_are_found_by_their_names(api: ApiUnderTest) -> None:
    answer = await post(api, named("a"), WANTED, named("b", on_conflict="reject"))
    assert answer.status_code == 201, answer.text
    timers = answer.json()["data"]["timers"]
    assert [await holder(api, key) for key in "ab"] == [timers[0]["id"], timers[2]["id"]]
    assert [(await api.get(timer["id"]))["key"] for timer in timers] == ["a", None, "b"]


async def test_one_name_that_is_taken_keeps_the_batch_out_and_is_named(api: ApiUnderTest) -> None:
    first = await api.create(key="b")
    await api.create(key="c")
    answer = await post(api, WANTED, named("a"), named("b"), named("c"))
    assert (answer.status_code, answer.json()["code"]) == (409, 5)
    assert answer.json()["message"] == (
        "timers[2].key: a timer with this key is there already, and pending; none was created"
    )
    assert answer.json()["data"] == {"id": first["id"]}
    assert (await total(api), await holder(api, "a")) == (2, None)
    for key in "bc":
        await api.client.delete(f"/timers/by-key/{key}")
    assert (await post(api, named("a"), named("b"), named("c"))).status_code == 201


async def test_a_name_comes_once_in_a_batch(api: ApiUnderTest) -> None:
    answer = await post(api, named("a"), named("b"), WANTED, named("a"), named("a"))
    assert (answer.status_code, answer.json()["code"]) == (400, 2)
    words = "timers[0] has the same key"
    assert answer.json()["data"]["errors"] == [
        {"field": f"timers[{place}].key", "message": words} for place in (3, 4)
    ]
    assert await total(api) == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"key": ""}, "key: must not be empty"),
        ({"key": "x" * 256}, "key: must be at most 255 characters"),
        ({"key": None}, "key: must be a string"),
        ({"key": "a\0"}, "key: holds a NUL character"),
        ({"on_conflict": "reject"}, "on_conflict: needs a key"),
        ({"key": "a", "on_conflict": "keep"}, "on_conflict: must be reject where there are many"),
        ({"key": "a", "on_conflict": "replace"}, "on_conflict: must be reject where there are"),
        ({"key": "a", "on_conflict": None}, "on_conflict: must be reject where there are many"),
        ({"key": "a", "on_conflict": []}, "on_conflict: must be reject where there are many"),
    ],
)
async def test_what_is_wrong_with_a_name_is_told_in_words(
    api: ApiUnderTest, fields: dict[str, Any], words: str
) -> None:
    answer = await post(api, WANTED, {**WANTED, **fields})
    assert (answer.status_code, answer.json()["code"]) == (400, 2)
    assert answer.json()["message"].startswith(f"timers[1].{words}")
    found = await import_timers(api, WANTED, {**WANTED, **fields})
    (error,) = found["errors"]
    assert (error["line"], found["imported"]) == (2, 1)
    assert f"{error['field']}: {error['message']}".startswith(words)


async def test_names_cannot_stand_beside_an_idempotency_key(api: ApiUnderTest) -> None:
    for _ in range(2):
        answer = await post(api, WANTED, named("a"), **{"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["code"]) == (400, 2)
        assert answer.json()["message"].startswith(
            "timers[1].key: cannot stand beside an Idempotency-Key"
        )
    assert await total(api) == 0
    assert (await post(api, WANTED, **{"Idempotency-Key": "k"})).status_code == 201


async def test_lines_whose_names_are_taken_are_refused_alone(api: ApiUnderTest) -> None:
    first = await api.create(key="a")
    await api.create(key="ended")
    await api.client.delete("/timers/by-key/ended")
    found = await import_timers(
        api, WANTED, named("a"), named("b"), named("b"), named("ended"), {"delay": 1}
    )
    assert (found["lines"], found["imported"], found["refused"]) == (6, 3, 3)
    assert found["errors"] == [
        {
            "line": 2,
            "field": "key",
            "message": f"a timer with this key is there already, and pending: {first['id']}",
        },
        {"line": 4, "field": "key", "message": "line 3 has the same key"},
        {"line": 6, "field": "callback_url", "message": "is required"},
    ]
    assert await holder(api, "a") == first["id"]
    assert None not in {await holder(api, key) for key in ("b", "ended")}
    assert await total(api) == 5


async def test_a_name_is_taken_by_a_line_of_an_earlier_transaction(api: ApiUnderTest) -> None:
    found = await import_timers(api, named("a"), *[WANTED] * (CHUNK_LINES - 1), named("a"))
    assert (found["imported"], found["refused"]) == (CHUNK_LINES, 1)
    (error,) = found["errors"]
    assert error["line"] == CHUNK_LINES + 1
    assert error["message"].endswith(str(await holder(api, "a")))
