"""Whoever has a key of one project neither sees nor changes what is in another, on any route."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import product
from typing import Any, Final, NamedTuple
from uuid import UUID

import pytest

from tests.api_under_test import SCHEDULE, START, WANTED, ApiUnderTest, running_api
from timer_trio.api.route import Route
from timer_trio.api.routes import all_routes
from timer_trio.domain.destination import (
    NO_DURATIONS,
    NO_ENDS,
    Counted,
    DestinationNow,
    DestinationReport,
)
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import Destination, Lane, ReplicaId, TimerId

MARKER: Final = "what-is-theirs"
NAME: Final = "of-theirs"
THEIRS: Final = {**WANTED, "metadata": {"who": MARKER}, "callback_headers": {"X-Of": MARKER}}
_OWN_BY_NAME: Final = {
    "/timers/by-key/{key}": 201,
    "/schedules/by-name/{name}": 201,
    "/flows/{flow_key}": 200,
}
"""Where a PUT makes what is one's own, whatever has the same name elsewhere, and its status."""


class Theirs(NamedTuple):
    """What is in the other project."""

    project: ProjectId
    ids: dict[str, Sequence[str]]
    """Values of the parameters of paths that lead to it."""


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


@pytest.fixture
async def mine(api: ApiUnderTest) -> str:
    await api.create_project("mine")
    return await api.create_key("admin", project="mine")


@pytest.fixture
async def theirs(api: ApiUnderTest, mine: str) -> Theirs:
    del mine  # fixtures share their context variables: not both at once
    project = await api.create_project("theirs")
    key = await api.create_key("admin", project="theirs")

    async def made(path: str, body: dict[str, Any]) -> str:
        answer = await api.client.post(path, json=body, headers={"X-API-Key": key})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["data"]["id"])

    pending = await made("/timers", THEIRS)
    named = await made("/timers", {**THEIRS, "key": NAME})
    ended = await made("/timers", THEIRS)
    canceled = await api.client.delete(f"/timers/{ended}", headers={"X-API-Key": key})
    assert canceled.status_code == 200
    schedule = await made("/schedules", {**SCHEDULE, "name": NAME, "metadata": {"who": MARKER}})
    as_them = {"X-API-Key": key}
    flow = await api.client.put(f"/flows/{NAME}", json={"max_in_flight": 77}, headers=as_them)
    assert flow.status_code == 200
    where = {"destination": f"https://{MARKER}.example"}
    replica = ReplicaId(UUID(int=7))
    await api.storage.join(replica, START)
    lanes = [Lane(Destination(f"https://{n}.{MARKER}.example:443"), project) for n in (1, 2)]
    counted = [Counted(lanes[0], START, NO_ENDS, NO_DURATIONS)]
    in_hand = [DestinationNow(lanes[1], 1, 1)]
    await api.storage.note_destinations(
        DestinationReport(counter=replica, replica=replica, at=START, counted=counted, now=in_hand)
    )
    known = await api.client.get("/destinations", headers=as_them)
    assert len(known.json()["data"]["destinations"]) == len(lanes)
    for path, body in (("/destinations/pause", where), ("/pause", {})):
        assert (await api.client.post(path, json=body, headers=as_them)).status_code == 200
    listed = await api.client.get("/signing-secrets", headers={"X-API-Key": key})
    (secret,) = listed.json()["data"]["signing_secrets"]
    await api.audit_log.write()
    return Theirs(
        project,
        {
            "timer_id": [pending, named, ended],
            "schedule_id": [schedule],
            "key": [NAME],
            "name": [NAME],
            "flow_key": [NAME],
            "project": ["theirs"],
            "key_id": [key.split("_")[1]],
            "secret_id": [secret["id"]],
        },
    )


def everything(api: ApiUnderTest, project: ProjectId) -> list[object]:
    """Return all rows of a project, but when its keys were last used."""
    storage = api.storage
    return [
        [row for row in storage._rows.values() if row.project == project],
        [each for each in storage._schedules.values() if each.project == project],
        [item for item in storage._names.items() if item[0][0] == project],
        [row.key.id for row in storage._api_keys.values() if row.key.project == project],
        storage._projects[project],
        storage._signing.get(project),
        [item for item in storage._flows.items() if item[0].project == project],
        [item for item in storage._paused_destinations.items() if item[0][0] == project],
        [each for each in storage._audit.values() if each.project == project],
    ]


def paths_of(route: Route, theirs: Theirs) -> Iterator[str]:
    """Yield the paths of a route that lead to what is in the other project."""
    path = "/projects/{project}" if route.path.startswith("/projects/{") else route.path
    names = re.findall(r"\{(\w+)\}", path)
    for values in product(*(theirs.ids[name] for name in names)):
        yield path.format_map(dict(zip(names, values, strict=True)))


def body_of(route: Route) -> dict[str, Any]:
    if route.body is None:
        return {}
    example = route.body.example
    text = example if isinstance(example, str) else json.dumps(example)
    return {"content": text, "headers": {"Content-Type": route.body.media}}


async def test_no_route_tells_or_changes_what_is_of_another_project(
    api: ApiUnderTest, mine: str, theirs: Theirs
) -> None:
    before = everything(api, theirs.project)
    asked = 0
    # Last what makes one's own of the same name.
    for route in sorted(all_routes(api.context), key=lambda route: route.method == "PUT"):
        if route.is_open:
            continue
        for path in paths_of(route, theirs):
            asked += 1
            request = body_of(route)
            request["headers"] = {**request.get("headers", {}), "X-API-Key": mine}
            answer = await api.client.request(route.method, path, **request)
            what = f"{route.method} {path}: {answer.status_code} {answer.text}"
            assert MARKER not in answer.text, what
            assert not any(each in answer.text for each in theirs.ids["timer_id"]), what
            if "{" in route.path:
                makes_its_own = route.method == "PUT" and route.path in _OWN_BY_NAME
                expected = {_OWN_BY_NAME[route.path]} if makes_its_own else {403, 404}
                assert answer.status_code in expected, what
            await api.audit_log.write()
            assert everything(api, theirs.project) == before, what
    assert asked > 25


async def test_what_is_done_to_all_is_done_to_ones_own(
    api: ApiUnderTest, mine: str, theirs: Theirs
) -> None:
    before = everything(api, theirs.project)
    headers = {"X-API-Key": mine}
    for action in ("cancel", "redrive", "delete"):
        for wanted in ({"metadata.who": MARKER}, {"execute_after": "2029-01-01T00:00:00Z"}):
            body = {"action": action, "filter": wanted}
            answer = await api.client.post("/timers/bulk", json=body, headers=headers)
            assert json.loads(answer.text.splitlines()[-1])["data"]["matched"] == 0
    for path in ("/timers", f"/timers?metadata.who={MARKER}", "/schedules", f"/timers?key={NAME}"):
        answer = await api.client.get(path, headers=headers)
        assert MARKER not in answer.text
    assert everything(api, theirs.project) == before


async def test_same_keys_of_idempotency_are_different_ones(
    api: ApiUnderTest, mine: str, theirs: Theirs
) -> None:
    other = await api.create_key("write", project="theirs")
    ids = set[TimerId]()
    for key in (mine, other, mine, other):
        headers = {"X-API-Key": key, "Idempotency-Key": "same"}
        answer = await api.client.post("/timers", json=WANTED, headers=headers)
        assert answer.status_code == 201
        ids.add(answer.json()["data"]["id"])
    assert len(ids) == 2
    assert theirs.project
