"""What is done at the console is done as the API does it, and told in the audit alike."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api_under_test import START, ApiUnderTest, running_api
from tests.console import ROOT, Operator, Page, operator
from timer_trio import console
from timer_trio.domain.timer import Status, rfc3339


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api(pages=console.routes) as running:
        yield running


@pytest.fixture
async def key(api: ApiUnderTest) -> str:
    return await api.create_key("admin")


@pytest.fixture
async def someone(api: ApiUnderTest, key: str) -> Operator:
    return await operator(api, key)


async def told(api: ApiUnderTest, key: str) -> list[tuple[str, str | None]]:
    """Return what the audit tells of a key; the clock stands still, so it is in no order."""
    await api.audit_log.write()
    answer = await api.client.get("/audit", params={"key_id": key.split("_")[1], "limit": 200})
    entries = answer.json()["data"]["audit"]
    assert all(entry["address"] == "127.0.0.1" for entry in entries)
    return sorted((entry["action"], entry["target"] or "") for entry in entries)


async def test_timer_is_canceled_redriven_and_run_now(
    api: ApiUnderTest, key: str, someone: Operator
) -> None:
    timer = await api.create(delay=3600)
    path = f"/timers/{timer['id']}"
    assert await someone.done(f"{path}/cancel") == path
    assert (await api.get(timer["id"]))["status"] == "canceled"
    await someone.done(f"{path}/redrive", execute_at="2030-01-01T05:00")
    assert (await api.get(timer["id"]))["execute_at"] == "2030-01-01T05:00:00Z"
    await someone.done(f"{path}/run-now")
    assert (await api.get(timer["id"]))["execute_at"] == rfc3339(START)
    await api.begin(timer["id"])
    answer = await someone.do(f"{path}/cancel")
    assert answer.status_code == 400
    assert "cannot cancel timer with status 'executing'" in Page(answer.text).text
    await api.end(timer["id"], Status.FAILED, "HTTP 500")
    await someone.done(f"{path}/redrive")
    assert (await api.get(timer["id"]))["status"] == "pending"
    names = ["timer.canceled", "timer.redriven", "timer.changed", "timer.redriven"]
    assert await told(api, key) == sorted((name, timer["id"]) for name in names)


async def change(someone: Operator, path: str, **changed: str) -> Any:
    """Send the form of a page, some of its fields changed."""
    page = await someone.page(path)
    form = {each["name"]: each.get("value", "") for each in page.all("input")}
    for each in (*page.all("textarea"), *page.all("select")):
        form[each["name"]] = form.get(f"before_{each['name']}", "")
    return await someone.post(path, {**form, **changed})


async def test_timer_is_changed_where_the_form_says_otherwise(
    api: ApiUnderTest, key: str, someone: Operator
) -> None:
    big = 12345678901234567890123
    timer = await api.create(
        callback_payload={"n": big}, metadata={"a": 1}, callback_headers={"X-A": "b"}
    )
    path = f"/timers/{timer['id']}/change"
    answer = await change(someone, path)
    assert answer.status_code == 400
    assert "at least one field" in Page(answer.text).text
    answer = await change(
        someone,
        path,
        callback_url="https://example.org/other",
        callback_payload=f'{{"n": {big + 1}}}',
        execute_at="2030-01-02T00:00:00",
        callback_method="PUT",
        metadata="",
    )
    assert answer.status_code == 303, answer.text
    changed = await api.get(timer["id"])
    assert changed["callback_payload"] == {"n": big + 1}
    assert changed["execute_at"] == "2030-01-02T00:00:00Z"
    assert (changed["callback_url"], changed["callback_method"]) == (
        "https://example.org/other",
        "PUT",
    )
    assert changed["metadata"] is None
    assert changed["callback_headers"] == {"X-A": "b"}
    assert await told(api, key) == [("timer.changed", timer["id"])]


async def test_form_that_is_wrong_says_so_and_keeps_what_was_written(
    api: ApiUnderTest, someone: Operator
) -> None:
    timer = await api.create()
    before = await api.get(timer["id"])
    for field, value, words in (
        ("callback_payload", "{", "is no JSON"),
        ("callback_payload", "[" * 50_000, "is no JSON"),
        ("timeout_seconds", "soon", "must be a number"),
        ("timeout_seconds", "1e9", "must be at most"),
        ("callback_url", "ftp://x", "callback_url"),
        ("execute_at", "yesterday", "execute_at"),
        ("callback_headers", "[]", "must be a JSON object"),
        ("retry", '{"max_attempts": 0}', "must be at least 1"),
    ):
        answer = await change(someone, f"/timers/{timer['id']}/change", **{field: value})
        assert answer.status_code == 400, field
        page = Page(answer.text)
        assert page.all("div", role="alert")
        assert words in page.text
        kept = [each for each in page.all("input", name=field) if each.get("value") == value]
        assert kept or value in page.text
        assert await api.get(timer["id"]) == before


async def test_many_timers_are_counted_and_then_changed(
    api: ApiUnderTest, key: str, someone: Operator
) -> None:
    timers = [await api.create(metadata={"who": "a"}) for _ in range(3)]
    gone = await api.create(metadata={"who": "a"})
    await api.client.delete(f"/timers/{gone['id']}")
    other = await api.create(metadata={"who": "b"})
    listed = await someone.page("/timers?metadata=who%3Da")
    (link,) = [each for each in listed.all("a") if "action=cancel" in each.get("href", "")]
    page = await someone.page(link["href"].removeprefix(ROOT))
    assert "3 timers would be canceled" in " ".join(page.text.split())
    assert "4 match; 1 of them" in page.text
    form = {each["name"]: each["value"] for each in page.all("input")}
    api.clock.advance(1)
    answer = await someone.post("/timers/bulk", form)
    assert "3 timers are canceled" in Page(answer.text).text
    assert [(await api.get(each["id"]))["status"] for each in timers] == ["canceled"] * 3
    assert (await api.get(other["id"]))["status"] == "pending"
    form["action"] = "redrive"
    api.clock.advance(1)
    answer = await someone.post(
        "/timers/bulk", {**form, "rate_per_second": "0.5"}, Accept="application/x-ndjson"
    )
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert "as_of" in lines[0]
    assert lines[-1]["data"] == {"matched": 4, "done": 4, "skipped": 0}
    due = [(await api.get(each["id"]))["execute_at"] for each in [*timers, gone]]
    assert max(due) == "2030-01-01T00:00:08Z"
    assert await told(api, key) == [("timers.bulk", "")] * 2


async def test_bulk_action_that_is_wrong_says_so(someone: Operator) -> None:
    for form, words in (
        ({"action": "burn", "status": "failed"}, "must be one of"),
        ({"action": "cancel"}, "must name at least one thing"),
        ({"action": "cancel", "status": "late"}, "must be one of"),
        ({"action": "redrive", "status": "failed", "rate_per_second": "x"}, "must be a number"),
        ({"action": "cancel", "status": "failed", "rate_per_second": "5"}, "leave it out"),
    ):
        answer = await someone.do("/timers/bulk", **form)
        assert answer.status_code == 400
        assert words in Page(answer.text).text


async def test_schedule_is_made_previewed_changed_paused_triggered_and_ended(
    api: ApiUnderTest, key: str, someone: Operator
) -> None:
    form = {"kind": "cron", "rule": "0 9 * * *", "timezone": "UTC", "name": "daily",
            "callback_url": "https://example.com/", "callback_payload": "[1]"}  # fmt: skip
    preview = await someone.do("/schedules/new", **form, do="preview")
    assert "2030-01-01 09:00:00" in preview.text
    assert await told(api, key) == []
    path = await someone.done("/schedules/new", **form, do="save")
    schedule_id = path.rpartition("/")[2]
    preview = await change(someone, f"{path}/change", rule="30 8 * * *", kind="cron", do="preview")
    assert "2030-01-01 08:30:00" in preview.text
    assert "2030-01-01 09:00:00" in preview.text
    wrong = await change(someone, f"{path}/change", rule="61 8 * * *", kind="cron", do="preview")
    assert wrong.status_code == 400
    assert Page(wrong.text).all("div", role="alert")
    changed = await change(
        someone, f"{path}/change", kind="every", rule="PT5M", end_at="2030-02-01T00:00", name="x"
    )
    assert changed.status_code == 303, changed.text
    shown = (await api.client.get(f"/schedules/{schedule_id}")).json()["data"]
    assert (shown["every"], shown["end_at"], shown["name"]) == (300, "2030-02-01T00:00:00Z", "x")
    changed = await change(someone, f"{path}/change", kind="every", rule="90", end_at="")
    assert changed.status_code == 303, changed.text
    shown = (await api.client.get(f"/schedules/{schedule_id}")).json()["data"]
    assert (shown["every"], shown["end_at"]) == (90, None)
    await someone.done(f"{path}/pause")
    assert "Resume" in (await someone.page(path)).text
    await someone.done(f"{path}/resume")
    made = await someone.done(f"{path}/trigger")
    assert made.startswith("/timers/")
    api.clock.advance(1)
    strip = (await someone.page(path)).all("a", href=f"{ROOT}{made}")
    assert strip[0]["class"] == "pending"
    await someone.done(f"{path}/end")
    names = ["created", "changed", "changed", "paused", "resumed", "triggered", "deleted"]
    assert await told(api, key) == sorted((f"schedule.{name}", schedule_id) for name in names)


async def test_flows_and_destinations_are_limited_and_paused(
    api: ApiUnderTest, key: str, someone: Operator
) -> None:
    flow = "a/ü?#"
    where = await someone.done(
        "/flow", flow_key=flow, max_in_flight="3", count="5", per_seconds="60"
    )
    page = await someone.page(where)
    assert flow in page.text
    await someone.done("/flow/pause", flow_key=flow)
    await someone.done("/flow/resume", flow_key=flow)
    wrong = await someone.do("/flow", flow_key=flow, max_in_flight="0", count="", per_seconds="")
    assert wrong.status_code == 400
    assert Page(wrong.text).all("div", role="alert")
    half = await someone.do("/flow", flow_key=flow, max_in_flight="", count="5", per_seconds="")
    assert half.status_code == 400
    await someone.done("/flow/delete", flow_key=flow)
    destination = "https://example.com:443"
    await someone.done("/destinations/pause", destination="https://example.com")
    assert "paused" in (await someone.page("/destinations")).text
    await someone.done("/destinations/resume", destination=destination)
    await someone.done("/pause")
    assert "nothing of it is sent" in (await someone.page("/destinations")).text
    await someone.done("/resume")
    flows = [("flow.changed", flow)] * 3 + [("flow.deleted", flow)]
    paused = [("destination.paused", destination), ("destination.resumed", destination)]
    project = [("project.paused", "default"), ("project.resumed", "default")]
    # Equal changes of one target within a minute are one entry.
    assert {*await told(api, key)} == {*flows, *paused, *project}


async def test_keys_and_secrets_are_made_and_taken_away(
    api: ApiUnderTest, key: str, someone: Operator
) -> None:
    answer = await someone.do(
        "/keys", name="ci", scopes=["read", "write"], expires_at="2030-06-01T00:00"
    )
    assert answer.status_code == 201
    (new,) = re.findall("tt_[0-9a-f]{24}_[0-9a-f]{64}", answer.text)
    assert (await api.client.get("/timers", headers={"X-API-Key": new})).status_code == 200
    assert new not in (await someone.get("/keys")).text
    new_id = new.split("_")[1]
    assert (await someone.do("/keys", name="", scopes="read")).status_code == 400
    assert (await someone.do("/keys", name="x")).status_code == 400
    assert (await someone.do("/keys", name="x", scopes="metrics")).status_code == 403
    await someone.done(f"/keys/{new_id}/revoke")
    assert (await api.client.get("/timers", headers={"X-API-Key": new})).status_code == 401
    await api.client.get("/signing-secrets")
    await someone.done("/secrets/rotate", overlap_seconds="60")
    secrets = (await api.client.get("/signing-secrets")).json()["data"]["signing_secrets"]
    assert len(secrets) == 2
    assert secrets[0]["secret"] in (await someone.page("/secrets")).text
    await someone.done(f"/secrets/{secrets[0]['id']}/delete")
    assert (await someone.do(f"/secrets/{secrets[1]['id']}/delete")).status_code == 409
    actions = {action for action, _ in await told(api, key)}
    assert actions == {"key.created", "key.revoked", "secret.rotated", "secret.deleted"}


async def test_projects_are_made_changed_and_deleted(api: ApiUnderTest) -> None:
    service = await operator(api)
    path = await service.done("/projects", name="shop")
    assert (await service.do("/projects", name="shop")).status_code == 409
    answer = await change(
        service,
        path,
        allowed_hosts="example.com\r\n*.example.org\r\n",
        max_live_timers="9",
        rate_limit='{"requests_per_second": 50}',
    )
    assert answer.status_code == 303, answer.text
    shop = (await api.client.get("/projects/shop")).json()["data"]
    assert shop["allowed_hosts"] == ["example.com", "*.example.org"]
    assert shop["max_live_timers"] == 9
    assert (await change(service, path, breaker="often")).status_code == 400
    assert (await change(service, path, allowed_hosts="", max_live_timers="")).status_code == 303
    shop = (await api.client.get("/projects/shop")).json()["data"]
    assert (shop["allowed_hosts"], shop["max_live_timers"]) == (None, None)
    assert (await service.do(f"{path}/delete", confirmed="shup")).status_code == 400
    assert await service.done(f"{path}/delete", confirmed="shop") == "/projects"
    assert (await api.client.get("/projects/shop")).status_code == 404


async def test_project_is_shown_and_changed_whatever_its_name_is(api: ApiUnderTest) -> None:
    service = await operator(api)
    for name in ("live", "new", "bulk"):
        path = await service.done("/projects", name=name)
        assert (await change(service, path, max_live_timers="9")).status_code == 303
        assert (await service.page(path)).all("input", name="max_live_timers", value="9")
        stranger = await Operator(api).get(path)
        assert stranger.headers["Location"].startswith(f"{ROOT}/login")
        assert await service.done(f"{path}/delete", confirmed=name) == "/projects"


async def test_rate_limit_of_a_key_holds_at_the_console(api: ApiUnderTest) -> None:
    limit = {"rate_limit": {"requests_per_second": 0.1, "burst": 3}}
    key = await api.create_key("read")
    someone = await operator(api, key)
    assert (await api.client.put("/projects/default", json=limit)).status_code == 200
    statuses = [(await someone.get("/timers")).status_code for _ in range(5)]
    assert statuses[:3] == [200] * 3
    assert statuses[-1] == 429


async def test_list_of_timers_counts_none(
    api: ApiUnderTest, someone: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.create(metadata={"a": "b"}, key="x")
    asked = []
    listing = api.storage.list

    async def list_noted(query: Any) -> Any:
        asked.append(query)
        return await listing(query)

    monkeypatch.setattr(api.storage, "list", list_noted)
    for query in ("", "?order=asc", "?sort=execute_at", "?status=pending&metadata=a%3Db"):
        page = await someone.page(f"/timers{query}")
        assert len(page.all("time")) == 1, query
    assert all(query.after is not None for query in asked)
    answer = await someone.get("/timers?key=x")
    assert answer.status_code == 400
    assert "needs a bound of time" in answer.text
    bounded = await someone.page("/timers?key=x&created_after=2029-12-31T23%3A00")
    assert len(bounded.all("time")) == 1
