"""Credentials in headers, and who is shown them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import pytest

from tests.api_under_test import SCHEDULE, WANTED, ApiUnderTest, running_api
from timer_trio.api import auth
from timer_trio.api.principal import Principal
from timer_trio.api.route import Route
from timer_trio.api.routes import all_routes
from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.masking import MASK
from timer_trio.domain.project import DEFAULT_PROJECT, Scope
from timer_trio.domain.settlement import Failed
from timer_trio.domain.timer import Claim, TimerId

HEADERS: Final = {
    "Authorization": "Bearer s3cret",
    "COOKIE": "s3cret",
    "x-api-key": "s3cret",
    "X_Api-Key": "s3cret",
    "X-Token": "s3cret",
    "X-Other": "shown",
}
MASKED: Final = {name: "shown" if name == "X-Other" else MASK for name in HEADERS}
TARGET: Final = {"url": "https://example.org/", "headers": HEADERS}
SECRETS: Final = {"callback_headers": HEADERS, "on_completed": TARGET, "on_failed": TARGET}
ANSWERED: Final = KeptAnswer(
    headers=(("Set-Cookie", "s3cret"), ("x-token", "s3cret"), ("Server", "shown")),
    body=b"",
    is_truncated=False,
)
USER: Final = Principal(project=DEFAULT_PROJECT, scopes=frozenset({Scope.READ, Scope.WRITE}))
BODIES: Final[dict[str, Any]] = {
    "PUT /timers/{timer_id}": {"metadata": {"a": 1}},
    "PUT /timers/by-key/{key}": {**WANTED, **SECRETS},
    "POST /timers": {**WANTED, **SECRETS},
    "POST /timers/batch": {"timers": [{**WANTED, **SECRETS}]},
    "PUT /schedules/{schedule_id}": {"metadata": {"a": 1}},
    "PUT /schedules/by-name/{name}": {**SCHEDULE, **SECRETS},
    "POST /schedules": {**SCHEDULE, **SECRETS},
    "PUT /flows/{flow_key}": {"paused": True},
    "POST /destinations/pause": {"destination": "https://example.com"},
    "POST /destinations/resume": {"destination": "https://example.com"},
}
"""What a route is sent that takes headers, or shows something afterwards."""


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api(sensitive=("X-TOKEN",)) as running:
        yield running


@pytest.fixture
def _user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whoever asks be no administrator."""
    monkeypatch.setattr(auth, "SERVICE", USER)


async def made(api: ApiUnderTest) -> dict[str, str]:
    """Make one of each; answers with what stands for the parameters of paths."""
    timer = await api.create(**SECRETS, retry={"max_attempts": 2}, key="k")
    await api.begin(timer["id"])
    record = AttemptRecord(
        attempt=1,
        started_at=api.clock.now(),
        ended_at=api.clock.now(),
        outcome="rejected",
        http_status=503,
        error="HTTP 503",
        answer=ANSWERED,
    )
    failed = Failed(
        timer_id=TimerId(UUID(timer["id"])),
        claim=Claim(1),
        is_begun=True,
        executed_at=api.clock.now(),
        last_error="HTTP 503",
        attempts=(record,),
    )
    assert await api.storage.settle([failed], api.clock.now()) == [True]
    schedule = await api.create_schedule(**SECRETS, name="n")
    return {
        "timer_id": timer["id"],
        "key": "k",
        "schedule_id": schedule["id"],
        "name": "n",
        "flow_key": "f",
        "key_id": "none",
        "secret_id": "none",
    }


async def answers(api: ApiUnderTest) -> dict[str, str]:
    """Ask every route; answers with what each said, those last that end something."""
    parameters = await made(api)
    asked: dict[str, str] = {}
    routes = [route for route in all_routes(api.context) if not route.is_open]
    for route in sorted(routes, key=lambda route: route.method == "DELETE"):
        asked[f"{route.method} {route.path}"] = await ask(api, route, parameters)
    return asked


