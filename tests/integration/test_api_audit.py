"""GET /audit: what every route that changes something tells, and to whom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import httpx
import pytest

from tests.api_under_test import API_KEY, SCHEDULE, WANTED, ApiUnderTest, running_api
from timer_trio.api.routes import all_routes
from timer_trio.domain.audit import MAX_TOLD_LENGTH
from timer_trio.domain.errors import StorageUnavailableError

NDJSON: Final = {"Content-Type": "application/x-ndjson"}
SECRET: Final = "what-nobody-may-read"  # noqa: S105 - made up
TELLS_NOTHING: Final = {"POST /schedules/preview"}
"""It writes nothing."""


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def page(api: ApiUnderTest, query: str = "", **headers: str) -> Any:
    await api.audit_log.write()
    answer = await api.client.get(f"/audit{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def audit(api: ApiUnderTest, query: str = "", **headers: str) -> list[dict[str, Any]]:
    return [*(await page(api, query, **headers))["audit"]]


async def sent(api: ApiUnderTest, endpoint: str, **more: Any) -> Any:
    method, path = endpoint.split(" ")
    answer = await api.client.request(method, path, **more)
    assert answer.is_success, answer.text
    return json.loads(answer.text.splitlines()[-1])["data"]


class Things:
    """What there is to be changed, by the names of the parameters of paths."""

    def __init__(self, api: ApiUnderTest) -> None:
        self.api = api
        self.ids: dict[str, str] = {}

    async def make(self) -> None:
        api = self.api
        self.ids["timer_id"] = (await api.create())["id"]
        self.ids["ended"] = (await api.create())["id"]
        await sent(api, f"DELETE /timers/{self.ids['ended']}")
        self.ids["keyed"] = (await api.create(key="known"))["id"]
        self.ids["schedule_id"] = (await api.create_schedule(name="named"))["id"]
        self.ids["key_id"] = (await api.create_key("read")).split("_")[1]
        (old,) = (await sent(api, "GET /signing-secrets"))["signing_secrets"]
        self.ids["secret_id"] = old["id"]
        await sent(api, "POST /signing-secrets/rotate")
        await api.create_project("shop")
        self.ids["flow_key"] = "customer-17"
        await sent(api, "PUT /flows/customer-17", json={"max_in_flight": 2})
        await api.audit_log.write()
        api.storage._audit.clear()
        # What adds up begins anew.
        api.clock.advance(60)


DESTINATION: Final = {"destination": "https://EXAMPLE.com"}
BACKFILL: Final = {"from": "2029-12-24T00:00:00Z", "to": "2029-12-29T00:00:00Z"}
TOLD: Final[Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]]] = {
    "POST /timers": ("", {"json": WANTED}, {"action": "timer.created", "target": "new"}),
    "PUT /timers/{timer_id}": (
        "",
        {"json": {"delay": 9}},
        {"action": "timer.changed", "target": "timer_id", "details": {"fields": ["delay"]}},
    ),
    "DELETE /timers/{timer_id}": ("", {}, {"action": "timer.canceled", "target": "timer_id"}),
    "POST /timers/{timer_id}/redrive": (
        "/timers/{ended}/redrive",
        {},
        {"action": "timer.redriven", "target": "ended"},
    ),
    "PUT /timers/by-key/{key}": (
        "/timers/by-key/known",
        {"json": WANTED},
        {"action": "timer.changed", "target": "keyed"},
    ),
    "DELETE /timers/by-key/{key}": (
        "/timers/by-key/known",
        {},
        {"action": "timer.canceled", "target": "keyed"},
    ),
    "POST /timers/batch": (
        "",
        {"json": {"timers": [WANTED] * 3}},
        {"action": "timer.created", "count": 3},
    ),
    "POST /timers/import": (
        "",
        {"content": f"{json.dumps(WANTED)}\n" * 4 + "[]\n", "headers": NDJSON},
        {"action": "timer.created", "count": 4},
    ),
    "POST /timers/bulk": (
        "",
        {"json": {"action": "cancel", "filter": {"status": "pending"}}},
        {
            "action": "timers.bulk",
            "count": 3,
            "details": {"action": "cancel", "filter": {"status": "pending"}},
        },
    ),
    "POST /schedules": ("", {"json": SCHEDULE}, {"action": "schedule.created", "target": "new"}),
    "PUT /schedules/{schedule_id}": (
        "",
        {"json": {"cron": "* * * * *"}},
        {"action": "schedule.changed", "target": "schedule_id", "details": {"fields": ["cron"]}},
    ),
    "DELETE /schedules/{schedule_id}": (
        "",
        {},
        {"action": "schedule.deleted", "target": "schedule_id"},
    ),
    "PUT /schedules/by-name/{name}": (
        "/schedules/by-name/named",
        {"json": SCHEDULE},
        {"action": "schedule.changed", "target": "schedule_id"},
    ),
    "DELETE /schedules/by-name/{name}": (
        "/schedules/by-name/named",
        {},
        {"action": "schedule.deleted", "target": "schedule_id"},
    ),
    "POST /schedules/{schedule_id}/pause": (
        "",
        {},
        {"action": "schedule.paused", "target": "schedule_id"},
    ),
    "POST /schedules/{schedule_id}/resume": (
        "",
        {},
        {"action": "schedule.resumed", "target": "schedule_id"},
    ),
    "POST /schedules/{schedule_id}/trigger": (
        "",
        {},
        {
            "action": "schedule.triggered",
            "target": "schedule_id",
            "details": {"timer_id": "new"},
        },
    ),
    "POST /schedules/{schedule_id}/backfill": (
        "",
        {"json": BACKFILL},
        {"action": "schedule.backfilled", "target": "schedule_id", "count": 5},
    ),
    "POST /projects": (
        "",
        {"json": {"name": "new"}},
        {"action": "project.created", "target": "new-project"},
    ),
    "PUT /projects/{name}": (
        "/projects/default",
        {"json": {"default_retry": {}}},
        {
            "action": "project.changed",
            "target": "default",
            "details": {"settings": ["default_retry"]},
        },
    ),
    "DELETE /projects/{name}": (
        "/projects/shop",
        {},
        {"action": "project.deleted", "target": "shop"},
    ),
    "POST /keys": (
        "",
        {"json": {"name": "ci", "scopes": ["write", "read"]}},
        {"action": "key.created", "target": "new", "details": {"scopes": ["read", "write"]}},
    ),
    "DELETE /keys/{key_id}": ("", {}, {"action": "key.revoked", "target": "key_id"}),
    "POST /signing-secrets/rotate": (
        "",
        {"json": {"overlap_seconds": 60}},
        {"action": "secret.rotated", "target": "new", "details": {"overlap_seconds": 60}},
    ),
    "DELETE /signing-secrets/{secret_id}": (
        "",
        {},
        {"action": "secret.deleted", "target": "secret_id"},
    ),
    "PUT /flows/{flow_key}": (
        "",
        {"json": {"paused": True, "max_in_flight": 3}},
        {
            "action": "flow.changed",
            "target": "flow_key",
            "details": {"fields": ["max_in_flight", "paused"]},
        },
    ),
    "DELETE /flows/{flow_key}": ("", {}, {"action": "flow.deleted", "target": "flow_key"}),
    "POST /destinations/pause": (
        "",
        {"json": DESTINATION},
        {"action": "destination.paused", "target": "https://example.com:443"},
    ),
    "POST /destinations/resume": (
        "",
        {"json": DESTINATION},
        {"action": "destination.resumed", "target": "https://example.com:443"},
    ),
    "POST /pause": ("", {}, {"action": "project.paused", "target": "default"}),
    "POST /resume": ("", {}, {"action": "project.resumed", "target": "default"}),
}
"""By route: a path if it is another one, what is sent, and what is told of it."""


async def test_every_route_that_changes_something_is_named_here(api: ApiUnderTest) -> None:
    changing = {
        route.endpoint
        for route in all_routes(api.context)
        if route.method != "GET" and not route.is_open
    }
    # A schedule has something to move only after other zone data came.
    assert changing == TOLD.keys() | TELLS_NOTHING | {"POST /schedules/{schedule_id}/replan"}


@pytest.mark.parametrize("endpoint", TOLD)
async def test_what_a_route_has_done_is_told(api: ApiUnderTest, endpoint: str) -> None:
    things = Things(api)
    await things.make()
    other_path, request, expected = TOLD[endpoint]
    method, path = endpoint.split(" ")
    path = (other_path or path).format_map(things.ids)
    data = await sent(api, f"{method} {path}", **request)
    named = {**things.ids, "new": data.get("id"), "new-project": "new"}
    whole = {
        "at": "2030-01-01T00:01:00Z",
        "last_at": "2030-01-01T00:01:00Z",
        "target": None,
        "count": 1,
        "key_id": "API_KEY",
        "address": "127.0.0.1",
        "details": None,
        **expected,
    }
    whole["target"] = named.get(whole["target"], whole["target"])
    if whole["details"] == {"timer_id": "new"}:
        whole["details"] = {"timer_id": data["id"]}
    assert await audit(api) == [whole]


@pytest.mark.parametrize("endpoint", TOLD)
async def test_what_is_refused_is_not_told(
    api: ApiUnderTest, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    things = Things(api)
    await things.make()
    other_path, request, _ = TOLD[endpoint]
    method, path = endpoint.split(" ")
    path = (other_path or path).format_map(things.ids)
    reader = await api.create_key("metrics")
    await api.audit_log.write()
    api.storage._audit.clear()

    async def refused(**more: Any) -> httpx.Response:
        answer = await api.client.request(method, path, **{**request, **more})
        assert answer.status_code >= 400, answer.text
        return answer

    headers = request.get("headers", {})
    await refused(headers={**headers, "X-API-Key": "wrong"})
    await refused(headers={**headers, "X-API-Key": reader})
    if "json" in request:
        await refused(json={"unknown": 1})
    with monkeypatch.context() as patch:
        patch.setattr(api.health, "database_connected", False)
        patch.setattr("timer_trio.intake.intake.CREATE_DEADLINE_S", 0.05)
        patch.setattr("timer_trio.intake.names.CREATE_DEADLINE_S", 0.05)
        patch.setattr("timer_trio.intake.schedules.CREATE_DEADLINE_S", 0.05)

        async def fail(*_: object, **__: object) -> None:
            raise StorageUnavailableError("away")

        reads = {"write_audit", "audit", "known_key", "key_seal"}
        for verb in dir(api.storage):
            if not verb.startswith("_") and verb not in {*reads, "locked"}:
                patch.setattr(api.storage, verb, fail)
        await refused()
    assert await audit(api) == []


async def test_key_and_project_are_those_of_the_request(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    key = await api.create_key("write", project="shop")
    admin = await api.create_key("admin", project="shop")
    key_id = key.split("_")[1]
    await sent(api, "POST /timers", json=WANTED, headers={"X-API-Key": key})
    await sent(api, "POST /timers", json=WANTED, headers={"X-Project": "shop"})
    told = await audit(api, "?action=timer.created", **{"X-API-Key": admin})
    assert sorted(entry["key_id"] for entry in told) == sorted([key_id, "API_KEY"])
    assert await audit(api, "?action=timer.created") == []
    assert await audit(api, f"?key_id={key_id}") == []
    (own,) = await audit(api, f"?key_id={key_id}", **{"X-Project": "shop"})
    assert own in told


async def test_project_learns_who_has_changed_it_and_nobody_of_other_projects(
    api: ApiUnderTest,
) -> None:
    await api.create_project("shop")
    await sent(api, "PUT /projects/shop", json={"default_retry": {}})
    api.clock.advance(1)
    shop = await api.create_key("admin", project="shop")
    default = await api.create_key("admin")
    told = await audit(api, **{"X-API-Key": shop})
    assert [entry["action"] for entry in told] == ["key.created", "project.changed"]
    told = await audit(api, **{"X-API-Key": default})
    assert [entry["action"] for entry in told] == ["key.created"]
    assert [entry["action"] for entry in await audit(api)] == ["key.created", "project.created"]
    await sent(api, "DELETE /projects/shop?force=true")
    (gone,) = await audit(api, "?action=project.deleted")
    assert (gone["target"], gone["key_id"]) == ("shop", "API_KEY")


async def test_pause_is_told_in_the_project_that_it_holds_back(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    await sent(api, "POST /pause", headers={"X-Project": "shop"})
    assert await audit(api, "?action=project.paused") == []
    (told,) = await audit(api, "?action=project.paused", **{"X-Project": "shop"})
    assert (told["target"], told["key_id"]) == ("shop", "API_KEY")


async def test_creations_of_a_minute_are_one_entry(api: ApiUnderTest) -> None:
    for _ in range(10):
        await api.create()
        api.clock.advance(5)
    await sent(api, "POST /timers/batch", json={"timers": [WANTED] * 7})
    (entry,) = await audit(api)
    assert (entry["count"], entry["target"]) == (17, None)
    assert (entry["at"], entry["last_at"]) == ("2030-01-01T00:00:00Z", "2030-01-01T00:00:50Z")
    api.clock.advance(10)
    alone = await api.create()
    newest, oldest = await audit(api)
    assert (newest["target"], newest["count"]) == (alone["id"], 1)
    assert oldest == entry


@pytest.mark.parametrize(
    ("path", "body"),
    [("/timers", WANTED), ("/timers/batch", {"timers": [WANTED] * 3}), ("/schedules", SCHEDULE)],
)
async def test_repeated_creation_is_told_once(
    api: ApiUnderTest, path: str, body: dict[str, Any]
) -> None:
    counts = []
    for _ in range(3):
        await sent(api, f"POST {path}", json=body, headers={"Idempotency-Key": "k"})
        counts.append([entry["count"] for entry in await audit(api)])
        api.clock.advance(60)
    assert counts == [[len(body.get("timers", "1"))]] * 3


async def test_timer_that_was_kept_is_not_told_and_one_that_was_replaced_is(
    api: ApiUnderTest,
) -> None:
    known = await api.create(key="k")
    for on_conflict, told in (("keep", 1), ("replace", 2)):
        wanted = {**WANTED, "key": "k", "on_conflict": on_conflict}
        answer = await api.client.post("/timers", json=wanted)
        assert answer.status_code == 200
        assert len(await audit(api)) == told
    (changed,) = await audit(api, "?action=timer.changed")
    assert changed["target"] == known["id"]


async def test_what_has_changed_nothing_is_not_told(api: ApiUnderTest) -> None:
    await api.create()
    schedule = f"/schedules/{(await api.create_schedule())['id']}"
    await sent(api, f"POST {schedule}/backfill", json=BACKFILL)
    before = await audit(api)
    await sent(api, f"POST {schedule}/backfill", json=BACKFILL)
    await sent(api, f"POST {schedule}/replan")
    for body in (
        {"action": "cancel", "filter": {"status": "pending"}, "dry_run": True},
        {"action": "cancel", "filter": {"status": "completed"}},
    ):
        await sent(api, "POST /timers/bulk", json=body)
    await sent(api, "POST /timers/import", content="[]\n", headers=NDJSON)
    assert await audit(api) == before


async def test_nothing_secret_is_told(api: ApiUnderTest) -> None:
    sensitive = {
        "callback_headers": {"Authorization": SECRET, "X-Mine": SECRET},
        "callback_payload": SECRET,
        "callback_url": f"https://example.com/{SECRET}",
    }
    timer = await api.create(**sensitive)
    await sent(api, f"PUT /timers/{timer['id']}", json=sensitive)
    await sent(api, "PUT /timers/by-key/k", json={**WANTED, **sensitive})
    schedule = await api.create_schedule(**sensitive)
    await sent(api, f"PUT /schedules/{schedule['id']}", json=sensitive)
    key = await api.create_key("read")
    rotated = await sent(api, "POST /signing-secrets/rotate")
    told = json.dumps(await audit(api))
    for secret in (SECRET, key.split("_")[2], rotated["secret"], API_KEY):
        assert secret not in told
    assert '"callback_headers"' in told


async def test_long_filter_is_told_in_short(api: ApiUnderTest) -> None:
    long = "x" * 20_000
    await api.create(metadata={"a": long})
    await sent(api, "POST /timers/bulk", json={"action": "cancel", "filter": {"metadata.a": long}})
    (entry,) = await audit(api, "?action=timers.bulk")
    assert entry["details"]["filter"] == {"metadata.a": f"{'x' * MAX_TOLD_LENGTH}…"}


async def test_pages_hold_all_and_never_overlap(api: ApiUnderTest) -> None:
    for number in range(7):
        await api.create_key("read", name=str(number))
        api.clock.advance(1)
    whole = await page(api)
    assert (whole["limit"], whole["next_cursor"], len(whole["audit"])) == (50, None, 7)
    found: list[Any] = []
    cursor = ""
    while True:
        part = await page(api, f"?limit=3{cursor}")
        found += part["audit"]
        if part["next_cursor"] is None:
            break
        cursor = f"&cursor={part['next_cursor']}"
    assert found == whole["audit"]


async def test_bounds_and_filters_are_those_of_the_query(api: ApiUnderTest) -> None:
    for _ in range(3):
        await api.create_key("read")
        api.clock.advance(1)
    every = await audit(api)
    assert await audit(api, f"?target={every[1]['target']}") == [every[1]]
    assert await audit(api, "?after=2030-01-01T00:00:01Z") == every[:1]
    assert await audit(api, "?before=2030-01-01T00:00:01Z") == every[2:]
    assert await audit(api, "?key_id=API_KEY&action=key.created") == every
    assert await audit(api, f"?key_id={'f' * 24}") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("action=timer.exploded", "action"),
        ("key_id=mine", "key_id"),
        ("target=", "target"),
        ("after=yesterday", "after"),
        ("before=1", "before"),
        ("limit=201", "limit"),
        ("offset=1", "offset"),
        ("cursor=abc", "cursor"),
        ("key=1", "key"),
    ],
)
async def test_wrong_parameter_is_named(api: ApiUnderTest, query: str, field: str) -> None:
    answer = await api.client.get(f"/audit?{query}")
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["data"]["errors"]] == [field]


async def test_cursor_is_of_one_list(api: ApiUnderTest) -> None:
    for _ in range(2):
        await api.create_key("read")
        await api.create()
    cursor = (await page(api, "?limit=1"))["next_cursor"]
    timers = (await api.client.get("/timers?limit=1")).json()["data"]["next_cursor"]
    assert (await api.client.get(f"/audit?cursor={cursor}")).status_code == 200
    for path in (
        f"/audit?action=key.created&cursor={cursor}",
        f"/audit?cursor={timers}",
        f"/timers?cursor={cursor}",
        f"/schedules?cursor={cursor}",
    ):
        assert (await api.client.get(path)).status_code == 400, path
    key = await api.create_key("admin")
    headers = {"X-API-Key": key}
    assert (await api.client.get(f"/audit?cursor={cursor}", headers=headers)).status_code == 400


async def test_audit_is_for_administrators_and_says_when_it_cannot_be_read(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await api.create_key("write")
    answer = await api.client.get("/audit", headers={"X-API-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (403, 7)

    async def fail(_: object) -> None:
        raise StorageUnavailableError("away")

    monkeypatch.setattr(api.storage, "audit", fail)
    assert (await api.client.get("/audit")).status_code == 503
