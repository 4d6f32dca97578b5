"""The Python client, over real sockets: each of its methods, under trio, asyncio and neither."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from inspect import signature
from typing import Any, Final, assert_type

import httpx
import pytest

from tests.api_under_test import API_KEY, START, WANTED, ApiUnderTest, in_thread, served_api
from timer_trio.client import (
    AsyncClient,
    Attempt,
    Bulk,
    Client,
    ConflictError,
    ForbiddenError,
    Import,
    IncompleteError,
    InvalidRequestError,
    ListedTimer,
    NewTimer,
    NotFoundError,
    QuotaUsedUpError,
    RateLimitedError,
    Timer,
    TimerSummary,
    UnauthorizedError,
    UnavailableError,
)

URL: Final = WANTED["callback_url"]
DESTINATION: Final = "https://example.com:443"

OF_OPERATORS: Final = re.compile(
    r"\w+ /(projects|keys|audit|replicas|metrics|openapi\.json|docs|health/live|)(/.*)?$"
    r"|POST /schedules/\{schedule_id\}/replan"
)
"""Routes without a method in the client."""

Script = Callable[[AsyncClient], Awaitable[None]]


@pytest.fixture
async def served() -> AsyncIterator[tuple[ApiUnderTest, str]]:
    async with served_api() as serving:
        yield serving


async def on_trio(url: str, script: Script) -> None:
    async with AsyncClient(url, API_KEY) as client:
        await script(client)


async def on_asyncio(url: str, script: Script) -> None:
    await in_thread(lambda: asyncio.run(on_trio(url, script)))


async def tour_of_timers(client: AsyncClient) -> None:
    timers = client.timers
    created = await timers.create(
        URL,
        delay=timedelta(hours=1),
        callback_payload={"greeting": "grüß"},
        metadata={"customer": "acme", "paid": True},
        retry={"max_attempts": 3},
    )
    assert created.execute_at == START + timedelta(hours=1)
    whole = await timers.get(created.id)
    assert (whole.callback_payload, whole.status) == ({"greeting": "grüß"}, "pending")
    assert whole.retry is not None
    assert whole.retry["max_attempts"] == 3
    moved = await timers.update(created.id, execute_at=START + timedelta(days=1))
    assert moved.execute_at == START + timedelta(days=1)
    assert await timers.attempts(created.id) == ()
    many: list[NewTimer] = [{"delay": n, "callback_url": URL} for n in range(60, 180)]
    batch = await timers.create_many(many)
    assert [timer.execute_at - START for timer in batch[:2]] == [
        timedelta(seconds=60),
        timedelta(seconds=61),
    ]
    found = [timer async for timer in timers.list(metadata={"customer": "acme", "paid": True})]
    assert [timer.id for timer in found] == [created.id]
    listed = [timer.id async for timer in timers.list(page_size=50, created_after=before())]
    assert len(set(listed)) == len(listed) == 121
    page = await timers.page(page_size=2, sort="execute_at", order="asc")
    assert (len(page.items), page.total) == (2, 121)
    assert (await timers.cancel(created.id)).status == "canceled"
    again = await timers.redrive(created.id, delay=5)
    assert (again.id, again.execute_at) == (created.id, START + timedelta(seconds=5))


async def tour_of_names(client: AsyncClient) -> None:
    key = "cart/47 11?#%2F·é"
    first = await client.timers.put_by_key(key, URL, delay=60)
    moved = await client.timers.put_by_key(key, URL, delay=90)
    assert first.id == moved.id
    assert (await client.timers.get_by_key(key)).key == key
    kept = await client.timers.create(URL, delay=1, key=key, on_conflict="keep")
    assert kept.id == first.id
    with pytest.raises(ConflictError) as caught:
        await client.timers.create(URL, delay=1, key=key)
    assert caught.value.id == first.id
    assert (await client.timers.cancel_by_key(key)).id == first.id
    for dots in (".", "..", "..."):
        await client.timers.put_by_key(dots, URL, delay=60)
        assert (await client.timers.get_by_key(dots)).key == dots


async def tour_of_many(client: AsyncClient) -> None:
    told: list[Import] = []
    lines: Iterator[NewTimer] = ({"delay": 60, "callback_url": URL} for _ in range(3_000))
    imported = await client.timers.import_(lines, on_progress=told.append)
    assert (imported.lines, imported.imported, imported.refused) == (3_000, 3_000, 0)
    refused = await client.timers.import_([{"delay": 60, "callback_url": "mailto:x"}])
    assert (refused.refused, refused.errors[0].line, refused.errors[0].field) == (
        1,
        1,
        "callback_url",
    )
    seen: list[Bulk] = []
    wanted = await client.timers.bulk(
        "cancel", {"status": "pending"}, dry_run=True, on_progress=seen.append
    )
    assert wanted.done == 3_000
    assert seen[0].as_of == START
    done = await client.timers.bulk("cancel", {"created_after": before()}, limit=10)
    assert (done.done, done.as_of) == (10, START)
    with pytest.raises(InvalidRequestError, match="filter"):
        await client.timers.bulk("cancel", {})


async def tour_of_schedules(client: AsyncClient) -> None:
    schedules = client.schedules
    created = await schedules.create(
        URL, name="daily", cron="0 9 * * *", timezone="Europe/Berlin", metadata={"of": "acme"}
    )
    assert created.next[0] == datetime(2030, 1, 1, 8, tzinfo=UTC)
    assert (await schedules.get(created.id)).name == "daily"
    assert (await schedules.get_by_name("daily")).id == created.id
    past = START - timedelta(hours=1)
    often = await schedules.put_by_name("daily", URL, every=timedelta(minutes=5), start_at=past)
    assert (often.every, often.start_at) == (300, past)
    assert (await schedules.update(created.id, overlap="skip")).overlap == "skip"
    assert (await schedules.pause(created.id)).status == "paused"
    assert (await schedules.resume(created.id)).status == "active"
    assert (await schedules.trigger(created.id)).status == "pending"
    assert (await schedules.backfill(created.id, first=past, last=START)).created == 13
    found = [each async for each in schedules.list(metadata={"of": "acme"})]
    assert found == []  # it became what the PUT said
    assert [each.id async for each in schedules.list(name="daily")] == [created.id]
    previewed = await schedules.preview(every=60, start_at=START, count=2, first=START)
    assert previewed == (START, START + timedelta(minutes=1))
    assert (await schedules.page()).next_cursor is None
    assert (await schedules.end(created.id)).status == "ended"
    named = await schedules.create(URL, name="hourly", every="PT1H")
    assert (await schedules.end_by_name("hourly")).id == named.id


async def tour_of_what_is_held_back(client: AsyncClient) -> None:
    rate = await client.flows.set(
        "customer/17", max_in_flight=1, rate={"count": 10, "per_seconds": 60}
    )
    assert rate.rate == {"count": 10, "per_seconds": 60}
    assert (await client.flows.get("customer/17")).waiting == 0
    assert [flow.flow_key async for flow in client.flows.list(paused=False)] == ["customer/17"]
    assert (await client.flows.delete("customer/17")).flow_key == "customer/17"
    assert (await client.destinations.pause("https://example.com")).paused
    listed = [each async for each in client.destinations.list(destination="https://example.com")]
    assert [(each.destination, each.paused) for each in listed] == [(DESTINATION, True)]
    assert not (await client.destinations.resume("https://example.com")).paused
    assert (await client.pause()).paused_since == START
    assert not (await client.resume()).paused
    assert (await client.health()).status == "up"
    assert (await client.readiness()).status == "ready"


async def tour_of_secrets(client: AsyncClient) -> None:
    (old,) = await client.signing_secrets.list()
    new = await client.signing_secrets.rotate(overlap_seconds=60)
    assert [each.id for each in await client.signing_secrets.list()] == [old.id, new.id]
    assert new.secret not in repr(new)
    assert (await client.signing_secrets.delete(old.id)).id == old.id


def before() -> datetime:
    return START - timedelta(days=1)


TOURS: Final = (
    *(tour_of_timers, tour_of_names, tour_of_many, tour_of_schedules),
    *(tour_of_what_is_held_back, tour_of_secrets),
)


@pytest.mark.parametrize("tour", TOURS)
@pytest.mark.parametrize("run", [on_trio, on_asyncio])
async def test_each_method_does_what_it_says(
    served: tuple[ApiUnderTest, str],
    run: Callable[[str, Script], Awaitable[None]],
    tour: Script,
) -> None:
    await run(served[1], tour)


async def test_there_is_a_method_for_each_route_but_those_of_operators(
    served: tuple[ApiUnderTest, str],
) -> None:
    api, url = served
    document = (await api.client.get("/openapi.json")).json()
    asked: list[str] = []

    async def note(request: httpx.Request) -> None:
        asked.append(f"{request.method} {request.url.raw_path.decode().partition('?')[0]}")

    async with httpx.AsyncClient(event_hooks={"request": [note]}) as http:
        for number, tour in enumerate(TOURS):
            await api.create_project(f"tour-{number}")
            await tour(AsyncClient(url, API_KEY, project=f"tour-{number}", http=http))
    known = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    unasked = {route for route in known if not any(map(as_pattern(route).fullmatch, asked))}
    assert {route for route in unasked if not OF_OPERATORS.match(route)} == set()


def as_pattern(route: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route)))


async def test_code_that_blocks_has_the_same_methods(served: tuple[ApiUnderTest, str]) -> None:
    def script() -> None:
        with Client(served[1], API_KEY) as client:
            created = assert_type(client.timers.create(URL, delay=60), TimerSummary)
            assert_type(client.timers.get(created.id), Timer)
            assert_type(client.timers.attempts(created.id), tuple[Attempt, ...])
            many: list[NewTimer] = [{"delay": 60, "callback_url": URL}] * 120
            assert client.timers.import_(many).imported == 120
            listed = assert_type(client.timers.list(page_size=50), Iterator[ListedTimer])
            assert len({timer.id for timer in listed}) == 121
            assert client.timers.bulk("cancel", {"status": "pending"}).done == 121
            assert client.timers.get(created.id).status == "canceled"

    await in_thread(script)


@pytest.mark.parametrize("run", [on_trio, on_asyncio])
async def test_list_goes_on_from_page_to_page_as_it_is_read(
    served: tuple[ApiUnderTest, str], run: Callable[[str, Script], Awaitable[None]]
) -> None:
    async def script(client: AsyncClient) -> None:
        listed = client.timers.list(page_size=2)
        for number in range(5):
            await client.timers.create(URL, delay=60 + number)
        first = await anext(listed)
        others = [timer async for timer in listed]
        assert len({timer.id for timer in (first, *others)}) == 5

    await run(served[1], script)


async def test_what_is_wrong_is_told_field_by_field(served: tuple[ApiUnderTest, str]) -> None:
    async with AsyncClient(served[1], API_KEY) as client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.timers.create("mailto:x", timeout_seconds=0)
    error = caught.value
    assert (error.status, error.code, error.may_have_happened) == (400, 2, False)
    assert {each.field for each in error.fields} == {
        "callback_url",
        "timeout_seconds",
        "execute_at",
    }


async def test_typo_is_found_by_whoever_checks_types_and_by_the_service(
    served: tuple[ApiUnderTest, str],
) -> None:
    async with AsyncClient(served[1], API_KEY) as client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.timers.create(URL, dealy=60)  # type: ignore[call-arg]
        assert "dealy" in {each.field for each in caught.value.fields}
        with pytest.raises(InvalidRequestError):
            await client.timers.page(status="done")  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError):
            await client.timers.create(URL, delay={})  # type: ignore[arg-type]


async def test_refusals_are_told_apart(served: tuple[ApiUnderTest, str]) -> None:
    api, url = served
    reader = await api.create_key("read")
    async with AsyncClient(url, API_KEY) as client, AsyncClient(url, reader) as reading:
        with pytest.raises(NotFoundError, match="no timer has this id"):
            await client.timers.get("nonsense")
        with pytest.raises(ForbiddenError, match="write"):
            await reading.timers.create(URL, delay=60)
        async with AsyncClient(url, "k" * 40) as stranger:
            with pytest.raises(UnauthorizedError):
                await stranger.timers.get("x")
        created = await client.timers.create(URL, delay=60)
        await api.begin(created.id)
        with pytest.raises(ConflictError, match="executing"):
            await client.timers.redrive(created.id)
        await api.client.put("/projects/default", json={"max_live_timers": 1})
        api.clock.advance(10)
        with pytest.raises(QuotaUsedUpError):
            await client.timers.create_many([{"callback_url": URL, "delay": 60}] * 2)


async def test_whoever_asks_too_often_learns_when_to_come_back(
    served: tuple[ApiUnderTest, str],
) -> None:
    api, url = served
    limit = {"rate_limit": {"requests_per_second": 0.1, "burst": 1}}
    await api.client.put("/projects/default", json=limit)
    async with AsyncClient(url, API_KEY, max_wait_s=2) as client:
        await client.timers.page()
        with pytest.raises(RateLimitedError) as caught:
            await client.timers.page()
    assert caught.value.retry_after_s == 10


async def test_service_that_has_no_database_tells_how_it_is(
    served: tuple[ApiUnderTest, str],
) -> None:
    api, url = served
    api.health.database_connected = api.health.ready = False
    async with AsyncClient(url, retries=0) as client:
        assert (await client.health()).database == "disconnected"
        assert (await client.readiness()).status == "not ready"
    async with AsyncClient(url, API_KEY, retries=0) as client:
        with pytest.raises(UnavailableError) as caught:
            await client.timers.bulk("cancel", {"status": "pending"})
    assert caught.value.retry_after_s == 1


async def test_action_that_is_cut_short_tells_how_to_go_on(
    served: tuple[ApiUnderTest, str],
) -> None:
    api, url = served
    async with AsyncClient(url, API_KEY) as client:
        await client.timers.create(URL, delay=60)
        api.stopping.set()
        with pytest.raises(IncompleteError, match="the service stops") as caught:
            await client.timers.bulk("cancel", {"status": "pending"})
        assert caught.value.progress == Bulk(as_of=START)
        with pytest.raises(IncompleteError, match="the service stops") as cut:
            await client.timers.import_([{"callback_url": URL, "delay": 60}] * 10)
        assert cut.value.progress.through_line == 10


async def test_client_acts_in_the_project_that_it_names(served: tuple[ApiUnderTest, str]) -> None:
    api, url = served
    await api.create_project("shop")
    async with (
        AsyncClient(url, API_KEY, project="shop") as shop,
        AsyncClient(url, API_KEY) as default,
    ):
        created = await shop.timers.create(URL, delay=60)
        assert (await shop.timers.get(created.id)).id == created.id
        with pytest.raises(NotFoundError):
            await default.timers.get(created.id)


async def test_client_of_ones_own_is_asked_and_left_open(served: tuple[ApiUnderTest, str]) -> None:
    async with httpx.AsyncClient(headers={"X-Trace": "1"}) as http:
        async with AsyncClient(served[1], API_KEY, http=http) as client:
            await client.timers.page()
        assert not http.is_closed

    def script() -> None:
        with httpx.Client() as own:
            with Client(served[1], API_KEY, http=own) as client:
                client.timers.page()
            assert not own.is_closed

    await in_thread(script)


@pytest.mark.parametrize(
    "url", ["", "timers.example.com", "ftp://x", "http://", "http://x?a=1", "http://x#a"]
)
def test_what_is_no_url_of_a_service_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is no URL of a service"):
        Client(url, API_KEY)


@pytest.mark.parametrize("key", ["grüß" * 9, "a\nb", "\0"])
def test_what_is_no_key_is_refused_at_once_and_not_told(key: str) -> None:
    with pytest.raises(ValueError, match="what is sent as X-API-Key must be") as caught:
        Client("http://127.0.0.1:1", key)
    assert key not in str(caught.value)
    words = "what is sent as Idempotency-Key"
    with Client("http://127.0.0.1:1") as client, pytest.raises(ValueError, match=words):
        client.timers.create(URL, delay=1, idempotency_key=key)


def test_method_tells_what_it_takes() -> None:
    with Client("http://127.0.0.1:1") as client:
        assert [*signature(client.timers.get).parameters] == ["timer_id"]
        assert client.timers.cancel.__doc__ == "Cancel a timer: once this returns it never fires."


def test_no_key_is_shown() -> None:
    with Client("http://127.0.0.1:1", API_KEY) as client:
        parts: list[Any] = [client, client.timers, client.driver, client.driver._service]
        assert all(API_KEY not in repr(part) for part in parts)