async def ask(api: ApiUnderTest, route: Route, parameters: dict[str, str]) -> str:
    path = route.path.format(**parameters)
    body = BODIES.get(f"{route.method} {route.path}", {})
    answer = await api.client.request(
        route.method,
        path,
        content=json.dumps(body) if route.body else None,
        headers={"Content-Type": "application/json"} if route.body else {},
    )
    assert answer.status_code < 500, (route.path, answer.text)
    return answer.text


SHOWING: Final = {
    "GET /timers/{timer_id}",
    "GET /timers/{timer_id}/attempts",
    "GET /timers/by-key/{key}",
    "GET /schedules/{schedule_id}",
    "GET /schedules/by-name/{name}",
    "PUT /schedules/{schedule_id}",
    "PUT /schedules/by-name/{name}",
    "POST /schedules",
    "POST /schedules/{schedule_id}/pause",
    "POST /schedules/{schedule_id}/resume",
}
"""The routes whose answers hold headers."""


@pytest.mark.usefixtures("_user")
async def test_no_route_shows_a_credential_to_who_is_no_administrator(api: ApiUnderTest) -> None:
    asked = await answers(api)
    assert {name for name, text in asked.items() if "s3cret" in text} == set()
    assert {name for name, text in asked.items() if "shown" in text} == SHOWING


async def test_administrator_is_shown_all(api: ApiUnderTest) -> None:
    asked = await answers(api)
    assert {name for name, text in asked.items() if "s3cret" in text} == SHOWING
    assert {name for name, text in asked.items() if MASK in text} == set()


@pytest.mark.usefixtures("_user")
async def test_what_is_masked_is_the_value_alone(api: ApiUnderTest) -> None:
    parameters = await made(api)
    timer = await api.get(parameters["timer_id"])
    assert timer["callback_headers"] == MASKED
    assert timer["on_completed"] == timer["on_failed"] == {**TARGET, "headers": MASKED}
    answer = await api.client.get(f"/timers/{parameters['timer_id']}/attempts")
    (attempt,) = answer.json()["data"]["attempts"]
    assert attempt["response"]["headers"] == [
        ["Set-Cookie", MASK],
        ["x-token", MASK],
        ["Server", "shown"],
    ]


@pytest.mark.parametrize("repeated_by", [Scope.ADMIN, Scope.WRITE])
async def test_a_repeated_create_shows_no_credential_to_anybody(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch, repeated_by: Scope
) -> None:
    key = {"Idempotency-Key": "k"}
    first = await api.client.post("/schedules", json={**SCHEDULE, **SECRETS}, headers=key)
    scopes = frozenset({repeated_by})
    monkeypatch.setattr(auth, "SERVICE", Principal(project=DEFAULT_PROJECT, scopes=scopes))
    again = await api.client.post("/schedules", json={**SCHEDULE, **SECRETS}, headers=key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content
    assert again.json()["data"]["callback_headers"] == MASKED


@pytest.mark.usefixtures("_user")
async def test_what_was_masked_cannot_be_sent_back(api: ApiUnderTest) -> None:
    created = await api.create(**SECRETS)
    shown = await api.get(created["id"])
    for name in ("callback_headers", "on_completed", "on_failed"):
        answer = await api.client.put(f"/timers/{created['id']}", json={name: shown[name]})
        assert answer.status_code == 400
        (error,) = answer.json()["data"]["errors"]
        assert error["field"].startswith(name)
        assert "is … where its value is not shown to this key" in error["message"]
    answer = await api.client.put(f"/timers/{created['id']}", json={"metadata": {"a": 1}})
    assert answer.status_code == 200
    kept = await api.storage.get(TimerId(UUID(created["id"])))
    assert kept.spec.callback.headers == HEADERS
    schedule = await api.create_schedule(**SECRETS)
    answer = await api.client.put(f"/schedules/{schedule['id']}", json={"callback_headers": MASKED})
    assert answer.status_code == 400
