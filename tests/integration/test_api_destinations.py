"""GET /destinations: what is known of where callbacks go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from ipaddress import ip_network
from typing import Any, Final

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.api_under_test import START, ApiUnderTest, running_api
from tests.contract.timers import ALICE, BOB, seconds
from tests.receivers import answers, receiver
from tests.replicas import api_client, replica_on, running
from timer_trio import __version__
from timer_trio.config import Settings
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.destination import (
    NO_DURATIONS,
    SPAN,
    Counted,
    DestinationNow,
    DestinationQuery,
    DestinationReport,
    Ends,
    class_of,
    recent_since,
)
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.membership import Identity
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import Destination, Lane
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.telemetry.destinations import INTERVAL_S
from timer_trio.testing import Callback, start_timer_service
from timer_trio.transport import CallbackTransport

A, B, C = (f"https://{letter}.example:443" for letter in "abc")
BREAKER: Final = {"failures": 2, "open_seconds": 60}
LOOPBACK: Final = (ip_network("127.0.0.0/8"),)
PATIENCE_S: Final = 20
NOTHING: Final[dict[str, Any]] = {
    "waiting": 0,
    "in_flight": 0,
    "last_hour": dict.fromkeys(Ends._fields, 0),
    "duration_ms": {"p50": None, "p95": None},
    "paused": False,
    "paused_since": None,
    "breaker": None,
}


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        for replica in (ALICE, BOB):
            await running.storage.join(replica, START, Identity(version=__version__))
        yield running


async def tell(
    api: ApiUnderTest,
    destination: str,
    *,
    took_s: Sequence[float] = (),
    since: datetime = START,
    project: ProjectId = DEFAULT_PROJECT,
    in_hand: tuple[int, int, datetime | None] | None = None,
    **ends: int,
) -> None:
    """Have a replica tell what it knows of a destination."""
    lane = Lane(Destination(destination), project)
    durations = [*NO_DURATIONS]
    for duration_s in took_s:
        durations[class_of(duration_s)] += 1
    await api.storage.note_destinations(
        DestinationReport(
            counter=ALICE,
            replica=ALICE,
            at=START,
            counted=[Counted(lane, since, Ends(**ends), tuple(durations))] if ends else [],
            now=[] if in_hand is None else [DestinationNow(lane, *in_hand)],
        )
    )


async def listed(api: ApiUnderTest, query: str = "", **headers: str) -> list[dict[str, Any]]:
    answer = await api.client.get(f"/destinations{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]["destinations"]
    return found


async def names(api: ApiUnderTest, query: str = "") -> list[str]:
    return [each["destination"] for each in await listed(api, query)]


async def is_failed(client: httpx.AsyncClient, path: str) -> bool:
    return bool((await client.get(path)).json()["data"]["status"] == "failed")


async def test_nothing_is_known_at_first(api: ApiUnderTest) -> None:
    answer = await api.client.get("/destinations")
    assert answer.json()["data"] == {"destinations": [], "limit": 50, "next_cursor": None}
    await api.create()  # it is not due yet
    assert await names(api) == []


async def test_all_that_is_known_is_told(api: ApiUnderTest) -> None:
    await tell(api, A, took_s=[0.02] * 99 + [5], delivered=90, rejected=5, timed_out=5, other=1)
    await tell(api, A, since=START - SPAN, unreachable=2, in_hand=(7, 3, None))
    (told,) = await listed(api)
    p50, p95 = told["duration_ms"].values()
    assert class_of(p50 / 1000) == class_of(p95 / 1000) == class_of(0.02)
    assert p50 < p95 == round(p95, 1)
    assert told == {
        **NOTHING,
        "destination": A,
        "waiting": 7,
        "in_flight": 3,
        "last_hour": {
            "delivered": 90,
            "rejected": 5,
            "unreachable": 2,
            "timed_out": 5,
            "other": 1,
        },
        "duration_ms": told["duration_ms"],
    }


async def test_callbacks_of_the_last_hour_count_and_no_older_ones(api: ApiUnderTest) -> None:
    await tell(api, A, delivered=1)
    api.clock.advance(60 * 60)
    assert await names(api) == [A]
    api.clock.advance(SPAN.total_seconds())
    assert await names(api) == []


async def test_paused_one_is_told_though_nothing_else_is_known_of_it(api: ApiUnderTest) -> None:
    await tell(api, B, delivered=1)
    for destination in (A, B):
        await api.client.post("/destinations/pause", json={"destination": destination})
    first, second = await listed(api)
    paused = {"paused": True, "paused_since": "2030-01-01T00:00:00Z"}
    assert first == {**NOTHING, **paused, "destination": A}
    assert (second["paused_since"], second["last_hour"]["delivered"]) == (
        paused["paused_since"],
        1,
    )
    await api.client.post("/destinations/resume", json={"destination": A})
    assert await names(api) == [B]


async def test_breaker_is_told_where_the_project_has_one(api: ApiUnderTest) -> None:
    until = START + seconds(30)
    await tell(api, A, in_hand=(1, 0, until))
    await tell(api, B, delivered=1)
    shop = await api.create_project("shop")
    changed = await api.client.put("/projects/shop", json={"breaker": BREAKER})
    assert changed.status_code == 200
    for destination, open_until in ((A, until), (B, None)):
        await tell(api, destination, project=shop, in_hand=(1, 0, open_until))
    assert [each["breaker"] for each in await listed(api)] == [None, None]
    key = await api.create_key("read", project="shop")

    async def states() -> list[Any]:
        return [each["breaker"] for each in await listed(api, **{"X-API-Key": key})]

    closed = {"state": "closed", "open_until": None}
    opened = {"state": "open", "open_until": "2030-01-01T00:00:30Z"}
    assert await states() == [opened, closed]
    api.clock.advance(30)
    assert await states() == [{"state": "half_open", "open_until": None}, closed]


async def test_pages_follow_each_other_by_cursor(api: ApiUnderTest) -> None:
    for destination in (C, A):
        await tell(api, destination, delivered=1)
    await tell(api, B, in_hand=(1, 0, None))
    found, query = [], "?limit=1"
    for _ in range(3):
        answer = await api.client.get(f"/destinations{query}")
        data = answer.json()["data"]
        assert data["limit"] == 1
        found += [each["destination"] for each in data["destinations"]]
        query = f"?limit=1&cursor={data['next_cursor']}"
    assert found == [A, B, C]
    assert data["next_cursor"] is None


async def test_one_is_asked_for_as_people_write_it(api: ApiUnderTest) -> None:
    for destination in (A, B, "https://bücher.example:443"):
        await tell(api, destination, delivered=1)
    for spelled, name in (
        ("https://B.example", B),
        ("https://b.example:443/", B),
        ("https://xn--bcher-kva.example", "https://bücher.example:443"),
    ):
        assert await names(api, f"?destination={spelled}") == [name]
    assert await names(api, "?destination=http://b.example") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("destination=b.example", "destination"),
        ("destination=https://b.example/path", "destination"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%00", "cursor"),
        ("status=failed", "status"),
        ("offset=1", "offset"),
    ],
)
async def test_bad_parameters_are_named(api: ApiUnderTest, query: str, field: str) -> None:
    answer = await api.client.get(f"/destinations?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, 2)
    assert [each["field"] for each in answer.json()["data"]["errors"]] == [field]


async def test_cursor_belongs_to_its_list(api: ApiUnderTest) -> None:
    for destination in (A, B):
        await tell(api, destination, delivered=1)
    await api.client.put("/flows/a", json={"max_in_flight": 1})
    await api.client.put("/flows/b", json={"max_in_flight": 1})
    for path, other in (("/destinations", "/flows"), ("/flows", "/destinations")):
        data = (await api.client.get(f"{path}?limit=1")).json()["data"]
        answer = await api.client.get(f"{other}?limit=1&cursor={data['next_cursor']}")
        assert answer.status_code == 400
    cursor = (await api.client.get("/destinations?limit=1")).json()["data"]["next_cursor"]
    answer = await api.client.get(f"/destinations?destination={B}&cursor={cursor}")
    assert answer.status_code == 400


async def test_scope_to_read_is_enough(api: ApiUnderTest) -> None:
    await tell(api, A, delivered=1)
    for scope, status in (("read", 200), ("write", 200), ("admin", 200), ("metrics", 403)):
        key = await api.create_key(scope)
        answer = await api.client.get("/destinations", headers={"X-API-Key": key})
        assert answer.status_code == status


async def test_database_that_is_away_is_a_503(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise StorageUnavailableError

    monkeypatch.setattr(api.storage, "destinations", away)
    assert (await api.client.get("/destinations")).status_code == 503


async def test_service_tells_of_its_own_callbacks_a_few_seconds_later(
    autojump_clock: MockClock,
) -> None:
    assert autojump_clock.autojump_threshold == 0

    def answer(callback: Callback) -> int:
        return 500 if "bad" in callback.url else 204

    async with trio.open_nursery() as nursery:
        service = await start_timer_service(nursery, answer=answer)
        await service.client.put("/projects/default", json={"breaker": BREAKER})
        await trio.sleep(INTERVAL_S)
        for url in ("https://good.example/", "https://bad.example/", "https://bad.example/"):
            await service.client.post("/timers", json={"delay": 1, "callback_url": url})
        await service.wait_callbacks(3)
        await trio.sleep(2 * INTERVAL_S)
        bad, good = (await service.client.get("/destinations")).json()["data"]["destinations"]
        assert (bad["destination"], bad["last_hour"]["rejected"]) == ("https://bad.example:443", 2)
        assert good["last_hour"] == {**NOTHING["last_hour"], "delivered": 1}
        assert (bad["breaker"]["state"], good["breaker"]["state"]) == ("open", "closed")
        metrics = (await service.client.get("/metrics")).text
        assert "\ntimer_trio_breaker_open 1.0\n" in metrics
        nursery.cancel_scope.cancel()


async def test_what_postgresql_keeps_is_told_and_a_stop_writes_what_ended_last(
    database_url: str,
) -> None:
    reply = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    async with (
        receiver(answers(reply)) as there,
        CallbackTransport(guard=AddressGuard(LOOPBACK)) as transport,
        PostgresStorage(database_url, pool_size=2) as storage,
    ):
        replica = replica_on(storage, transport, Settings(callback_allow=LOOPBACK))
        async with running(replica):
            client = api_client(replica)
            new = await client.post("/timers", json={"delay": 0, "callback_url": there.url()})
            path = f"/timers/{new.json()['data']['id']}"
            with trio.fail_after(PATIENCE_S):
                while not await is_failed(client, path):  # noqa: ASYNC110 - a probe
                    await trio.sleep(0.01)
            name = (await client.get("/timers")).json()["data"]["timers"][0]["destination"]
            await client.post("/destinations/pause", json={"destination": name})
            (told,) = (await client.get("/destinations")).json()["data"]["destinations"]
            assert (told["destination"], told["paused"]) == (name, True)
        recent_at = recent_since(replica._clock.now())
        (facts,) = (await storage.destinations(DestinationQuery(recent_at=recent_at))).destinations
        assert (facts.destination, facts.ends) == (name, Ends(rejected=1))
        assert sum(facts.durations) == 1
        assert facts.paused_at is not None
