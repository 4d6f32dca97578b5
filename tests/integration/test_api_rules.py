"""Flows and pauses: who may set them, and what is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from structlog.testing import capture_logs

from tests.api_under_test import API_KEY, ApiUnderTest, besides_requests, running_api
from tests.bad_rules import BAD_RULES
from tests.contract.timers import flow_rules
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.membership import Identity
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.rules import RuleChanges

NOW = "2030-01-01T00:00:00Z"
LIMITS = {"max_in_flight": 5, "rate": {"count": 100, "per_seconds": 60}}
THERE = {"destination": "https://api.example.com"}


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def asked(api: ApiUnderTest, method: str, path: str, key: str = API_KEY, **how: Any) -> Any:
    return await api.client.request(method, path, headers={"X-API-Key": key}, **how)


def data(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


async def rules(api: ApiUnderTest) -> RuleChanges:
    return await api.storage.rules_since(0)


def test_every_bad_input_is_another() -> None:
    claims = [bad.claim for bad in BAD_RULES]
    assert len(set(claims)) == len(claims) >= 100


async def test_every_bad_input_is_refused_in_the_envelope(api: ApiUnderTest) -> None:
    faults = []
    with capture_logs() as logs:
        for bad in BAD_RULES:
            answer = await api.client.send(bad.request("http://api", API_KEY, ""))
            if fault := bad.fault_in(answer):
                faults.append(f"{bad.claim}: {fault}")
    assert not faults, "\n".join(faults)
    assert not besides_requests(logs)
    assert api.rule_changes == 0
    changes = await rules(api)
    assert (changes.version, changes.projects, changes.destinations) == (1, [], [])


async def test_flow_is_put_read_and_deleted(api: ApiUnderTest) -> None:
    expected = {
        "flow_key": "mails",
        **LIMITS,
        "paused": False,
        "paused_since": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    assert data(await asked(api, "PUT", "/flows/mails", json=LIMITS)) == expected
    state = {**expected, "in_flight": 0, "waiting": 0}
    assert data(await asked(api, "GET", "/flows/mails")) == state
    api.clock.advance(1)
    changed = data(await asked(api, "PUT", "/flows/mails", json={"rate": None, "paused": True}))
    later = "2030-01-01T00:00:01Z"
    expected |= {"rate": None, "paused": True, "paused_since": later, "updated_at": later}
    assert changed == expected
    api.clock.advance(1)
    again = data(await asked(api, "PUT", "/flows/mails", json={"paused": True}))
    assert again["paused_since"] == later
    resumed = data(await asked(api, "PUT", "/flows/mails", json={"paused": False}))
    assert (resumed["paused"], resumed["paused_since"]) == (False, None)
    assert data(await asked(api, "DELETE", "/flows/mails")) == {"flow_key": "mails"}
    for method in ("GET", "DELETE"):
        answer = await asked(api, method, "/flows/mails")
        assert (answer.status_code, answer.json()["message"]) == (404, "no flow has this key")
    assert api.rule_changes == 5


async def test_flow_without_settings_tells_of_its_timers(api: ApiUnderTest) -> None:
    timer = await api.create(flow_key="sms", delay=0)
    await api.create(flow_key="sms", delay=1)
    await api.create(flow_key="sms", delay=60)
    api.clock.advance(1)
    flow = data(await asked(api, "GET", "/flows/sms"))
    assert (flow["in_flight"], flow["waiting"]) == (0, 2)
    await api.begin(timer["id"])
    flow = data(await asked(api, "GET", "/flows/sms"))
    assert (flow["in_flight"], flow["waiting"]) == (1, 1)
    assert (flow["max_in_flight"], flow["created_at"], flow["updated_at"]) == (None, None, None)
    assert data(await asked(api, "GET", "/flows"))["flows"] == []
    assert (await asked(api, "DELETE", "/flows/sms")).status_code == 404


@pytest.mark.parametrize(
    "key", ["a/b", "/", "a b", "ä", "a?b#c", "%", "%2F", "a\n", "+", "x" * 255, "ﬀ&=;"]
)
async def test_any_key_can_be_named_percent_encoded(api: ApiUnderTest, key: str) -> None:
    path = f"/flows/{quote(key, safe='')}"
    assert data(await asked(api, "PUT", path, json=LIMITS))["flow_key"] == key
    await api.create(flow_key=key, delay=0)
    assert data(await asked(api, "GET", path))["waiting"] == 1
    flow = FlowId(DEFAULT_PROJECT, FlowKey(key))
    assert [*await flow_rules(api.storage, [flow])] == [flow]
    assert data(await asked(api, "DELETE", path)) == {"flow_key": key}


async def test_flows_are_listed_page_by_page(api: ApiUnderTest) -> None:
    for key in ("b", "a", "ä/c"):
        await asked(api, "PUT", f"/flows/{quote(key, safe='')}", json={"paused": key != "b"})
    page = data(await asked(api, "GET", "/flows"))
    assert [flow["flow_key"] for flow in page["flows"]] == ["a", "b", "ä/c"]
    assert (page["limit"], page["next_cursor"]) == (50, None)
    page = data(await asked(api, "GET", "/flows?paused=false"))
    assert [flow["flow_key"] for flow in page["flows"]] == ["b"]
    page = data(await asked(api, "GET", "/flows?paused=true&limit=1"))
    assert [flow["flow_key"] for flow in page["flows"]] == ["a"]
    cursor = page["next_cursor"]
    page = data(await asked(api, "GET", f"/flows?paused=true&limit=1&cursor={cursor}"))
    assert [flow["flow_key"] for flow in page["flows"]] == ["ä/c"]
    assert page["next_cursor"] is None
    for other in ("", "&paused=false"):
        answer = await asked(api, "GET", f"/flows?cursor={cursor}{other}")
        assert (answer.status_code, answer.json()["message"][:6]) == (400, "cursor")


async def test_destination_is_paused_and_resumed(api: ApiUnderTest) -> None:
    name = "https://api.example.com:443"
    paused = {"destination": name, "paused": True, "paused_since": NOW}
    assert data(await asked(api, "POST", "/destinations/pause", json=THERE)) == paused
    api.clock.advance(1)
    shouted = {"destination": "HTTPS://API.example.com:443/"}
    assert data(await asked(api, "POST", "/destinations/pause", json=shouted)) == paused
    (held,) = (await rules(api)).destinations
    assert (held.project, held.destination) == (DEFAULT_PROJECT, name)
    resumed = {"destination": name, "paused": False, "paused_since": None}
    for _ in range(2):
        assert data(await asked(api, "POST", "/destinations/resume", json=THERE)) == resumed
    (held,) = (await rules(api)).destinations
    assert held.pause.paused_at is None
    assert api.rule_changes == 4


async def test_too_many_paused_destinations_are_a_conflict(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timer_trio.storage.memory.rules.MAX_PAUSED_DESTINATIONS", 0)
    answer = await asked(api, "POST", "/destinations/pause", json=THERE)
    assert (answer.status_code, answer.json()["code"]) == (409, 5)


async def test_project_is_paused_and_resumed(api: ApiUnderTest) -> None:
    paused = {"paused": True, "paused_since": NOW}
    assert data(await asked(api, "POST", "/pause")) == paused
    api.clock.advance(1)
    assert data(await asked(api, "POST", "/pause", json={})) == paused
    assert data(await asked(api, "GET", "/projects/default"))["paused_since"] == NOW
    for _ in range(2):
        answer = await asked(api, "POST", "/resume")
        assert data(answer) == {"paused": False, "paused_since": None}
    assert data(await asked(api, "GET", "/projects/default"))["paused_since"] is None
    assert api.rule_changes == 4


async def test_whoever_acts_in_a_project_pauses_that_one(api: ApiUnderTest) -> None:
    shop = await api.create_project("shop")
    key = await api.create_key("write", project="shop")
    for path, body in (("/pause", {}), ("/destinations/pause", THERE)):
        data(await asked(api, "POST", path, key, json=body))
    data(await asked(api, "PUT", "/flows/mails", key, json=LIMITS))
    changes = await rules(api)
    assert [each.project for each in changes.projects] == [shop]
    assert [each.project for each in changes.destinations] == [shop]
    assert (await asked(api, "GET", "/flows/mails")).status_code == 404
    assert data(await asked(api, "GET", "/flows", key))["flows"]
    assert data(await asked(api, "GET", "/flows"))["flows"] == []


async def test_reading_takes_the_scope_read_and_all_else_write(api: ApiUnderTest) -> None:
    reader = await api.create_key("read")
    writer = await api.create_key("write")
    for method, path, body in (
        ("PUT", "/flows/mails", LIMITS),
        ("DELETE", "/flows/mails", None),
        ("POST", "/destinations/pause", THERE),
        ("POST", "/destinations/resume", THERE),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
    ):
        answer = await asked(api, method, path, reader, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, 7)
        assert (await asked(api, method, path, writer, json=body)).status_code == 200
    assert (await asked(api, "GET", "/flows", reader)).status_code == 200
    assert (await asked(api, "GET", "/flows/mails", reader)).status_code == 404


async def test_limits_of_a_project_are_among_its_settings(api: ApiUnderTest) -> None:
    wanted = {"max_in_flight": 9, "breaker": {"failures": 3, "open_seconds": 30}}
    changed = data(await asked(api, "PUT", "/projects/default", json=wanted))
    assert {name: changed[name] for name in wanted} == wanted
    (held,) = (await rules(api)).projects
    assert held.max_in_flight == 9
    assert held.breaker is not None
    nothing = dict.fromkeys(wanted)
    changed = data(await asked(api, "PUT", "/projects/default", json=nothing))
    assert {name: changed[name] for name in wanted} == nothing
    assert (await rules(api)).projects == []
    assert api.rule_changes == 2


async def test_replica_hears_of_projects_that_come_and_go(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    assert api.rule_changes == 1
    assert (await asked(api, "DELETE", "/projects/shop")).status_code == 200
    assert api.rule_changes == 2


async def test_nothing_is_held_back_while_an_older_release_would_send_it(
    api: ApiUnderTest,
) -> None:
    old = Identity(host="old-1", version="0.1.0")
    await api.storage.join(api.health.replica_ids[0], api.clock.now(), old)
    for method, path, body in (
        ("PUT", "/flows/mails", LIMITS),
        ("POST", "/destinations/pause", THERE),
        ("POST", "/pause", None),
        ("PUT", "/projects/default", {"max_in_flight": 5}),
        ("PUT", "/projects/default", {"breaker": {"failures": 1, "open_seconds": 1}}),
    ):
        answer = await asked(api, method, path, json=body)
        assert (answer.status_code, "old-1" in answer.text) == (503, True)
    nothing: dict[str, None] = {"max_in_flight": None, "breaker": None}
    for method, path, freeing in (
        ("POST", "/destinations/resume", THERE),
        ("POST", "/resume", None),
        ("PUT", "/projects/default", nothing),
    ):
        assert (await asked(api, method, path, json=freeing)).status_code == 200
    assert (await rules(api)).destinations == []


async def test_pause_is_as_old_as_its_request(api: ApiUnderTest) -> None:
    before = api.clock.now()
    api.clock.advance(2.5)
    data(await asked(api, "POST", "/pause"))
    (held,) = (await rules(api)).projects
    assert held.pause.paused_at == before + timedelta(seconds=2.5)
