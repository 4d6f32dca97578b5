from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.api_under_test import ApiUnderTest, running_api
from tests.contract.timers import ALICE, BOB
from timer_trio.clock import Clock
from timer_trio.domain.membership import Identity, ReplicaStats
from timer_trio.domain.shards import owners
from timer_trio.domain.timer import SHARDS, ReplicaId
from timer_trio.testing import start_timer_service

IDENTITY = Identity(host="machine-7", pid=4711, version="1.2.3")


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


async def replicas_of(api: ApiUnderTest) -> list[dict[str, Any]]:
    answer = await api.client.get("/replicas")
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["data"]["replicas"]
    return listed


async def join(api: ApiUnderTest, replica: ReplicaId, stats: ReplicaStats | None = None) -> None:
    await api.storage.join(replica, api.clock.now(), IDENTITY)
    if stats:
        await api.storage.beat(replica, stats)


async def test_replica_is_told_whole(api: ApiUnderTest) -> None:
    await api.storage.join(ALICE, api.clock.now(), IDENTITY)
    api.clock.advance(1.5)
    await api.storage.beat(ALICE, ReplicaStats(in_flight=3, cached=17, clock_offset_s=-0.251_51))
    api.clock.advance(0.5)
    answer = await api.client.get("/replicas")
    assert answer.json() == {
        "code": 0,
        "message": "success",
        "data": {
            "timestamp": "2030-01-01T00:00:02Z",
            "replicas": [
                {
                    "id": str(ALICE),
                    "host": "machine-7",
                    "pid": 4711,
                    "version": "1.2.3",
                    "started_at": "2030-01-01T00:00:00Z",
                    "status": "alive",
                    "shards": SHARDS,
                    "in_flight": 3,
                    "cached": 17,
                    "heartbeat_at": "2030-01-01T00:00:01.500000Z",
                    "clock_offset_seconds": -0.252,
                    "is_this_one": False,
                }
            ],
        },
    }


async def test_nobody_there_is_an_empty_list(api: ApiUnderTest) -> None:
    assert await replicas_of(api) == []


async def test_replicas_stand_in_the_order_of_their_start(api: ApiUnderTest) -> None:
    for replica in (BOB, ALICE):
        await join(api, replica)
        api.clock.advance(1)
    assert [each["id"] for each in await replicas_of(api)] == [str(BOB), str(ALICE)]


async def test_one_that_has_not_beaten_yet_has_null_for_what_it_did_not_tell(
    api: ApiUnderTest,
) -> None:
    await join(api, ALICE)
    [alice] = await replicas_of(api)
    assert (alice["heartbeat_at"], alice["clock_offset_seconds"]) == (None, None)
    assert alice["status"] == "alive"


async def test_offset_that_is_next_to_nothing_has_no_sign(api: ApiUnderTest) -> None:
    await join(api, ALICE, ReplicaStats(clock_offset_s=-0.000_01))
    answer = await api.client.get("/replicas")
    assert '"clock_offset_seconds": 0.0,' in answer.text


async def test_status_and_shards_follow_what_the_replicas_do(api: ApiUnderTest) -> None:
    for replica in (ALICE, BOB):
        await join(api, replica, ReplicaStats())
        api.clock.advance(0.1)
    alice, bob = await replicas_of(api)
    shares = owners([ALICE, BOB]).count(ALICE)
    assert (alice["shards"], bob["shards"]) == (shares, SHARDS - shares)
    await api.storage.leave(ALICE)
    api.clock.advance(4.1)
    await api.storage.beat(ALICE)
    alice, bob = await replicas_of(api)
    assert (alice["status"], alice["shards"]) == ("leaving", 0)
    assert (bob["status"], bob["shards"]) == ("silent", SHARDS)
    await api.storage.sweep(BOB, None, api.clock.now())
    [alice] = await replicas_of(api)
    assert alice["shards"] == 0


async def test_the_one_that_answers_says_so_also_under_a_new_id(api: ApiUnderTest) -> None:
    for replica in (ALICE, BOB):
        await join(api, replica)
        api.clock.advance(1)
    for answering in (BOB, ALICE):
        api.health.replica_ids = [answering]
        told = {each["id"]: each["is_this_one"] for each in await replicas_of(api)}
        assert told == {str(replica): replica == answering for replica in (ALICE, BOB)}


async def test_answer_of_the_database_that_takes_its_time_makes_nobody_silent(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await join(api, ALICE, ReplicaStats())
    read = api.storage.replicas

    async def read_slowly() -> object:
        records = await read()
        api.clock.advance(5)
        return records

    monkeypatch.setattr(api.storage, "replicas", read_slowly)
    [alice] = await replicas_of(api)
    assert alice["status"] == "alive"


async def test_parameters_are_refused_by_name(api: ApiUnderTest) -> None:
    answer = await api.client.get("/replicas?status=alive")
    assert (answer.status_code, answer.json()["code"]) == (400, 2)
    assert answer.json()["data"]["errors"][0]["field"] == "status"


async def test_503_before_the_database_told_the_time(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.clock, "now", Clock().now)
    answer = await api.client.get("/replicas")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_replica_of_a_real_service_knows_itself(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(nursery)
        created = {"delay": 60, "callback_url": "https://example.com/"}
        await service.client.post("/timers", json=created)
        answer = await service.client.get("/replicas")
        [replica] = answer.json()["data"]["replicas"]
        assert (replica["is_this_one"], replica["shards"]) == (True, SHARDS)
        nursery.cancel_scope.cancel()
    assert autojump_clock.autojump_threshold == 0
