"""How many requests of a key are served: by one replica, and by several together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import cycle
from typing import Any, Final

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.api_under_test import API_KEY, START, WANTED, ApiUnderTest, running_api
from tests.replicas import api_client, replica_on, running
from timer_trio.clock import Clock
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.rate_limit import RateLimit
from timer_trio.run.replica import Replica
from timer_trio.storage.memory import MemoryStorage
from timer_trio.transport import Answer, Permit, Request

LIMIT: Final[dict[str, Any]] = {"requests_per_second": 2, "burst": 5}


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as served:
        await served.create_project("shop")
        yield served


async def limit(api: ApiUnderTest, wanted: Any, project: str = "shop") -> None:
    answer = await api.client.put(f"/projects/{project}", json={"rate_limit": wanted})
    assert answer.status_code == 200, answer.text


async def ask(api: ApiUnderTest, key: str, **headers: str) -> httpx.Response:
    return await api.client.get("/timers", headers={"X-API-Key": key, **headers})


async def statuses(api: ApiUnderTest, count: int, key: str, **headers: str) -> list[int]:
    return [(await ask(api, key, **headers)).status_code for _ in range(count)]


def told(answer: httpx.Response) -> tuple[str, str]:
    return answer.headers["RateLimit-Policy"], answer.headers["RateLimit"]


async def test_what_goes_beyond_is_refused_in_words_and_served_when_it_said(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await limit(api, LIMIT)
    key = await api.create_key("read", project="shop")
    assert await statuses(api, 5, key) == [200] * 5
    answer = await ask(api, key)
    assert (answer.status_code, answer.json()["code"]) == (429, 6)
    assert "allows 2 a second and 5 at once; try again in 1s" in answer.json()["message"]
    await trio.sleep(int(answer.headers["Retry-After"]))
    assert await statuses(api, 3, key) == [200, 200, 429]
    await trio.sleep(60)
    assert await statuses(api, 6, key) == [200] * 5 + [429]


async def test_wait_is_told_in_whole_seconds(api: ApiUnderTest, autojump_clock: MockClock) -> None:
    del autojump_clock
    await limit(api, {"requests_per_second": 0.3})
    key = await api.create_key("read", project="shop")
    await ask(api, key)
    await trio.sleep(0.1)
    assert (await ask(api, key)).headers["Retry-After"] == "4"


async def test_fields_tell_of_the_limit_in_whatever_is_answered(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await limit(api, LIMIT)
    key = await api.create_key("read", project="shop")
    policy = '"default";q=5;w=3'
    assert told(await ask(api, key)) == (policy, '"default";r=4;t=1')
    refused = await api.client.post("/timers", json=WANTED, headers={"X-API-Key": key})
    assert (refused.status_code, told(refused)) == (403, (policy, '"default";r=3;t=1'))
    unknown = await api.client.get("/nowhere", headers={"X-API-Key": key})
    assert (unknown.status_code, told(unknown)) == (404, (policy, '"default";r=2;t=2'))
    elsewhere = await ask(api, key, **{"X-Project": "default"})
    assert (elsewhere.status_code, told(elsewhere)) == (403, (policy, '"default";r=1;t=2'))
    await ask(api, key)
    too_many = await ask(api, key)
    assert (too_many.status_code, told(too_many)) == (429, (policy, '"default";r=0;t=3'))


async def test_who_has_no_limit_is_told_of_none(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await limit(api, LIMIT)
    for key in (API_KEY, await api.create_key("read")):
        answer = await ask(api, key)
        assert not [name for name in answer.headers if name.startswith("ratelimit")]
        assert set(await statuses(api, 50, key)) == {200}


async def test_body_beyond_the_limit_is_not_read(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await limit(api, {"requests_per_second": 0.1})
    key = await api.create_key("write", project="shop")
    await ask(api, key)
    answer = await api.client.post("/timers", content=b"{", headers={"X-API-Key": key})
    assert answer.status_code == 429


async def test_each_key_has_a_limit_of_its_own(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await limit(api, LIMIT)
    one, other = [await api.create_key("read", project="shop") for _ in range(2)]
    assert (await statuses(api, 6, one))[-1] == 429
    assert (await statuses(api, 6, other)) == [200] * 5 + [429]


async def test_key_of_the_service_has_one_where_it_acts(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    del autojump_clock
    key = await api.create_key("read", project="shop")
    await limit(api, LIMIT)
    in_shop = {"X-Project": "shop"}
    assert await statuses(api, 6, API_KEY, **in_shop) == [200] * 5 + [429]
    assert await statuses(api, 6, API_KEY) == [200] * 6
    assert (await ask(api, key)).status_code == 200
    await limit(api, LIMIT, "default")
    assert await statuses(api, 3, API_KEY) == [200] * 3
    assert await statuses(api, 3, API_KEY, **{"X-Project": "default"}) == [200, 200, 429]
    await trio.sleep(1)
    await limit(api, None, "default")
    assert await statuses(api, 9, API_KEY) == [200] * 9


async def test_wrong_secret_of_a_limited_key_costs_it_nothing(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await limit(api, LIMIT)
    key = await api.create_key("read", project="shop")
    assert set(await statuses(api, 20, key[:-1] + ("0" if key[-1] != "0" else "1"))) == {401}
    assert await statuses(api, 5, key) == [200] * 5


async def test_open_routes_cost_nothing(api: ApiUnderTest, autojump_clock: MockClock) -> None:
    del autojump_clock
    await limit(api, LIMIT)
    key = await api.create_key("read", project="shop")
    for _ in range(20):
        answer = await api.client.get("/health", headers={"X-API-Key": key})
        assert (answer.status_code, "RateLimit" in answer.headers) == (200, False)
    assert await statuses(api, 5, key) == [200] * 5


async def test_changed_limit_holds_at_once_where_it_was_changed(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await limit(api, {"requests_per_second": 1, "burst": 100})
    key = await api.create_key("read", project="shop")
    assert (await ask(api, key)).status_code == 200
    await limit(api, {"requests_per_second": 1, "burst": 3})
    assert await statuses(api, 4, key) == [200] * 3 + [429]
    await limit(api, None)
    assert await statuses(api, 9, key) == [200] * 9


def replicas_of(api: ApiUnderTest, count: int) -> list[ApiUnderTest]:
    """Return so many replicas over one storage, each of which knows of the others."""
    all_of_them = [api, *(ApiUnderTest(storage=api.storage) for _ in range(count - 1))]
    for each in all_of_them:
        each.living = count
    return all_of_them


async def served_in(replicas: list[ApiUnderTest], key: str, for_s: float, per_s: float) -> int:
    """Send requests to one after the other; answers with how many were served."""
    turns = cycle(replicas)
    served = 0
    for _ in range(round(for_s * per_s)):
        served += (await ask(next(turns), key)).status_code == 200
        await trio.sleep(1 / per_s)
    return served


@pytest.mark.sampled(of=4)
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("per_s", "burst"), [(5, 5), (20, 40), (0.5, 1)])
async def test_limit_holds_over_all_replicas(
    api: ApiUnderTest, count: int, per_s: float, burst: int, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await limit(api, {"requests_per_second": per_s, "burst": burst})
    key = await api.create_key("read", project="shop")
    for_s = 400 / (per_s * 8)
    replicas = replicas_of(api, count)
    await served_in(replicas, key, burst / per_s, per_s * 8)  # the burst is gone
    served = await served_in(replicas, key, for_s, per_s * 8)
    assert served == pytest.approx(per_s * for_s, rel=0.2)


async def test_burst_is_that_of_all_replicas_together(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await limit(api, {"requests_per_second": 0.1, "burst": 30})
    key = await api.create_key("read", project="shop")
    served = 0
    for replica in replicas_of(api, 3):
        served += (await statuses(replica, 30, key)).count(200)
    assert served == 30


async def test_replicas_that_come_and_go_change_the_shares(
    api: ApiUnderTest, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await limit(api, {"requests_per_second": 0.1, "burst": 30})
    key = await api.create_key("read", project="shop")
    assert told(await ask(api, key)) == ('"default";q=30;w=300', '"default";r=29;t=10')
    api.living = 3
    assert await statuses(api, 11, key) == [200] * 10 + [429]
    api.living = 0  # as of a heartbeat that nobody answered
    await trio.sleep(30)
    assert await statuses(api, 4, key) == [200] * 3 + [429]


class NoReceiver:
    def begin(self, _request: Request, _permit: Permit) -> None:
        """Have no connection ready."""

    async def send(self, request: Request, permit: Permit) -> Answer:
        raise AssertionError(request, permit)


async def test_replicas_count_each_other_by_their_heartbeats(autojump_clock: MockClock) -> None:
    del autojump_clock
    storage = MemoryStorage(lambda: START + timedelta(seconds=trio.current_time()))
    limited: Any = {"requests_per_second": 0.1, "burst": 30}
    await storage.change_project(DEFAULT_PROJECT, {"rate_limit": RateLimit(**limited)})

    def made() -> Replica:
        return replica_on(
            storage, NoReceiver(), clock=Clock(elapsed=trio.current_time), alone=False
        )

    first, second = made(), made()
    async with running(first), api_client(first) as client:
        await trio.sleep(2)
        assert told(await client.get("/timers"))[1] == '"default";r=29;t=10'
        async with running(second):
            await trio.sleep(2)
            assert told(await client.get("/timers"))[1] == '"default";r=14;t=20'
        await trio.sleep(300)
        assert told(await client.get("/timers"))[1] == '"default";r=29;t=10'
