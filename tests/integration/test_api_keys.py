"""Keys: whom they let in, for what, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio

from tests.api_under_test import API_KEY, START, WANTED, ApiUnderTest, running_api
from timer_trio.access.key_uses import KeyUses
from timer_trio.api.auth import WRONG_KEYS
from timer_trio.api.routes import all_routes
from timer_trio.domain.api_key import KeyId, KnownKey
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.project import Scope
from timer_trio.storage.memory import MemoryStorage

MADE_UP = f"tt_{'0' * 24}_{'0' * 64}"


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def with_key(api: ApiUnderTest, key: str, path: str = "/timers") -> httpx.Response:
    return await api.client.get(path, headers={"X-API-Key": key})


async def status_with(api: ApiUnderTest, key: str) -> int:
    return (await with_key(api, key)).status_code


async def revoke(api: ApiUnderTest, key: str) -> httpx.Response:
    return await api.client.delete(f"/keys/{key.split('_')[1]}")


class Counted:
    """Counts how often keys are read, which takes `delay_s` on the way back."""

    def __init__(self, storage: MemoryStorage, delay_s: float = 0) -> None:
        self.read: list[KeyId] = []
        self.error: Exception | None = None
        self._delay_s = delay_s
        self._known_key = storage.known_key
        storage.known_key = self._ask  # type: ignore[method-assign]

    async def _ask(self, key_id: KeyId) -> KnownKey | None:
        self.read.append(key_id)
        if self.error is not None:
            raise self.error
        known = await self._known_key(key_id)
        await trio.sleep(self._delay_s)
        return known


async def test_key_is_shown_once_and_opens_what_it_is_for(api: ApiUnderTest) -> None:
    body = {"name": "ci", "scopes": ["write", "read"], "expires_at": "2031-01-01T00:00:00+01:00"}
    made = await api.client.post("/keys", json=body)
    assert made.status_code == 201, made.text
    data = made.json()["data"]
    key = data.pop("key")
    assert data == {
        "id": key.split("_")[1],
        "name": "ci",
        "scopes": ["read", "write"],
        "created_at": "2030-01-01T00:00:00Z",
        "expires_at": "2030-12-31T23:00:00Z",
    }
    assert await status_with(api, key) == 200
    bearer = {"Authorization": f"Bearer {key}"}
    del api.client.headers["X-API-Key"]
    assert (await api.client.post("/timers", json=WANTED, headers=bearer)).status_code == 201
    listed = await api.client.get("/keys", headers={"X-API-Key": API_KEY})
    assert listed.json()["data"] == {"keys": [{**data, "last_used_at": None}]}
    assert key.split("_")[2] not in listed.text


async def test_key_of_unknown_route_is_told_so(api: ApiUnderTest) -> None:
    key = await api.create_key("metrics")
    assert (await with_key(api, key, "/nowhere")).status_code == 404
    assert (await with_key(api, MADE_UP, "/nowhere")).status_code == 401
    options = await api.client.options("/timers", headers={"X-API-Key": key})
    assert options.status_code == 204
    head = await api.client.head("/timers", headers={"X-API-Key": key})
    assert head.status_code == 403


async def test_revoked_key_opens_nothing(api: ApiUnderTest) -> None:
    key = await api.create_key("read")
    assert await status_with(api, key) == 200
    assert (await revoke(api, key)).json()["data"] == {"id": key.split("_")[1]}
    answer = await with_key(api, key)
    assert (answer.status_code, "revoked" in answer.json()["message"]) == (401, True)
    assert (await revoke(api, key)).status_code == 404


async def test_key_of_another_project_cannot_be_revoked(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    key = await api.create_key("admin", project="shop")
    assert (await revoke(api, key)).status_code == 404
    own = await api.client.delete(f"/keys/{key.split('_')[1]}", headers={"X-API-Key": key})
    assert own.status_code == 200
    assert await status_with(api, key) == 401


async def test_expired_key_is_refused_in_words(api: ApiUnderTest) -> None:
    key = await api.create_key("read", expires_at="2030-01-01T00:01:00Z")
    api.clock.advance(59.9)
    assert await status_with(api, key) == 200
    api.clock.advance(0.1)
    answer = await with_key(api, key)
    assert answer.status_code == 401
    assert answer.json()["message"] == "the API key has expired: 2030-01-01T00:01:00Z"


async def test_wrong_secret_of_a_key_is_refused(api: ApiUnderTest) -> None:
    key = await api.create_key("read")
    other = key[:-1] + ("0" if key[-1] != "0" else "1")
    assert await status_with(api, other) == 401
    assert await status_with(api, key) == 200


async def test_nobody_gives_what_he_has_not(api: ApiUnderTest) -> None:
    admin = await api.create_key("admin")
    headers = {"X-API-Key": admin}
    wanted: dict[str, Any] = {"name": "x", "scopes": ["metrics"]}
    answer = await api.client.post("/keys", json=wanted, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, 7)
    assert "metrics" in answer.json()["message"]
    wanted["scopes"] = ["admin", "write", "read"]
    assert (await api.client.post("/keys", json=wanted, headers=headers)).status_code == 201
    await api.create_project("shop")
    wanted["scopes"] = ["metrics"]
    shop = {"X-Project": "shop"}
    assert (await api.client.post("/keys", json=wanted, headers=shop)).status_code == 400


async def test_made_up_keys_cost_no_look_up(api: ApiUnderTest) -> None:
    counted = Counted(api.storage)
    for number in range(50):
        assert await status_with(api, f"tt_{number:024x}_{'0' * 64}") == 401
    assert counted.read == []


async def test_unknown_key_is_looked_up_once(
    api: ApiUnderTest, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    key = await api.create_key("read")
    await revoke(api, key)
    counted = Counted(api.storage)
    for _ in range(20):
        assert await status_with(api, key) == 401
    assert len(counted.read) == 1
    await trio.sleep(5)
    assert await status_with(api, key) == 401
    assert len(counted.read) == 2


async def test_many_at_once_look_a_key_up_once(
    api: ApiUnderTest, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    key = await api.create_key("read")
    counted = Counted(api.storage, delay_s=1)
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append(await status_with(api, key))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert (statuses, len(counted.read)) == ([200] * 50, 1)


async def test_one_who_leaves_leaves_the_look_up_to_the_next(
    api: ApiUnderTest, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    key = await api.create_key("read")
    counted = Counted(api.storage, delay_s=1)
    statuses: list[int] = []
    impatient = trio.CancelScope()

    async def leave() -> None:
        with impatient:
            await status_with(api, key)

    async def stay() -> None:
        statuses.append(await status_with(api, key))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        await trio.sleep(0.1)
        for _ in range(3):
            nursery.start_soon(stay)
        await trio.sleep(0.1)
        impatient.cancel()
    assert statuses == [200] * 3
    assert len(counted.read) == 2


async def test_outage_is_no_wrong_key(
    api: ApiUnderTest, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    key = await api.create_key("read")
    assert await status_with(api, key) == 200
    counted = Counted(api.storage)
    counted.error = StorageUnavailableError("away")
    await trio.sleep(4.9)
    assert await status_with(api, key) == 200
    await trio.sleep(0.2)
    answer = await with_key(api, key)
    assert (answer.status_code, answer.json()["code"]) == (503, 1)
    assert answer.headers["Retry-After"]
    assert await status_with(api, API_KEY) == 200
    counted.error = None
    assert await status_with(api, key) == 200


async def test_key_that_was_read_too_slowly_is_not_used(
    api: ApiUnderTest, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    key = await api.create_key("read")
    Counted(api.storage, delay_s=5)
    assert await status_with(api, key) == 503


async def test_wrong_keys_are_rationed_and_right_ones_never(
    api: ApiUnderTest, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    known, new = await api.create_key("read"), await api.create_key("read")
    assert await status_with(api, known) == 200
    assert {await status_with(api, "wrong") for _ in range(WRONG_KEYS)} == {401}
    for key in ("wrong", MADE_UP, known[:-1] + "x"):
        answer = await with_key(api, key)
        assert (answer.status_code, answer.json()["code"]) == (429, 6)
        assert answer.headers["Retry-After"] == "1"
    del api.client.headers["X-API-Key"]
    assert (await api.client.get("/nowhere")).status_code == 429
    for key in (known, new, API_KEY):
        assert await status_with(api, key) == 200
    await trio.sleep(1)
    assert await status_with(api, "wrong") == 401


async def test_use_is_noted_to_the_minute_and_beside_the_requests(
    api: ApiUnderTest, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    key = await api.create_key("read")
    written: list[int] = []
    note_key_uses = api.storage.note_key_uses

    async def note(uses: Any) -> None:
        written.append(len(uses))
        await note_key_uses(uses)

    api.storage.note_key_uses = note  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(api.key_uses.run)
        api.clock.advance(90)
        for _ in range(10):
            assert await status_with(api, key) == 200
        assert written == []
        await trio.sleep(61)
        assert written == [1]
        (listed,) = (await api.client.get("/keys")).json()["data"]["keys"]
        assert listed["last_used_at"] == "2030-01-01T00:01:00Z"
        await trio.sleep(10_000)
        assert written == [1]
        nursery.cancel_scope.cancel()


async def test_uses_that_cannot_be_written_are_lost_quietly() -> None:
    class Away:
        async def note_key_uses(self, _: object) -> None:
            raise StorageUnavailableError("away")

    storage: Any = Away()
    uses = KeyUses(storage)
    uses.note(KeyId("0" * 24), START)
    await uses.write()
    await uses.write()


@asynccontextmanager
async def replicas(count: int) -> AsyncIterator[list[ApiUnderTest]]:
    storage = MemoryStorage(lambda: START)
    async with trio.open_nursery() as nursery:
        made = [ApiUnderTest(storage=storage) for _ in range(count)]
        for each in made:
            nursery.start_soon(each.intake.run)
        yield made
        nursery.cancel_scope.cancel()


@pytest.mark.sampled(of=2)
@pytest.mark.parametrize("revoked_at_s", [0.0, 0.1, 3.3, 4.9, 7.25])
async def test_last_request_of_a_revoked_key_is_served_within_five_seconds(
    autojump_clock: trio.testing.MockClock, revoked_at_s: float
) -> None:
    del autojump_clock
    served: list[list[float]] = [[], [], []]

    async def use(place: int, api: ApiUnderTest, key: str) -> None:
        while True:
            began_s = trio.current_time()
            if await status_with(api, key) == 200:
                served[place].append(began_s)
            await trio.sleep(0.05 + place / 100)

    async with replicas(3) as apis, trio.open_nursery() as nursery:
        key = await apis[0].create_key("read")
        Counted(apis[0].storage, delay_s=0.7)  # which all of them share
        for place, api in enumerate(apis):
            nursery.start_soon(use, place, api, key)
        await trio.sleep(revoked_at_s)
        assert (await revoke(apis[0], key)).status_code == 200
        revoked_s = trio.current_time()
        await trio.sleep(15)
        nursery.cancel_scope.cancel()
    for times in served:
        assert max(times, default=0) <= revoked_s + 5
    assert max(served[0], default=0) <= revoked_s
    if revoked_at_s > 1:
        assert max(served[1]) > revoked_s  # so that the promise is put to the test


SCOPE_OF = {
    "GET /timers": "read",
    "POST /timers": "write",
    "GET /timers/{timer_id}": "read",
    "PUT /timers/{timer_id}": "write",
    "DELETE /timers/{timer_id}": "write",
    "GET /timers/{timer_id}/attempts": "read",
    "POST /timers/{timer_id}/redrive": "write",
    "GET /timers/by-key/{key}": "read",
    "PUT /timers/by-key/{key}": "write",
    "DELETE /timers/by-key/{key}": "write",
    "GET /destinations": "read",
    "POST /timers/batch": "write",
    "POST /timers/bulk": "write",
    "POST /timers/import": "write",
    "GET /schedules": "read",
    "POST /schedules": "write",
    "GET /schedules/{schedule_id}": "read",
    "PUT /schedules/{schedule_id}": "write",
    "DELETE /schedules/{schedule_id}": "write",
    "GET /schedules/by-name/{name}": "read",
    "PUT /schedules/by-name/{name}": "write",
    "DELETE /schedules/by-name/{name}": "write",
    "POST /schedules/{schedule_id}/pause": "write",
    "POST /schedules/{schedule_id}/resume": "write",
    "POST /schedules/{schedule_id}/trigger": "write",
    "POST /schedules/{schedule_id}/backfill": "write",
    "POST /schedules/{schedule_id}/replan": "write",
    "POST /schedules/preview": "read",
    "GET /flows": "read",
    "GET /flows/{flow_key}": "read",
    "PUT /flows/{flow_key}": "write",
    "DELETE /flows/{flow_key}": "write",
    "POST /destinations/pause": "write",
    "POST /destinations/resume": "write",
    "POST /pause": "write",
    "POST /resume": "write",
    "GET /projects/{name}": "admin",
    "PUT /projects/{name}": "admin",
    "GET /keys": "admin",
    "POST /keys": "admin",
    "DELETE /keys/{key_id}": "admin",
    "GET /signing-secrets": "read",
    "POST /signing-secrets/rotate": "admin",
    "DELETE /signing-secrets/{secret_id}": "admin",
    "GET /audit": "admin",
    "GET /metrics": "metrics",
    "GET /replicas": "API_KEY",
    "GET /projects": "API_KEY",
    "POST /projects": "API_KEY",
    "DELETE /projects/{name}": "API_KEY",
}
"""What each route that asks for a key needs; a new one must be named here."""
INCLUDES = {
    "read": {"read"},
    "write": {"read", "write"},
    "admin": {"read", "write", "admin"},
    "metrics": {"metrics"},
}


async def test_every_route_has_the_scope_that_it_should(api: ApiUnderTest) -> None:
    asking = [route for route in all_routes(api.context) if not route.is_open]
    assert {route.endpoint for route in asking} == SCOPE_OF.keys()
    for route in asking:
        needed = SCOPE_OF[route.endpoint]
        assert route.is_of_service == (needed in {"API_KEY", "metrics"})
        if needed != "API_KEY":
            assert route.needed_scope == needed


@pytest.mark.parametrize(
    ("project", "scope"),
    [
        *(("default", scope) for scope in Scope),
        *(("shop", scope) for scope in Scope if scope is not Scope.METRICS),
    ],
)
async def test_key_opens_the_routes_of_its_scope_and_no_other(
    api: ApiUnderTest, project: str, scope: Scope
) -> None:
    await api.create_project("shop")
    key = await api.create_key(scope, project=project)
    for endpoint, needed in SCOPE_OF.items():
        method, path = endpoint.split()
        answer = await api.client.request(method, path, headers={"X-API-Key": key})
        if needed in INCLUDES[scope]:
            assert answer.status_code not in {401, 403, 405, 429, 500}, (endpoint, answer.text)
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, 7), endpoint
            assert needed in answer.json()["message"], endpoint


async def test_metrics_are_not_for_keys_of_other_projects(api: ApiUnderTest) -> None:
    await api.create_project("shop")
    key = await api.create_key("admin", project="shop")
    row = api.storage._api_keys[KeyId(key.split("_")[1])]
    object.__setattr__(row.key, "scopes", frozenset({Scope.METRICS}))
    answer = await with_key(api, key, "/metrics")
    assert (answer.status_code, "all projects" in answer.json()["message"]) == (403, True)
