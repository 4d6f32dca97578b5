"""Schedules over REST, on memory storage; the contract tests hold PostgreSQL to the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
import trio

from tests.api_under_test import API_KEY, SCHEDULE, ApiUnderTest, running_api
from tests.bad_schedules import BAD_SCHEDULES

KEY = {"Idempotency-Key": "daily"}
EVERY = {"every": 60, "callback_url": "https://example.com/hook"}


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def ask(api: ApiUnderTest, method: str, path: str, status: int, body: Any = None) -> Any:
    answer = await api.client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()["data"]


async def occurrences(api: ApiUnderTest, schedule_id: str, status: str) -> list[Any]:
    data = await ask(
        api, "GET", f"/timers?schedule_id={schedule_id}&status={status}&limit=200", 200
    )
    timers: list[Any] = data["timers"]
    return timers


async def test_every_bad_input_is_refused_in_the_envelope(api: ApiUnderTest) -> None:
    assert len({bad.claim for bad in BAD_SCHEDULES}) >= 200
    timer_id = (await api.create())["id"]
    faults = []
    for bad in BAD_SCHEDULES:
        answer = await api.client.send(bad.request("http://api", API_KEY, timer_id))
        if fault := bad.fault_in(answer):
            faults.append(f"{bad.claim}: {fault}")
    assert not faults, "\n".join(faults)
    assert (await ask(api, "GET", "/schedules", 200))["schedules"] == []


async def test_a_schedule_is_created_shown_and_found(api: ApiUnderTest) -> None:
    wanted = {**SCHEDULE, "name": "daily", "metadata": {"team": "a"}, "callback_payload": [1]}
    answer = await api.client.post("/schedules", json=wanted)
    assert answer.status_code == 201
    made = answer.json()["data"]
    assert answer.headers["Location"] == f"/schedules/{made['id']}"
    assert {name: made[name] for name in wanted} == wanted
    # Nine in Berlin, from a Tuesday on.
    assert made["next"][:4] == [f"2030-01-0{day}T08:00:00Z" for day in (1, 2, 3, 4)]
    assert made["next"][4] == "2030-01-07T08:00:00Z"
    assert (made["status"], made["occurrences"], made["skipped"]) == ("active", 0, 0)
    assert await ask(api, "GET", f"/schedules/{made['id']}", 200) == made
    assert await ask(api, "GET", "/schedules/by-name/daily", 200) == made
    (listed,) = (await ask(api, "GET", "/schedules?name=daily&metadata.team=a", 200))["schedules"]
    assert listed["next_at"] == made["next"][0]
    assert all(made[name] == value for name, value in listed.items() if name != "next_at")
    (timer,) = await occurrences(api, made["id"], "pending")
    assert (timer["execute_at"], timer["schedule_id"]) == (made["next"][0], made["id"])
    assert (await api.get(timer["id"]))["schedule_id"] == made["id"]


async def test_every_field_of_a_timer_is_passed_on(api: ApiUnderTest) -> None:
    fields = {
        "callback_method": "PUT",
        "callback_headers": {"A": "b"},
        "callback_payload": {"a": 1},
        "metadata": {"a": 1},
        "timeout_seconds": 5.0,
        "delivery": "at_most_once",
        "misfire_grace_seconds": None,
        "store_response": "all",
        "signing": "none",
        "on_completed": {"url": "https://example.com/done", "headers": {}},
    }
    retry = {"max_attempts": 3}
    made = await api.create_schedule(**fields, retry=retry)
    (pending,) = await occurrences(api, made["id"], "pending")
    timer = await api.get(pending["id"])
    for shown in (made, timer):
        assert {name: shown[name] for name in fields} == fields
        assert shown["retry"]["max_attempts"] == 3


async def test_pages_of_schedules_never_overlap(api: ApiUnderTest) -> None:
    made = []
    for _ in range(5):
        api.clock.advance(1)
        made.append((await api.create_schedule())["id"])
    seen, path = [], "/schedules?limit=2&status=active"
    cursor: str | None = ""
    while cursor is not None:
        page = await ask(api, "GET", path + (f"&cursor={cursor}" if cursor else ""), 200)
        seen += [each["id"] for each in page["schedules"]]
        last, cursor = cursor, page["next_cursor"]
    assert seen == made[::-1]
    for other in ("/schedules?limit=2", "/timers?"):
        await ask(api, "GET", f"{other}&cursor={last}", 400)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"timezone": "America/New_York"}, {"timezone": "America/New_York", "cron": "0 9 * * *"}),
        ({"cron": "0 8 * * *"}, {"timezone": "Europe/Berlin", "cron": "0 8 * * *"}),
        ({"every": "PT5M"}, {"timezone": None, "cron": None, "every": 300.0}),
        ({"rrule": "FREQ=DAILY"}, {"timezone": "Europe/Berlin", "cron": None, "every": None}),
        ({"rrule": "FREQ=DAILY", "timezone": "UTC"}, {"timezone": "UTC", "rrule": "FREQ=DAILY"}),
        ({"name": "other"}, {"name": "other", "cron": "0 9 * * *"}),
        (
            {"name": None, "metadata": None, "end_at": None, "max_occurrences": None},
            {"name": None, "metadata": None, "end_at": None, "max_occurrences": None},
        ),
        ({"start_at": None}, {"start_at": None}),
        ({"overlap": "skip", "catch_up": "all"}, {"overlap": "skip", "catch_up": "all"}),
        ({"callback_payload": None, "retry": {}}, {"callback_payload": None}),
        ({"jitter_seconds": 5}, {"jitter_seconds": 5}),
    ],
)
async def test_any_subset_can_be_changed(
    api: ApiUnderTest, change: dict[str, Any], shown: dict[str, Any]
) -> None:
    whole = {
        "cron": "0 9 * * *",
        "name": "daily",
        "metadata": {"a": 1},
        "start_at": "2029-01-01T00:00:00Z",
        "end_at": "2031-01-01T00:00:00Z",
        "max_occurrences": 100,
    }
    made = await api.create_schedule(**whole)
    changed = await ask(api, "PUT", f"/schedules/{made['id']}", 200, change)
    assert {name: changed[name] for name in shown} == shown
    others = whole.keys() - change.keys() - {"cron"}
    assert {name: changed[name] for name in others} == {name: made[name] for name in others}
    pending = await occurrences(api, made["id"], "pending")
    if "jitter_seconds" not in change:
        assert {timer["execute_at"] for timer in pending} >= {changed["next"][0]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"end_at": "2029-06-01T00:00:00Z"}, "end_at"),
        ({"start_at": "2031-06-01T00:00:00Z"}, "end_at"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"every": 5, "timezone": "UTC"}, "timezone"),
        ({"every": 5, "cron": "* * * * *"}, "every"),
    ],
)
async def test_a_change_that_does_not_fit_changes_nothing(
    api: ApiUnderTest, change: dict[str, Any], named: str
) -> None:
    made = await api.create_schedule(start_at="2029-01-01T00:00:00Z", end_at="2031-01-01T00:00:00Z")
    data = await ask(api, "PUT", f"/schedules/{made['id']}", 400, change)
    assert [error["field"] for error in data["errors"]] == [named]
    assert await ask(api, "GET", f"/schedules/{made['id']}", 200) == made


async def test_zone_alone_moves_no_interval(api: ApiUnderTest) -> None:
    made = await ask(api, "POST", "/schedules", 201, EVERY)
    data = await ask(api, "PUT", f"/schedules/{made['id']}", 400, {"timezone": "UTC"})
    assert data["errors"][0]["field"] == "timezone"


async def test_a_name_is_that_of_one_schedule_until_it_ends(api: ApiUnderTest) -> None:
    first = await api.create_schedule(name="a/b ü")
    assert (await ask(api, "POST", "/schedules", 409, {**EVERY, "name": "a/b ü"})) == {
        "id": first["id"]
    }
    other = await api.create_schedule()
    await ask(api, "PUT", f"/schedules/{other['id']}", 409, {"name": "a/b ü"})
    path = "/schedules/by-name/a%2Fb%20%C3%BC"
    replaced = await ask(api, "PUT", path, 200, {**EVERY, "name": "a/b ü"})
    assert (replaced["id"], replaced["every"], replaced["cron"]) == (first["id"], 60, None)
    ended = {"id": first["id"], "status": "ended"}
    assert await ask(api, "DELETE", path, 200) == ended
    await ask(api, "DELETE", path, 404)
    answer = await api.client.put(path, json=EVERY)
    again = answer.json()["data"]
    assert (answer.status_code, again["name"]) == (201, "a/b ü")
    assert answer.headers["Location"] == f"/schedules/{again['id']}"
    assert again["id"] != first["id"]


async def test_pause_resume_and_end(api: ApiUnderTest) -> None:
    path = f"/schedules/{(made := await ask(api, 'POST', '/schedules', 201, EVERY))['id']}"
    assert len(await occurrences(api, made["id"], "pending")) >= 10
    for _ in range(2):
        paused = await ask(api, "POST", f"{path}/pause", 200)
        assert (paused["status"], paused["next"]) == ("paused", [])
    assert await occurrences(api, made["id"], "pending") == []
    api.clock.advance(3600)
    resumed = await ask(api, "POST", f"{path}/resume", 200, {})
    assert resumed["next"][0] == "2030-01-01T01:01:00Z"
    for _ in range(2):
        assert await ask(api, "DELETE", path, 200) == {"id": made["id"], "status": "ended"}
    assert await occurrences(api, made["id"], "pending") == []
    for verb in ("pause", "resume", "trigger"):
        answer = await api.client.post(f"{path}/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (409, 5)
        assert "has ended" in answer.json()["message"]
    await ask(api, "PUT", path, 409, {"every": 5})


async def test_trigger_answers_with_a_timer_that_is_due(api: ApiUnderTest) -> None:
    made = await api.create_schedule()
    answer = await api.client.post(f"/schedules/{made['id']}/trigger")
    timer = answer.json()["data"]
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/timers/{timer['id']}")
    assert timer["execute_at"] == "2030-01-01T00:00:00Z"
    assert timer["id"] in {str(due.id) for due in api.offered}
    await api.begin(timer["id"])
    shown = await ask(api, "GET", f"/schedules/{made['id']}", 200)
    assert (shown["last_occurrence"]["id"], shown["last_occurrence"]["status"]) == (
        timer["id"],
        "executing",
    )


async def test_backfill_creates_each_instant_once(api: ApiUnderTest) -> None:
    made = await ask(
        api, "POST", "/schedules", 201, {**SCHEDULE, "start_at": "2029-12-01T00:00:00Z"}
    )
    path = f"/schedules/{made['id']}/backfill"
    body = {"from": "2029-12-03T08:00:00Z", "to": "2029-12-07T08:00:00Z", "limit": 3}
    first = await ask(api, "POST", path, 201, body)
    assert first == {"created": 3, "next": "2029-12-06T08:00:00Z"}
    assert await ask(api, "POST", path, 201, body) == {**first, "created": 0}
    rest = {**body, "from": first["next"], "rate_per_second": 0.5}
    assert await ask(api, "POST", path, 201, rest) == {"created": 2, "next": None}
    due = sorted(timer["execute_at"] for timer in await occurrences(api, made["id"], "pending"))
    assert due[:5] == ["2030-01-01T00:00:00Z"] * 4 + ["2030-01-01T00:00:02Z"]


async def test_preview_writes_nothing(api: ApiUnderTest) -> None:
    body = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "count": 3}
    data = await ask(
        api, "POST", "/schedules/preview", 200, {**body, "from": "2030-03-30T01:30:00Z"}
    )
    # The clock skips 02:30 on the 31st.
    assert data["next"] == ["2030-03-30T01:30:00Z", "2030-03-31T01:00:00Z", "2030-04-01T00:30:00Z"]
    data = await ask(api, "POST", "/schedules/preview", 200, {"every": 90, "max_occurrences": 2})
    assert data["next"] == ["2030-01-01T00:01:30Z", "2030-01-01T00:03:00Z"]
    assert (await ask(api, "GET", "/schedules", 200))["schedules"] == []


async def test_replan_tells_how_many_have_moved(api: ApiUnderTest) -> None:
    made = await api.create_schedule()
    path = f"/schedules/{made['id']}/replan"
    assert await ask(api, "POST", path, 200) == {"moved": 0}


async def test_bulk_finds_the_occurrences_of_a_schedule(api: ApiUnderTest) -> None:
    made = await ask(api, "POST", "/schedules", 201, EVERY)
    await api.create()
    api.clock.advance(1)
    pending = await occurrences(api, made["id"], "pending")
    body = {"action": "cancel", "filter": {"schedule_id": made["id"]}}
    answer = await api.client.post("/timers/bulk", json=body)
    assert f'"done": {len(pending)}' in answer.text.splitlines()[-1]


async def test_of_many_at_once_with_a_key_one_is_written(api: ApiUnderTest) -> None:
    answers: list[httpx.Response] = []

    async def post() -> None:
        answers.append(await api.client.post("/schedules", json=SCHEDULE, headers=KEY))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(post)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["Location"] for answer in answers}) == 1
    replayed = [answer.headers.get("Idempotent-Replayed") for answer in answers]
    assert sorted(map(str, replayed)) == ["None"] + ["true"] * 7
    assert len((await ask(api, "GET", "/schedules", 200))["schedules"]) == 1


async def test_a_key_stands_for_one_body_on_one_route(api: ApiUnderTest) -> None:
    first = await api.client.post("/schedules", json=SCHEDULE, headers=KEY)
    for path, body in (
        ("/schedules", {**SCHEDULE, "timezone": "UTC"}),
        ("/timers", {"delay": 60, "callback_url": "https://example.com/"}),
    ):
        assert (await api.client.post(path, json=body, headers=KEY)).status_code == 409
    # What was good once is answered, although its end has gone by.
    ending = {**SCHEDULE, "end_at": "2030-01-05T00:00:00Z"}
    key = {"Idempotency-Key": "ends"}
    made = await api.client.post("/schedules", json=ending, headers=key)
    api.clock.advance(timedelta(hours=23).total_seconds())
    again = await api.client.post("/schedules", json=SCHEDULE, headers=KEY)
    assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
    assert made.status_code == 201
    refused = await api.client.post("/schedules", json={"every": 5}, headers=KEY)
    assert refused.status_code == 400


async def test_a_taken_name_uses_no_key_up(api: ApiUnderTest) -> None:
    holder = await api.create_schedule(name="a")
    named = {**EVERY, "name": "a"}
    post = partial(api.client.post, "/schedules", json=named, headers=KEY)
    assert (await post()).status_code == 409
    await ask(api, "DELETE", f"/schedules/{holder['id']}", 200)
    assert (await post()).status_code == 201


async def test_outcome_that_is_not_known_is_told_with_an_id(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("timer_trio.intake.schedules.CREATE_DEADLINE_S", 0.01)
    monkeypatch.setattr(api.storage, "create_schedule", never)
    answer = await api.client.post("/schedules", json=SCHEDULE)
    assert (answer.status_code, answer.json()["code"]) == (503, 1)
    assert str(UUID(answer.json()["data"]["id"])) == answer.json()["data"]["id"]
    keyed = await api.client.post("/schedules", json=SCHEDULE, headers=KEY)
    assert keyed.status_code == 503
    assert "with the same key" in keyed.json()["message"]


async def test_schedule_without_a_future_is_refused(api: ApiUnderTest) -> None:
    body = {**SCHEDULE, "rrule": "FREQ=DAILY;COUNT=3", "start_at": "2029-01-01T00:00:00Z"}
    del body["cron"]
    data = await ask(api, "POST", "/schedules", 400, body)
    assert data["errors"][0]["field"] == "rrule"
