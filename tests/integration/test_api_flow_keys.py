"""Timers and schedules that are in flows, over REST."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.api_under_test import SCHEDULE, START, WANTED, ApiUnderTest, running_api
from tests.contract.timers import ALICE
from timer_trio.domain.flow import FlowKey, flow_shard
from timer_trio.domain.membership import Identity
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.timer import TimerId, shard_of

FLOW = "customer 17/ü"
SHARD = flow_shard(DEFAULT_PROJECT, FlowKey(FLOW))
IN_FLOW = {**WANTED, "flow_key": FLOW}
NDJSON = {"Content-Type": "application/x-ndjson"}
CANNOT = "flow_key: cannot be changed: leave it out, or create another one in that flow"


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def ask(
    api: ApiUnderTest, method: str, path: str, status: int, body: Any = None, **headers: str
) -> Any:
    answer = await api.client.request(method, path, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()["data"]


async def refused(api: ApiUnderTest, method: str, path: str, body: Any) -> str:
    """Ask for what must be refused with a 400; answers with the words."""
    answer = await api.client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 2), answer.text
    (error,) = answer.json()["data"]["errors"]
    assert error["field"] == "flow_key"
    return str(answer.json()["message"])


async def batch(api: ApiUnderTest, *timers: Any, **headers: str) -> list[Any]:
    made: list[Any] = (await ask(api, "POST", "/timers/batch", 201, {"timers": timers}, **headers))[
        "timers"
    ]
    return made


async def import_lines(api: ApiUnderTest, *timers: Any) -> Any:
    content = "\n".join(map(json.dumps, timers)).encode()
    answer = await api.client.post("/timers/import", content=content, headers=NDJSON)
    return json.loads(answer.text.splitlines()[-1])


async def listed(api: ApiUnderTest, query: str, what: str = "timers") -> set[str]:
    found = (await ask(api, "GET", f"/{what}?limit=200&{query}", 200))[what]
    return {each["id"] for each in found}


def shard(thing_id: str) -> int:
    return shard_of(TimerId(UUID(thing_id)))


async def test_timer_shows_its_flow_and_its_id_says_the_shard(api: ApiUnderTest) -> None:
    for delay in (1, 86_400):
        timer = await api.create(delay=delay, flow_key=FLOW)
        assert (await api.get(timer["id"]))["flow_key"] == FLOW
        assert shard(timer["id"]) == SHARD
    assert (await api.get((await api.create())["id"]))["flow_key"] is None


async def test_all_ways_of_creating_keep_the_shard_of_a_flow(api: ApiUnderTest) -> None:
    by_key = await ask(api, "PUT", "/timers/by-key/a", 201, IN_FLOW)
    named = await api.create(flow_key=FLOW, key="b")
    keyed = await ask(api, "POST", "/timers", 201, IN_FLOW, **{"Idempotency-Key": "1"})
    batched = [
        *await batch(api, IN_FLOW, IN_FLOW),
        *await batch(api, IN_FLOW, {**IN_FLOW, "key": "c"}),
        *await batch(api, IN_FLOW, IN_FLOW, **{"Idempotency-Key": "2"}),
    ]
    end = await import_lines(api, IN_FLOW, {**IN_FLOW, "key": "d"}, WANTED)
    assert end["data"]["imported"] == 3
    ids = {each["id"] for each in (by_key, named, keyed, *batched)}
    found = await listed(api, f"flow_key={FLOW}")
    assert len(found) == len(ids) + 2
    assert ids < found
    assert {shard(each) for each in found} == {SHARD}


async def test_repetition_of_a_keyed_create_is_answered_with_the_timer_in_the_flow(
    api: ApiUnderTest,
) -> None:
    headers = {"Idempotency-Key": "1"}
    first = await ask(api, "POST", "/timers", 201, IN_FLOW, **headers)
    assert await ask(api, "POST", "/timers", 201, IN_FLOW, **headers) == first
    await ask(api, "POST", "/timers", 409, {**IN_FLOW, "flow_key": "other"}, **headers)


@pytest.mark.parametrize("flow_key", [FLOW, None])
async def test_flow_of_a_timer_cannot_be_changed(api: ApiUnderTest, flow_key: str | None) -> None:
    timer = await api.create(**({} if flow_key is None else {"flow_key": flow_key}))
    path = f"/timers/{timer['id']}"
    before = await api.get(timer["id"])
    for more in ({}, {"delay": 5, "metadata": {"a": 1}}):
        assert await refused(api, "PUT", path, {"flow_key": "other", **more}) == CANNOT
    assert await api.get(timer["id"]) == before


async def test_change_may_name_the_same_flow_or_none(api: ApiUnderTest) -> None:
    timer = await api.create(flow_key=FLOW)
    path = f"/timers/{timer['id']}"
    await ask(api, "PUT", path, 200, {"flow_key": FLOW})
    await ask(api, "PUT", path, 200, {"flow_key": FLOW, "metadata": {"a": 1}})
    await ask(api, "PUT", path, 200, {"delay": 5})
    whole = await api.get(timer["id"])
    assert (whole["flow_key"], whole["metadata"]) == (FLOW, {"a": 1})


async def test_change_of_no_timer_is_a_404_whatever_flow_it_names(api: ApiUnderTest) -> None:
    path = "/timers/00000000-0000-7000-8000-000000000000"
    await ask(api, "PUT", path, 404, {"flow_key": FLOW})


async def test_replaced_timer_stays_in_its_flow(api: ApiUnderTest) -> None:
    timer = await api.create(flow_key=FLOW, key="cart")
    path, replacing = "/timers/by-key/cart", {"key": "cart", "on_conflict": "replace"}
    for body in (WANTED, IN_FLOW):
        assert (await ask(api, "PUT", path, 200, body))["id"] == timer["id"]
        await ask(api, "POST", "/timers", 200, {**body, **replacing})
        assert (await api.get(timer["id"]))["flow_key"] == FLOW
    other = {**WANTED, "flow_key": "other"}
    assert await refused(api, "PUT", path, other) == CANNOT
    assert await refused(api, "POST", "/timers", {**other, **replacing}) == CANNOT
    kept = await ask(api, "POST", "/timers", 200, {**other, **replacing, "on_conflict": "keep"})
    assert kept["id"] == timer["id"]


async def test_name_that_has_come_free_may_be_taken_in_another_flow(api: ApiUnderTest) -> None:
    path = "/timers/by-key/cart"
    await ask(api, "PUT", path, 201, IN_FLOW)
    await ask(api, "DELETE", path, 200)
    await ask(api, "PUT", path, 201, {**WANTED, "flow_key": "other"})
    assert (await ask(api, "GET", path, 200))["flow_key"] == "other"


async def test_redriven_timer_stays_in_its_flow(api: ApiUnderTest) -> None:
    timer = await api.create(flow_key=FLOW)
    await ask(api, "DELETE", f"/timers/{timer['id']}", 200)
    await ask(api, "POST", f"/timers/{timer['id']}/redrive", 200)
    assert (await api.get(timer["id"]))["flow_key"] == FLOW


async def test_lists_and_bulk_actions_find_a_flow(api: ApiUnderTest) -> None:
    ours, other = await api.create(flow_key=FLOW), await api.create(flow_key="other")
    await api.create()
    assert await listed(api, f"flow_key={FLOW}") == {ours["id"]}
    page = await ask(api, "GET", "/timers?limit=1&flow_key=other", 200)
    assert [each["flow_key"] for each in page["timers"]] == ["other"]
    answer = await api.client.post(
        "/timers/bulk", json={"action": "cancel", "filter": {"flow_key": FLOW}}
    )
    assert json.loads(answer.text.splitlines()[-1])["data"]["done"] == 1
    assert (await api.get(ours["id"]))["status"] == "canceled"
    assert (await api.get(other["id"]))["status"] == "pending"


@pytest.mark.parametrize("what", ["timers", "schedules"])
async def test_cursor_of_one_flow_is_none_of_another(api: ApiUnderTest, what: str) -> None:
    create = api.create if what == "timers" else api.create_schedule
    for _ in range(2):
        await create(flow_key=FLOW)
    page = await ask(api, "GET", f"/{what}?limit=1&flow_key={FLOW}", 200)
    following = f"/{what}?limit=1&cursor={page['next_cursor']}"
    await ask(api, "GET", f"{following}&flow_key={FLOW}", 200)
    for flow in ("", "&flow_key=other"):
        await ask(api, "GET", following + flow, 400)


async def test_schedule_and_its_occurrences_are_in_its_flow(api: ApiUnderTest) -> None:
    made = await api.create_schedule(flow_key=FLOW, name="daily")
    assert made["flow_key"] == FLOW
    path = f"/schedules/{made['id']}"
    assert await ask(api, "GET", path, 200) == made
    await ask(api, "POST", f"{path}/trigger", 201)
    days = {"from": "2029-12-20T00:00:00Z", "to": "2029-12-31T00:00:00Z"}
    await ask(api, "POST", f"{path}/backfill", 201, days)
    occurrences = await listed(api, f"schedule_id={made['id']}")
    assert len(occurrences) > 5
    assert occurrences == await listed(api, f"flow_key={FLOW}")
    assert {shard(each) for each in (made["id"], *occurrences)} == {SHARD}
    assert (await api.create_schedule())["flow_key"] is None


async def test_list_of_schedules_finds_a_flow(api: ApiUnderTest) -> None:
    ours, _ = await api.create_schedule(flow_key=FLOW), await api.create_schedule()
    assert await listed(api, f"flow_key={FLOW}", "schedules") == {ours["id"]}
    (shown,) = (await ask(api, "GET", f"/schedules?flow_key={FLOW}", 200))["schedules"]
    assert shown["flow_key"] == FLOW


@pytest.mark.parametrize("flow_key", [FLOW, None])
async def test_flow_of_a_schedule_cannot_be_changed(
    api: ApiUnderTest, flow_key: str | None
) -> None:
    fields = {} if flow_key is None else {"flow_key": flow_key}
    made = await api.create_schedule(**fields, name="daily")
    path, by_name = f"/schedules/{made['id']}", "/schedules/by-name/daily"
    for body in ({"flow_key": "other"}, {"flow_key": "other", "cron": "0 8 * * *"}):
        assert await refused(api, "PUT", path, body) == CANNOT
    assert await refused(api, "PUT", by_name, {**SCHEDULE, "flow_key": "other"}) == CANNOT
    assert await ask(api, "GET", path, 200) == made


async def test_change_of_a_schedule_may_name_the_same_flow_or_none(api: ApiUnderTest) -> None:
    made = await api.create_schedule(flow_key=FLOW, name="daily")
    path, by_name = f"/schedules/{made['id']}", "/schedules/by-name/daily"
    for body in (
        {"flow_key": FLOW},
        {"cron": "0 8 * * *"},
        {"cron": "0 7 * * *", "flow_key": FLOW},
    ):
        assert (await ask(api, "PUT", path, 200, body))["flow_key"] == FLOW
    for body in (SCHEDULE, {**SCHEDULE, "flow_key": FLOW}):
        assert (await ask(api, "PUT", by_name, 200, body))["flow_key"] == FLOW
    (pending,) = await listed(api, f"flow_key={FLOW}&status=pending")
    assert shard(pending) == SHARD


async def test_schedule_that_is_created_by_name_is_in_its_flow(api: ApiUnderTest) -> None:
    made = await ask(api, "PUT", "/schedules/by-name/daily", 201, {**SCHEDULE, "flow_key": FLOW})
    assert (made["flow_key"], shard(made["id"])) == (FLOW, SHARD)


async def test_older_replica_puts_off_what_is_in_a_flow_and_nothing_else(
    api: ApiUnderTest,
) -> None:
    await api.storage.join(ALICE, START, Identity(host="node-1", pid=7, version="0.1.0"))
    for path, body in (
        ("/timers", IN_FLOW),
        ("/timers", {**IN_FLOW, "key": "a"}),
        ("/timers/batch", {"timers": [WANTED, IN_FLOW]}),
        ("/schedules", {**SCHEDULE, "flow_key": FLOW}),
    ):
        answer: httpx.Response = await api.client.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, 1)
        assert "older releases (0.1.0 on node-1:7)" in answer.json()["message"]
    end = await import_lines(api, IN_FLOW)
    assert "older releases" in end["message"]
    await api.create()
    assert len(await listed(api, "")) == 1
