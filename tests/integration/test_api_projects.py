"""Projects: who may know of them, what their settings do, and how they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from tests.api_under_test import (
    API_KEY,
    SCHEDULE,
    WANTED,
    ApiUnderTest,
    besides_requests,
    running_api,
)
from tests.bad_projects import BAD_PROJECTS
from timer_trio.access.project_end import ProjectEnd, ProjectNotEmptyError
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.project import DEFAULT_PROJECT, Live, ProjectSettings
from timer_trio.maintenance.deleted_projects import DeletedProjects

ELSEWHERE = {**WANTED, "callback_url": "https://other.example.net/hook"}


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def asked(api: ApiUnderTest, method: str, path: str, key: str = API_KEY, **how: Any) -> Any:
    headers = {"X-API-Key": key, **how.pop("headers", {})}
    return await api.client.request(method, path, headers=headers, **how)


def test_every_bad_input_is_another() -> None:
    claims = [bad.claim for bad in BAD_PROJECTS]
    assert len(set(claims)) == len(claims) >= 100


async def test_every_bad_input_is_refused_in_the_envelope(api: ApiUnderTest) -> None:
    faults = []
    timer_id = (await api.create())["id"]
    with capture_logs() as logs:
        for bad in BAD_PROJECTS:
            answer = await api.client.send(bad.request("http://api", API_KEY, timer_id))
            if fault := bad.fault_in(answer):
                faults.append(f"{bad.claim}: {fault}")
    assert not faults, "\n".join(faults)
    assert not besides_requests(logs)
    assert [project.name for project in await api.storage.projects()] == ["default"]
    assert await api.storage.api_keys(DEFAULT_PROJECT) == []


async def test_project_is_created_listed_changed_and_deleted(api: ApiUnderTest) -> None:
    made = await asked(api, "POST", "/projects", json={"name": "shop"})
    expected = {
        "name": "shop",
        "created_at": "2030-01-01T00:00:00Z",
        "closed_at": None,
        "paused_since": None,
        "allowed_hosts": None,
        "default_retry": None,
        "rate_limit": None,
        "max_in_flight": None,
        "breaker": None,
        "max_live_timers": None,
    }
    assert (made.status_code, made.json()["data"]) == (201, expected)
    listed = (await asked(api, "GET", "/projects")).json()["data"]["projects"]
    assert [each["name"] for each in listed] == ["default", "shop"]
    hosts = ["Example.com.", "*.example.org", "example.com", "::1"]
    changed = await asked(api, "PUT", "/projects/shop", json={"allowed_hosts": hosts})
    assert changed.json()["data"]["allowed_hosts"] == ["example.com", "*.example.org", "::1"]
    retry = {"default_retry": {"max_attempts": 3, "delays": [1, 2]}}
    changed = (await asked(api, "PUT", "/projects/shop", json=retry)).json()["data"]
    assert changed["default_retry"]["delays"] == [1, 2]
    assert changed["allowed_hosts"]
    for limit, burst in (({"requests_per_second": 2.5}, 3), ({"requests_per_second": 0.1}, 1)):
        changed = (await asked(api, "PUT", "/projects/shop", json={"rate_limit": limit})).json()
        changed = changed["data"]
        assert changed["rate_limit"] == {**limit, "burst": burst}
    most = {"max_live_timers": 100_000}
    changed = (await asked(api, "PUT", "/projects/shop", json=most)).json()["data"]
    assert (changed["max_live_timers"], changed["rate_limit"]["burst"]) == (100_000, 1)
    assert (await asked(api, "GET", "/projects/shop")).json()["data"] == changed
    deleted = await asked(api, "DELETE", "/projects/shop")
    assert (deleted.status_code, deleted.json()["data"]) == (200, {"name": "shop"})
    assert (await asked(api, "GET", "/projects/shop")).status_code == 404
    assert (await asked(api, "POST", "/projects", json={"name": "shop"})).status_code == 201


async def test_key_knows_of_its_own_project_alone(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    await api.create_project("other")
    key = await api.create_key("admin", project="shop")
    assert (await asked(api, "GET", "/projects/shop", key)).status_code == 200
    change: dict[str, Any] = {"default_retry": {}}
    assert (await asked(api, "PUT", "/projects/shop", key, json=change)).status_code == 200
    for name in ("other", "default", "nobody"):
        assert (await asked(api, "GET", f"/projects/{name}", key)).status_code == 404
        assert (await asked(api, "PUT", f"/projects/{name}", key, json=change)).status_code == 404
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/shop"), ("DELETE", "/other")):
        answer = await asked(api, method, f"/projects{path}", key)
        assert (answer.status_code, answer.json()["code"]) == (403, 7)
        assert "API_KEY" in answer.json()["message"]


async def test_header_names_the_project_to_act_in(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    key = await api.create_key("admin", project="shop")
    in_shop: Any = {"headers": {"X-Project": "shop"}}
    listed = (await asked(api, "GET", "/keys", **in_shop)).json()["data"]["keys"]
    assert [each["id"] for each in listed] == [key.split("_")[1]]
    assert (await asked(api, "GET", "/keys")).json()["data"]["keys"] == []
    assert (await asked(api, "GET", "/keys", key, **in_shop)).status_code == 200
    in_default: Any = {"headers": {"X-Project": "default"}}
    answer = await asked(api, "GET", "/keys", key, **in_default)
    assert (answer.status_code, answer.json()["code"]) == (403, 7)
    assert "X-Project" in answer.json()["message"]
    two = [("X-API-Key", API_KEY), ("X-Project", "shop"), ("X-Project", "default")]
    answer = await api.client.get("/keys", headers=two)
    assert (answer.status_code, "several" in answer.text) == (400, True)


async def test_default_retry_is_of_what_names_none(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    key = await api.create_key("write", project="shop")
    policy = {"max_attempts": 7}
    await asked(api, "PUT", "/projects/shop", json={"default_retry": policy})

    async def attempts(path: str, body: dict[str, Any]) -> Any:
        answer = await asked(api, "POST", path, key, json=body)
        assert answer.status_code == 201, answer.text
        made = await asked(api, "GET", f"{path}/{answer.json()['data']['id']}", key)
        return (made.json()["data"]["retry"] or {"max_attempts": 1})["max_attempts"]

    assert await attempts("/timers", WANTED) == 7
    assert await attempts("/timers", {**WANTED, "key": "k"}) == 7
    assert await attempts("/timers", {**WANTED, "retry": None}) == 1
    assert await attempts("/timers", {**WANTED, "retry": {"max_attempts": 2}}) == 2
    assert await attempts("/schedules", SCHEDULE) == 7
    assert await attempts("/schedules", {**SCHEDULE, "retry": None}) == 1
    assert (await api.get((await api.create())["id"]))["retry"] is None


async def test_settings_of_the_default_project_hold_for_the_key_of_the_service(
    api: ApiUnderTest,
) -> None:
    policy = {"default_retry": {"max_attempts": 4}}
    assert (await asked(api, "PUT", "/projects/default", json=policy)).status_code == 200
    assert (await api.get((await api.create())["id"]))["retry"]["max_attempts"] == 4
    api.key_ring.note_default_settings(ProjectSettings())  # as another replica's heartbeat does
    assert (await api.get((await api.create())["id"]))["retry"] is None


async def test_callbacks_go_to_allowed_hosts_alone(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    key = await api.create_key("write", project="shop")
    hosts = {"allowed_hosts": ["example.com", "*.example.org"]}
    await asked(api, "PUT", "/projects/shop", json=hosts)
    for path, body, field in (
        ("/timers", ELSEWHERE, "callback_url"),
        ("/timers", {**WANTED, "on_failed": {"url": "https://evil.org/"}}, "on_failed.url"),
        ("/timers/batch", {"timers": [WANTED, ELSEWHERE]}, "timers.1.callback_url"),
        ("/schedules", {**SCHEDULE, "callback_url": "https://example.org/"}, "callback_url"),
    ):
        answer = await asked(api, "POST", path, key, json=body)
        assert answer.status_code == 400, answer.text
        assert "example.com, *.example.org" in answer.json()["message"]
        assert field.rpartition(".")[2] in answer.json()["message"]
    for url in ("https://EXAMPLE.com./a", "http://a.b.example.org:8080/"):
        made = await asked(api, "POST", "/timers", key, json={**WANTED, "callback_url": url})
        assert made.status_code == 201, made.text
    timer = f"/timers/{made.json()['data']['id']}"
    in_shop: Any = {"headers": {"X-Project": "shop"}}
    elsewhere = {"callback_url": ELSEWHERE["callback_url"]}
    assert (await asked(api, "PUT", timer, json=elsewhere, **in_shop)).status_code == 400
    assert (await api.client.post("/timers", json=ELSEWHERE)).status_code == 201


async def test_project_with_something_live_stays_unless_by_force(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await api.create_project("shop")
    key = await api.create_key("read", project="shop")
    await api.create()
    await api.create_schedule()
    # What is in the default project is this one's, as far as the storage knows.
    live, empty = api.storage.live_in, api.storage.empty_project
    monkeypatch.setattr(api.storage, "live_in", lambda _: live(DEFAULT_PROJECT))
    monkeypatch.setattr(api.storage, "empty_project", lambda _, *how: empty(DEFAULT_PROJECT, *how))
    refused = await asked(api, "DELETE", "/projects/shop")
    assert (refused.status_code, refused.json()["code"]) == (409, 5)
    counts = refused.json()["data"]
    assert (counts["timers"] > 1, counts["schedules"]) == (True, 1)
    assert "force=true" in refused.json()["message"]
    assert (await asked(api, "GET", "/timers", key)).status_code == 200
    assert (await asked(api, "DELETE", "/projects/shop?force=true")).status_code == 200
    assert await live(DEFAULT_PROJECT) == (0, 0)
    assert (await asked(api, "GET", "/timers", key)).status_code == 401
    assert [*await api.storage.deleted_projects()] == [shop]


async def test_executing_timer_keeps_its_project_closed(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.create_project("shop")
    await api.begin((await api.create())["id"])
    live = api.storage.live_in
    monkeypatch.setattr(api.storage, "live_in", lambda _: live(DEFAULT_PROJECT))
    refused = await asked(api, "DELETE", "/projects/shop?force=true")
    assert (refused.status_code, refused.json()["data"]) == (409, {"timers": 1, "schedules": 0})
    closed = (await asked(api, "GET", "/projects/shop")).json()["data"]
    assert closed["closed_at"] == "2030-01-01T00:00:00Z"
    answer = await asked(api, "GET", "/timers", headers={"X-Project": "shop"})
    assert (answer.status_code, "X-Project" in answer.text) == (400, True)
    monkeypatch.undo()
    assert (await asked(api, "DELETE", "/projects/shop")).status_code == 200


async def test_what_comes_while_a_project_is_closed_keeps_it(
    api: ApiUnderTest, autojump_clock: trio.testing.MockClock
) -> None:
    """A replica that knows a key from before serves it for five seconds."""
    del autojump_clock
    await api.create_project("shop")
    shop = await api.storage.project_named("shop")
    assert shop is not None
    end = ProjectEnd(storage=api.storage, clock=api.clock, key_ring=api.key_ring)
    lives = iter([Live(0, 0), Live(1, 0)])
    counted: list[float] = []

    async def live_in(_: object) -> Any:
        counted.append(trio.current_time())
        return next(lives)

    api.storage.live_in = live_in  # type: ignore[method-assign,assignment]
    with pytest.raises(ProjectNotEmptyError, match="1 timers and 0 schedules live in it"):
        await end.delete_empty(shop)
    assert counted[1] - counted[0] >= 5
    found = await api.storage.project_named("shop")
    assert found == shop  # open again


async def test_late_timers_of_deleted_projects_are_canceled(
    api: ApiUnderTest, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    shop = await api.create_project("shop")
    await api.storage.close_project(shop, api.clock.now())
    await api.storage.delete_project(shop)
    emptied: list[object] = []
    fails = iter([True])

    async def empty_project(project: object, *_: object) -> int:
        if next(fails, False):
            raise StorageUnavailableError("away")
        emptied.append(project)
        return 0

    api.storage.empty_project = empty_project  # type: ignore[method-assign,assignment]
    async with trio.open_nursery() as nursery:
        stage = DeletedProjects(storage=api.storage, clock=api.clock)
        nursery.start_soon(stage.run)
        await trio.sleep(3 * 3600)
        assert emptied == [shop] * 2
        api.clock.advance(86_401)
        await trio.sleep(2 * 3600)
        assert emptied == [shop] * 3
        assert await api.storage.deleted_projects() == {}
        nursery.cancel_scope.cancel()
