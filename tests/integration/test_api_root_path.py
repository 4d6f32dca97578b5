from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from tests.api_under_test import SCHEDULE, WANTED, ApiUnderTest, running_api
from timer_trio.api.routes import all_routes
from timer_trio.config import OWN_FOLDERS

PREFIX = "/tools/timer-trio"


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api(root_path=PREFIX) as running:
        yield running


@pytest.mark.parametrize("before", ["", PREFIX])
async def test_prefix_may_have_been_taken_away_or_left_there(
    api: ApiUnderTest, before: str
) -> None:
    created = await api.client.post(f"{before}/timers", json=WANTED)
    assert created.status_code == 201
    timer_id = created.json()["data"]["id"]
    assert (await api.client.get(f"{before}/timers/{timer_id}")).status_code == 200
    assert (await api.client.put(f"{before}/timers/by-key/a%2Fb", json=WANTED)).status_code == 201
    batch = {"timers": [WANTED] * 2}
    assert (await api.client.post(f"{before}/timers/batch", json=batch)).status_code == 201
    assert (await api.client.get(f"{before}/health")).status_code == 200
    assert (await api.client.get(f"{before}/")).json()["data"]["name"] == "timer-trio"


async def test_prefix_alone_leads_to_the_root(api: ApiUnderTest) -> None:
    assert (await api.client.get(PREFIX)).json()["data"]["name"] == "timer-trio"


@pytest.mark.parametrize(
    "path", [f"{PREFIX}-2/timers", f"{PREFIX}{PREFIX}/timers", "/tools/timers"]
)
async def test_what_only_resembles_the_prefix_is_none(api: ApiUnderTest, path: str) -> None:
    assert (await api.client.get(path)).status_code == 404


async def test_location_leads_through_the_proxy(api: ApiUnderTest) -> None:
    for path, body in {"/timers": WANTED, "/schedules": SCHEDULE}.items():
        headers = {"Idempotency-Key": f"once for {path}".replace(" ", "-")}
        answers = [await api.client.post(path, json=body, headers=headers) for _ in range(2)]
        new_id = answers[0].json()["data"]["id"]
        assert [answer.headers["location"] for answer in answers] == [
            f"{PREFIX}{path}/{new_id}"
        ] * 2
        assert (await api.client.get(answers[0].headers["location"])).status_code == 200


async def test_document_says_where_its_paths_are(api: ApiUnderTest) -> None:
    document = (await api.client.get(f"{PREFIX}/openapi.json")).json()
    assert document["servers"] == [{"url": PREFIX}]
    assert all(not path.startswith(PREFIX) for path in document["paths"])


async def test_root_names_what_can_be_followed(api: ApiUnderTest) -> None:
    data = (await api.client.get(f"{PREFIX}/")).json()["data"]
    assert {data["docs"], data["openapi"], data["health"]} == {
        *(f"{PREFIX}/docs", f"{PREFIX}/openapi.json", f"{PREFIX}/health"),
    }


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_links_of_pages_stay_under_the_prefix(api: ApiUnderTest, path: str) -> None:
    here = f"http://api{PREFIX}{path}"
    page = await api.client.get(here, headers={"Accept": "text/html"})
    links = [page.url.join(link) for link in re.findall(r'(?:href|src)="([^"#]+)"', page.text)]
    ours = [link for link in links if link.host == "api"]
    assert ours
    for link in ours:
        assert link.path.startswith(f"{PREFIX}/"), link
        assert (await api.client.get(link)).status_code == 200


async def test_without_a_setting_no_prefix_is_known() -> None:
    async with running_api() as api:
        assert (await api.client.get(f"{PREFIX}/timers")).status_code == 404
        created = await api.client.post("/timers", json=WANTED)
        assert created.headers["location"].startswith("/timers/")


async def test_no_prefix_can_be_taken_for_a_path_of_the_service() -> None:
    async with running_api() as api:
        first = {route.path.split("/")[1] for route in all_routes(api.context)}
    assert first - {""} <= OWN_FOLDERS
