"""How many live timers a project may have: what its consumers are answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.api_under_test import SCHEDULE, START, WANTED, ApiUnderTest, running_api
from tests.replicas import api_client, replica_on, running
from timer_trio.clock import Clock
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.timer import Status
from timer_trio.storage.memory import MemoryStorage
from timer_trio.transport import Answer, Permit, Request

MOST: Final = 3
NDJSON: Final = {"Content-Type": "application/x-ndjson"}
LINE: Final = json.dumps(WANTED)


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as served:
        await limit(served, MOST)
        yield served


async def limit(api: ApiUnderTest, most: int | None, project: str = "default") -> None:
    answer = await api.client.put(f"/projects/{project}", json={"max_live_timers": most})
    assert answer.status_code == 200, answer.text


async def ask(
    api: ApiUnderTest, method: str, path: str, body: Any = None, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.client.request(method, path, json=body, headers=named)


async def create(api: ApiUnderTest, **headers: str) -> httpx.Response:
    return await ask(api, "POST", "/timers", WANTED, **headers)


async def fill(api: ApiUnderTest) -> list[str]:
    return [(await create(api)).json()["data"]["id"] for _ in range(MOST)]


def assert_refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (403, 6), answer.text
    assert answer.json()["data"] is None
    words = "the project has 3 live timers, as many as max_live_timers allows: "
    assert answer.json()["message"].startswith(words)


async def live(api: ApiUnderTest) -> int:
    return (await api.storage.live_in(DEFAULT_PROJECT)).timers


async def test_one_more_is_refused_in_words_until_one_has_ended(api: ApiUnderTest) -> None:
    first, *_ = await fill(api)
    assert_refused(await create(api))
    assert_refused(await create(api))
    assert (await ask(api, "DELETE", f"/timers/{first}")).status_code == 200
    assert_refused(await create(api))
    api.clock.advance(1)
    assert (await create(api)).status_code == 201
    assert_refused(await create(api))
    await limit(api, None)
    assert (await create(api)).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/timers", {**WANTED, "key": "a"}),
        ("PUT", "/timers/by-key/a", WANTED),
        ("POST", "/timers/batch", {"timers": [WANTED]}),
        ("POST", "/timers/batch", {"timers": [{**WANTED, "key": "a"}]}),
    ],
)
async def test_every_way_to_create_needs_room(
    api: ApiUnderTest, method: str, path: str, body: Any
) -> None:
    await fill(api)
    assert_refused(await ask(api, method, path, body))
    api.clock.advance(1)
    assert_refused(await ask(api, method, path, body))
    assert await live(api) == MOST


async def test_batch_is_created_as_a_whole_or_not_at_all(api: ApiUnderTest) -> None:
    assert (await create(api)).status_code == 201
    for headers in ({}, {"Idempotency_Key": "k"}):
        answer = await ask(api, "POST", "/timers/batch", {"timers": [WANTED] * 3}, **headers)
        assert (answer.status_code, answer.json()["code"]) == (403, 6)
        assert "too few for 3 more" in answer.json()["message"]
    assert await live(api) == 1
    answer = await ask(api, "POST", "/timers/batch", {"timers": [WANTED] * 2})
    assert answer.status_code == 201


async def test_idempotency_key_is_answered_as_ever_and_a_refusal_not_kept(
    api: ApiUnderTest,
) -> None:
    first = await create(api, Idempotency_Key="a")
    ids = await fill_up(api)
    for _ in range(2):
        assert_refused(await create(api, Idempotency_Key="b"))
        again = await create(api, Idempotency_Key="a")
        assert (again.status_code, again.json()) == (201, first.json())
        assert again.headers["Idempotent-Replayed"] == "true"
        api.clock.advance(1)
    await ask(api, "DELETE", f"/timers/{ids[0]}")
    api.clock.advance(1)
    fresh = await create(api, Idempotency_Key="b")
    assert fresh.status_code == 201
    assert "Idempotent-Replayed" not in fresh.headers


async def fill_up(api: ApiUnderTest) -> list[str]:
    ids = []
    while (answer := await create(api)).status_code == 201:
        ids.append(answer.json()["data"]["id"])
    return ids


async def test_live_name_is_kept_and_replaced_without_room(api: ApiUnderTest) -> None:
    made = await ask(api, "POST", "/timers", {**WANTED, "key": "a"})
    await fill_up(api)
    for on_conflict in ("keep", "replace"):
        wanted = {**WANTED, "key": "a", "on_conflict": on_conflict}
        answer = await ask(api, "POST", "/timers", wanted)
        assert (answer.status_code, answer.json()["data"]["id"]) == (200, made.json()["data"]["id"])
    assert (await ask(api, "PUT", "/timers/by-key/a", WANTED)).status_code == 200


async def test_redrive_needs_room(api: ApiUnderTest) -> None:
    ids = await fill(api)
    await api.storage.cancel(api.offered[0].id, api.clock.now())
    api.clock.advance(1)
    assert (await create(api)).status_code == 201
    assert_refused(await ask(api, "POST", f"/timers/{ids[0]}/redrive"))
    assert (await api.storage.get(api.offered[0].id)).status is Status.CANCELED


async def test_bulk_redrive_ends_where_there_is_no_room(api: ApiUnderTest) -> None:
    ids = await fill(api)
    for timer_id in ids:
        await ask(api, "DELETE", f"/timers/{timer_id}")
    api.clock.advance(1)
    assert (await create(api)).status_code == 201
    bulk = {"action": "redrive", "filter": {"status": "canceled"}}
    answer = await ask(api, "POST", "/timers/bulk", bulk)
    last = json.loads(answer.text.splitlines()[-1])
    assert (last["code"], last["data"]["done"]) == (6, 0)
    assert "repeat it with the same as_of" in last["message"]
    assert await live(api) == 1
    answer = await ask(api, "POST", "/timers/bulk", {**bulk, "limit": 2})
    last = json.loads(answer.text.splitlines()[-1])
    assert (last["code"], last["data"]["done"]) == (0, 2)


async def test_import_ends_where_there_is_no_room(api: ApiUnderTest) -> None:
    async def imported(count: int) -> Any:
        content = "\n".join([LINE] * count)
        answer = await api.client.post("/timers/import", content=content, headers=NDJSON)
        return json.loads(answer.text.splitlines()[-1])

    assert (await imported(2))["code"] == 0
    last = await imported(2)
    assert (last["code"], last["data"]["imported"], last["data"]["through_line"]) == (6, 0, 0)
    assert "too few for 2 more" in last["message"]
    assert (await imported(1))["code"] == 0
    assert await live(api) == MOST


async def test_schedule_plans_without_room_and_fills_in_with_it(api: ApiUnderTest) -> None:
    await fill(api)
    body = {**SCHEDULE, "cron": "* * * * *"}
    made = await ask(api, "POST", "/schedules", body)
    assert made.status_code == 201
    planned = await live(api) - MOST
    assert planned > 1
    path = f"/schedules/{made.json()['data']['id']}"
    assert_refused(await ask(api, "POST", f"{path}/trigger"))
    past = {"from": "2029-12-31T23:00:00Z", "to": "2029-12-31T23:01:00Z"}
    assert_refused(await ask(api, "POST", f"{path}/backfill", past))
    assert await live(api) == planned + MOST
    await limit(api, MOST + 3)
    assert (await ask(api, "POST", f"{path}/trigger")).status_code == 201
    assert (await ask(api, "POST", f"{path}/backfill", past)).status_code == 201
    assert (await create(api)).status_code == 403
    # What is there already needs no room.
    assert (await ask(api, "POST", f"{path}/backfill", past)).json()["data"]["created"] == 0


async def test_other_projects_have_their_own(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    await api.create_project("other")
    await limit(api, 1, "shop")
    key = await api.create_key("write", project="shop")
    await fill(api)
    assert (await create(api, X_API_Key=key)).status_code == 201
    answer = await create(api, X_API_Key=key)
    assert (answer.status_code, answer.json()["code"]) == (403, 6)
    assert (await create(api, X_Project="other")).status_code == 201


class NoReceiver:
    def begin(self, _request: Request, _permit: Permit) -> None:
        """Have no connection ready."""

    async def send(self, request: Request, permit: Permit) -> Answer:
        raise AssertionError(request, permit)


async def test_replicas_together_have_no_more_and_older_timers_come_to_count(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    storage = MemoryStorage(lambda: START + timedelta(seconds=trio.current_time()))
    wanted = {**WANTED, "delay": "P1D"}
    replicas = [
        replica_on(storage, NoReceiver(), clock=Clock(elapsed=trio.current_time), alone=False)
        for _ in range(2)
    ]
    async with AsyncExitStack() as stack:
        clients = []
        for replica in replicas:
            await stack.enter_async_context(running(replica))
            clients.append(await stack.enter_async_context(api_client(replica)))
        for place in range(10):
            await clients[place % 2].post("/timers", json=wanted)
        change = {"max_live_timers": 20}
        assert (await clients[0].put("/projects/default", json=change)).status_code == 200
        await trio.sleep(60)
        made = [
            (await clients[place % 2].post("/timers", json=wanted)).status_code
            for place in range(30)
        ]
    assert made == [201] * 10 + [403] * 20


async def test_what_there_is_no_room_for_is_not_told(api: ApiUnderTest) -> None:
    await fill(api)
    assert_refused(await create(api))
    await api.audit_log.write()
    told = (await ask(api, "GET", "/audit?action=timer.created")).json()["data"]["audit"]
    assert [entry["count"] for entry in told] == [MOST]


async def test_occurrence_beside_the_rule_counts_and_is_in_the_flow_of_its_schedule(
    api: ApiUnderTest,
) -> None:
    schedule = await api.create_schedule(flow_key="customer-17")
    path = f"/schedules/{schedule['id']}/trigger"
    for _ in range(MOST):
        made = await ask(api, "POST", path)
        assert made.status_code == 201
        timer = (await ask(api, "GET", f"/timers/{made.json()['data']['id']}")).json()["data"]
        assert timer["flow_key"] == "customer-17"
    assert_refused(await ask(api, "POST", path))
