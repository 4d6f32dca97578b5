# ruff: noqa: ARG001 - pytest-trio finds the clock of a test among its arguments
from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.api_under_test import (
    API_KEY,
    MAX_BODY_BYTES,
    WANTED,
    ApiUnderTest,
    besides_requests,
    running_api,
    served_api,
)
from tests.bad_inputs import BAD_INPUTS
from timer_trio.api.routes.batch import MAX_BATCH_BYTES, MAX_TIMERS
from timer_trio.domain.errors import RowRefusedError, StorageUnavailableError
from timer_trio.intake.intake import CREATE_DEADLINE_S

JSON = {"Content-Type": "application/json"}
GOOD = json.dumps(WANTED).encode()


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def total(api: ApiUnderTest) -> int:
    return int((await api.client.get("/timers?limit=1")).json()["data"]["total"])


def failing(error: Exception) -> Callable[..., object]:
    async def fail(*_: object) -> None:
        raise error

    return fail


async def test_batch_creates_all_and_answers_in_order(api: ApiUnderTest) -> None:
    wanted = [{**WANTED, "delay": n, "callback_payload": n} for n in range(MAX_TIMERS)]
    answer = await api.client.post("/timers/batch", json={"timers": wanted})
    assert answer.status_code == 201
    timers = answer.json()["data"]["timers"]
    assert len({timer["id"] for timer in timers}) == MAX_TIMERS
    for place in (0, 1, 500, 999):
        timer = await api.get(timers[place]["id"])
        assert timer["callback_payload"] == place
        assert timers[place] == {name: timer[name] for name in timers[place]}
    assert await total(api) == MAX_TIMERS


async def test_payload_of_a_batch_is_kept_as_it_arrived(api: ApiUnderTest) -> None:
    payload = '{ "b" : 1, "b": 2, "a" :\n[ 1e2, 12345678901234567890123 ], "ü": "\\u0000}]" }'
    member = f'"callback_payload":{payload}, "delay": 1, "callback_url": "https://example.com/"'
    raw = f' {{ "timers" : [ {{{member}}} , {{{member}}}\n] }} '
    answer = await api.client.post("/timers/batch", content=raw.encode(), headers=JSON)
    assert answer.status_code == 201, answer.text
    for timer in answer.json()["data"]["timers"]:
        whole = await api.client.get(f"/timers/{timer['id']}")
        assert f'"callback_payload": {payload}' in whole.text


async def test_one_bad_timer_keeps_all_out_and_is_named(api: ApiUnderTest) -> None:
    wanted: list[Any] = [WANTED] * 20
    wanted[17] = {**WANTED, "callback_url": "example.com"}
    wanted[19] = {"exectue_at": 1}
    answer = await api.client.post("/timers/batch", json={"timers": wanted})
    assert (answer.status_code, answer.json()["code"]) == (400, 2)
    assert answer.json()["message"].startswith("timers[17].callback_url: must begin with")
    fields = [error["field"] for error in answer.json()["data"]["errors"]]
    assert fields[:2] == ["timers[17].callback_url", "timers[19].exectue_at"]
    assert await total(api) == 0


async def test_a_batch_of_mistakes_names_no_more_than_a_hundred(api: ApiUnderTest) -> None:
    answer = await api.client.post("/timers/batch", json={"timers": [{}] * MAX_TIMERS})
    assert len(answer.json()["data"]["errors"]) == 100


WRONG = [
    (b"", "empty"),
    (b" \n", "empty"),
    (b"[]", "JSON object"),
    (b"{}", "timers: is required"),
    (b'{"timers"', "not valid JSON"),
    (b'{"timers":', "timers: must be an array"),
    (b'{"timers": {}}', "timers: must be an array"),
    (b'{"timers": []}', "timers: must hold at least one timer"),
    (b'{"timers": [' + GOOD, "not valid JSON"),
    (b'{"timers": [' + GOOD + b"]", "not valid JSON"),
    (b'{"timers": [' + GOOD + b"]} x", "not valid JSON"),
    (b'{"timers": [' + GOOD + b",]}", "timers[1]: must be a JSON object"),
    (b'{"timers": [' + GOOD + b" " + GOOD + b"]}", "not valid JSON"),
    (b'{"timers": [1]}', "timers[0]: must be a JSON object"),
    (b'{"timers": [' + GOOD + b', "x"]}', "timers[1]: must be a JSON object"),
    (b'{"timers": [' + GOOD + b", {]}]}", "timers[1]: the object is not valid JSON"),
    (b'{"timers": [' + GOOD + b'], "timers": []}', "timers: appears twice"),
    (b'{"timers": [' + GOOD + b'], "t\\u0069mers": []}', "timers: appears twice"),
    (b'{"timers": [' + GOOD + b'], "atomic": true}', "atomic: cannot stand here"),
    ('{"tïmers": []}'.encode(), "tïmers: cannot stand here"),
    (b'\xef\xbb\xbf{"timers": [' + GOOD + b"]}", "byte order mark"),
    (b'{"timers": [' + b",".join([GOOD] * (MAX_TIMERS + 1)) + b"]}", "timers: must be at most"),
]


