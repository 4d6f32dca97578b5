"""A request that is repeated with its key makes what it asks for once, and has one answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.api_under_test import START, WANTED, ApiUnderTest, running_api
from timer_trio.domain.errors import RowRefusedError, StorageUnavailableError
from timer_trio.domain.keys import FirstAnswer, KeyedCreate

KEY = {"Idempotency-Key": "order-4711"}
BATCH = {"timers": [WANTED, {**WANTED, "delay": 61}]}


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def total(api: ApiUnderTest) -> int:
    return int((await api.client.get("/timers?limit=1")).json()["data"]["total"])


async def post(api: ApiUnderTest, path: str = "/timers", body: Any = WANTED) -> httpx.Response:
    return await api.client.post(path, json=body, headers=KEY)


def is_replay(first: httpx.Response, again: httpx.Response) -> bool:
    return (
        again.headers.get("Idempotent-Replayed") == "true"
        and again.status_code == first.status_code == 201
        and again.content == first.content
        and again.headers.get("Location") == first.headers.get("Location")
    )


@pytest.mark.parametrize(
    ("path", "body", "count"), [("/timers", WANTED, 1), ("/timers/batch", BATCH, 2)]
)
async def test_again_has_the_answer_of_the_first(
    api: ApiUnderTest, path: str, body: Any, count: int
) -> None:
    first = await post(api, path, body)
    assert first.status_code == 201
    assert "Idempotent-Replayed" not in first.headers
    api.clock.advance(3600)
    assert is_replay(first, await post(api, path, body))
    assert await total(api) == count
    plain = await api.client.post(path, json=body)
    assert plain.json()["data"] != first.json()["data"]
    assert await total(api) == 2 * count


async def test_the_first_answer_is_that_of_a_create_without_a_key(api: ApiUnderTest) -> None:
    keyed, plain = await post(api), await api.client.post("/timers", json=WANTED)
    mine, other = keyed.json()["data"], plain.json()["data"]
    assert keyed.headers["Location"] == f"/timers/{mine['id']}"
    assert {**mine, "id": ""} == {**other, "id": ""}
    assert (await api.get(mine["id"]))["callback_url"] == WANTED["callback_url"]


async def test_a_body_that_says_the_same_is_the_same(api: ApiUnderTest) -> None:
    wanted = {**WANTED, "callback_payload": {"a": [1, "ü"], "b": None}}
    first = await post(api, body=wanted)
    raw = '{"callback_payload": {"b": null, "a": [1,  "\\u00fc"]}, "delay": 60,\n'
    raw += f' "callback_url": "{WANTED["callback_url"]}"}}'
    again = await api.client.post(
        "/timers", content=raw, headers={**KEY, "Content-Type": "application/json"}
    )
    assert is_replay(first, again)


@pytest.mark.parametrize(
    "body",
    [
        {**WANTED, "delay": 61},
        {**WANTED, "delay": "PT1M"},
        {**WANTED, "callback_payload": None},
        {**WANTED, "metadata": {}},
    ],
)
async def test_another_body_is_a_conflict_in_words(api: ApiUnderTest, body: Any) -> None:
    await post(api)
    answer = await post(api, body=body)
    assert (answer.status_code, answer.json()["code"]) == (409, 5)
    assert answer.json()["message"].startswith("this Idempotency-Key came with another body")
    assert answer.json()["data"] is None
    assert await total(api) == 1


async def test_another_route_is_a_conflict(api: ApiUnderTest) -> None:
    await post(api)
    assert (await post(api, "/timers/batch", {"timers": [WANTED]})).status_code == 409
    assert await total(api) == 1


async def test_a_batch_with_one_timer_more_or_fewer_is_another(api: ApiUnderTest) -> None:
    await post(api, "/timers/batch", BATCH)
    for timers in (BATCH["timers"][:1], [*BATCH["timers"], WANTED], BATCH["timers"][::-1]):
        assert (await post(api, "/timers/batch", {"timers": timers})).status_code == 409
    assert await total(api) == 2


async def test_a_day_later_the_key_is_free(api: ApiUnderTest) -> None:
    first = await post(api)
    api.clock.advance(24 * 3600 - 1)
    assert is_replay(first, await post(api))
    api.clock.advance(1)
    later = await post(api, body={**WANTED, "delay": 61})
    assert later.status_code == 201
    assert "Idempotent-Replayed" not in later.headers
    assert await total(api) == 2


@pytest.mark.parametrize("route", ["/timers", "/timers/batch"])
async def test_what_was_refused_does_not_use_the_key_up(api: ApiUnderTest, route: str) -> None:
    bad: Any = {**WANTED, "callback_url": "example.com"}
    good: Any = WANTED
    if route != "/timers":
        bad, good = {"timers": [good, bad]}, {"timers": [good]}
    for _ in range(2):
        assert (await post(api, route, bad)).status_code == 400
    assert (await post(api, route, good)).status_code == 201


async def test_what_the_database_refuses_does_not_use_the_key_up(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise RowRefusedError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(api.storage, "create_keyed", refuse)
        for path, body in (("/timers", WANTED), ("/timers/batch", BATCH)):
            answer = await post(api, path, body)
            assert (answer.status_code, answer.json()["code"]) == (400, 2)
            assert "secret" not in answer.text
    assert (await post(api)).status_code == 201


def at(seconds: float) -> dict[str, object]:
    instant = (START + timedelta(seconds=seconds)).isoformat()
    return {"execute_at": instant, "callback_url": WANTED["callback_url"]}


@pytest.mark.parametrize(
    ("path", "body", "other"),
    [
        ("/timers", at(5), at(6)),
        ("/timers/batch", {"timers": [at(n) for n in range(200)]}, {"timers": [at(5)]}),
    ],
)
async def test_a_time_that_has_gone_by_meanwhile_is_answered_as_at_first(
    api: ApiUnderTest, path: str, body: Any, other: Any
) -> None:
    first = await post(api, path, body)
    api.clock.advance(600)
    assert is_replay(first, await post(api, path, body))
    late = await post(api, path, other)
    assert (late.status_code, late.json()["code"]) == (400, 2)


async def test_a_batch_that_breaks_off_is_no_repetition(api: ApiUnderTest) -> None:
    first = await post(api, "/timers/batch", {"timers": [at(5)]})
    assert first.status_code == 201
    api.clock.advance(600)
    one = json.dumps(at(5))
    for rest in (', {"a" 1}]}', "", ", 1]}", "]} x"):
        raw = f'{{"timers": [{one}{rest}'
        headers = {**KEY, "Content-Type": "application/json"}
        answer = await api.client.post("/timers/batch", content=raw, headers=headers)
        assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256, "\x7f", "a\tb"])
async def test_a_bad_key_is_refused_by_its_name(api: ApiUnderTest, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    for path, body in (("/timers", WANTED), ("/timers/batch", BATCH)):
        answer = await api.client.post(path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, 2)
        words = "Idempotency-Key: must be 1 to 255 visible ASCII characters"
        assert answer.json()["message"] == words
    assert await total(api) == 0


async def test_two_keys_are_refused(api: ApiUnderTest) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await api.client.post("/timers", json=WANTED, headers=headers)
    assert answer.json()["message"] == "Idempotency-Key: appears twice"


async def test_the_longest_key_is_one(api: ApiUnderTest) -> None:
    headers = {"Idempotency-Key": "!~" * 127 + "%"}
    first = await api.client.post("/timers", json=WANTED, headers=headers)
    assert is_replay(first, await api.client.post("/timers", json=WANTED, headers=headers))


async def test_many_at_once_have_one_answer(api: ApiUnderTest) -> None:
    answers: list[httpx.Response] = []

    async def ask(number: int) -> None:
        body = WANTED if number % 5 else {**WANTED, "delay": 61}
        answers.append(await post(api, body=body))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, number)
    made = [answer for answer in answers if answer.status_code == 201]
    refused = [answer for answer in answers if answer.status_code == 409]
    assert {len(made), len(refused)} == {10, 40}
    assert len({answer.content for answer in made}) == 1
    assert len([a for a in made if "Idempotent-Replayed" not in a.headers]) == 1
    assert await total(api) == 1


@pytest.mark.parametrize(("path", "body"), [("/timers", WANTED), ("/timers/batch", BATCH)])
async def test_after_an_unknown_outcome_the_same_request_has_the_one_timer(
    api: ApiUnderTest,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    path: str,
    body: Any,
) -> None:
    assert autojump_clock.autojump_threshold == 0
    create_keyed = api.storage.create_keyed
    stood: list[FirstAnswer] = []

    async def lose_reply(creates: Sequence[KeyedCreate], now: datetime) -> None:
        stood.extend(await create_keyed(creates, now))
        raise StorageUnavailableError("the reply was lost")

    with monkeypatch.context() as patch:
        patch.setattr(api.storage, "create_keyed", lose_reply)
        lost = await post(api, path, body)
        assert (lost.status_code, lost.json()["code"], lost.json()["data"]) == (503, 1, None)
        assert lost.headers["Retry-After"] == "1"
        assert "send it again with the same key" in lost.json()["message"]
    again = await post(api, path, body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert json.loads(stood[0].data) == again.json()["data"]
    assert await total(api) == len(stood[0].timer_ids)


async def test_a_plain_create_never_waits_for_a_key(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = trio.Event()

    async def hang(*_: object) -> None:
        asked.set()
        await trio.sleep_forever()

    monkeypatch.setattr(api.storage, "create_keyed", hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(post, api)
        await asked.wait()
        assert (await api.client.post("/timers", json=WANTED)).status_code == 201
        nursery.cancel_scope.cancel()