@pytest.mark.parametrize(("raw", "words"), WRONG, ids=[words for _, words in WRONG])
async def test_a_malformed_batch_is_refused_in_words(
    api: ApiUnderTest, raw: bytes, words: str
) -> None:
    answer = await api.client.post("/timers/batch", content=raw, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, 2)
    assert words in answer.json()["message"]
    assert await total(api) == 0


async def test_every_bad_timer_is_as_bad_in_a_batch(api: ApiUnderTest) -> None:
    accepted = []
    alone = [b for b in BAD_INPUTS if (b.method, b.path, b.status) == ("POST", "/timers", 400)]
    with capture_logs() as logs:
        for bad in alone:
            raw = b'{"timers": [' + GOOD + b"," + bad.body + b"]}"
            answer = await api.client.post("/timers/batch", content=raw, headers=JSON)
            if answer.status_code != 400:
                accepted.append((bad.claim, answer.text[:200]))
    assert len(alone) > 200
    assert not accepted
    assert not besides_requests(logs)
    assert await total(api) == 0


async def test_a_timer_in_a_batch_may_be_as_great_as_alone(api: ApiUnderTest) -> None:
    rest = len(json.dumps({**WANTED, "callback_payload": ""}))
    greatest = {**WANTED, "callback_payload": "x" * (MAX_BODY_BYTES - rest)}
    answer = await api.client.post("/timers/batch", json={"timers": [greatest] * 3})
    assert answer.status_code in {201, 400}
    raw = b'{"timers": [' + b", ".join([json.dumps(greatest).encode()] * 3) + b"]}"
    answer = await api.client.post("/timers/batch", content=raw, headers=JSON)
    assert answer.status_code == 201, answer.text[:200]
    raw = raw.replace(b'xxx"}]}', b'xxxx"}]}')
    answer = await api.client.post("/timers/batch", content=raw, headers=JSON)
    assert answer.status_code == 400
    assert "timers[2]: is too large" in answer.json()["message"]


async def test_a_batch_has_a_limit_of_its_own() -> None:
    async with served_api() as (_, url), httpx.AsyncClient() as client:
        for size, status in ((MAX_BATCH_BYTES, 400), (MAX_BATCH_BYTES + 1, 413)):
            answer = await client.post(
                f"{url}/timers/batch",
                content=b" " * size,
                headers={"X-API-Key": API_KEY, **JSON},
            )
            assert answer.status_code == status
        assert f"{MAX_BATCH_BYTES:,}" in answer.json()["message"]


async def test_batch_that_the_database_refuses_is_told_in_words(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.storage, "create_many", failing(RowRefusedError("secret")))
    answer = await api.client.post("/timers/batch", json={"timers": [WANTED]})
    assert (answer.status_code, answer.json()["code"]) == (400, 2)
    assert "none was created" in answer.json()["message"]
    assert "secret" not in answer.text


async def test_a_lost_reply_is_asked_for_again_with_the_same_ids(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    create_many = api.storage.create_many
    asked = []

    async def lose_reply(timers: Any, now: Any) -> None:
        await create_many(timers, now)
        asked.append([str(timer.id) for timer in timers])
        if len(asked) < 3:
            raise StorageUnavailableError("the reply was lost")

    monkeypatch.setattr(api.storage, "create_many", lose_reply)
    answer = await api.client.post("/timers/batch", json={"timers": [WANTED] * 2})
    assert answer.status_code == 201
    ids = [timer["id"] for timer in answer.json()["data"]["timers"]]
    assert asked == [ids] * 3
    assert await total(api) == 2


async def test_a_batch_of_unknown_outcome_names_its_ids(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    asked = []

    async def away(timers: Any, _now: Any) -> None:
        asked.append([str(timer.id) for timer in timers])
        raise StorageUnavailableError("away")

    monkeypatch.setattr(api.storage, "create_many", away)
    began = trio.current_time()
    answer = await api.client.post("/timers/batch", json={"timers": [WANTED] * 2})
    assert trio.current_time() - began == pytest.approx(CREATE_DEADLINE_S, abs=0.5)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["data"] == {"ids": asked[0]}
