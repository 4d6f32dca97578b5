"""`timer_trio.testing`, as programmers use it who test their own code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from timer_trio.config import Settings
from timer_trio.testing import API_KEY, START, Answer, Callback, TimerService, start_timer_service

URL = "https://example.com/hook"


@asynccontextmanager
async def running_service(answer: Answer = lambda _: 200) -> AsyncIterator[TimerService]:
    async with trio.open_nursery() as nursery:
        yield await start_timer_service(nursery, answer=answer)
        nursery.cancel_scope.cancel()


def on_virtual_time(script: Callable[[TimerService], Awaitable[None]], answer: Answer) -> None:
    async def main() -> None:
        async with running_service(answer) as service:
            await script(service)

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def create(service: TimerService, **fields: Any) -> str:
    wanted = {"delay": 60, "callback_url": URL, **fields}
    created = await service.client.post("/timers", json=wanted)
    assert created.status_code == 201, created.text
    timer_id: str = created.json()["data"]["id"]
    return timer_id


async def end_of(service: TimerService, timer_id: str) -> Any:
    """Wait until a timer has ended; answers with its data."""
    while True:
        data = (await service.client.get(f"/timers/{timer_id}")).json()["data"]
        if data["status"] not in {"pending", "executing"}:
            return data
        await trio.sleep(1)


async def test_timer_for_next_week_fires_at_once(autojump_clock: MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(nursery)
        next_week = service.now() + timedelta(days=7)
        timer = {
            "execute_at": next_week.isoformat(),
            "callback_url": URL,
            "callback_payload": {"hello": "world"},
        }
        created = await service.client.post("/timers", json=timer)
        assert created.status_code == 201
        (callback,) = await service.wait_callbacks(1)
        assert callback.json() == {"hello": "world"}
        assert callback.url == URL
        assert timedelta(0) <= callback.sent_at - next_week < timedelta(milliseconds=1)
        nursery.cancel_scope.cancel()


def test_year_passes_within_seconds() -> None:
    async def script(service: TimerService) -> None:
        await create(service, delay="P364D")
        (callback,) = await service.wait_callbacks(1)
        assert callback.sent_at >= START + timedelta(days=364)

    on_virtual_time(script, lambda _: 200)


def test_clock_shows_the_start() -> None:
    async def script(service: TimerService) -> None:
        await trio.lowlevel.checkpoint()
        assert service.now() - START < timedelta(milliseconds=1)

    on_virtual_time(script, lambda _: 200)


@pytest.mark.parametrize("status", [200, 204])
def test_answer_that_is_a_success_completes(status: int) -> None:
    async def script(service: TimerService) -> None:
        assert (await end_of(service, await create(service)))["status"] == "completed"

    on_virtual_time(script, lambda _: status)


def test_answer_may_be_a_whole_response() -> None:
    async def script(service: TimerService) -> None:
        data = await end_of(service, await create(service))
        assert data["status"] == "failed"
        assert data["last_error"] == "HTTP 503 from https://example.com"

    on_virtual_time(script, lambda _: httpx.Response(503))


def test_slow_answer_times_out() -> None:
    async def slow(_: Callback) -> int:
        await trio.sleep(31)
        return 200

    async def script(service: TimerService) -> None:
        data = await end_of(service, await create(service))
        assert data["last_error"] == "timed out after 30s"

    on_virtual_time(script, slow)


def test_answer_that_comes_in_time_completes() -> None:
    async def slow(_: Callback) -> int:
        await trio.sleep(29)
        return 200

    async def script(service: TimerService) -> None:
        assert (await end_of(service, await create(service)))["status"] == "completed"

    on_virtual_time(script, slow)


def test_answer_may_break_the_connection() -> None:
    def broken(_: Callback) -> int:
        raise httpx.ReadError("connection reset")

    async def script(service: TimerService) -> None:
        data = await end_of(service, await create(service))
        assert data["last_error"] == "connection reset"

    on_virtual_time(script, broken)


def test_answer_that_is_broken_itself_costs_its_own_timer_alone() -> None:
    def broken(callback: Callback) -> int:
        return int(callback.json()["status"])

    async def script(service: TimerService) -> None:
        ill = await create(service, callback_payload={})
        well = await create(service, callback_payload={"status": 200})
        assert (await end_of(service, ill))["last_error"] == "internal error: KeyError"
        assert (await end_of(service, well))["status"] == "completed"

    on_virtual_time(script, broken)


def test_canceled_timer_never_fires() -> None:
    async def script(service: TimerService) -> None:
        timer_id = await create(service)
        assert (await service.client.delete(f"/timers/{timer_id}")).status_code == 200
        await trio.sleep(3600)
        assert not service.callbacks

    on_virtual_time(script, lambda _: 200)


def test_updated_timer_fires_as_updated() -> None:
    async def script(service: TimerService) -> None:
        timer_id = await create(service, delay="P30D")
        change = {"delay": 5, "callback_payload": 7}
        assert (await service.client.put(f"/timers/{timer_id}", json=change)).status_code == 200
        (callback,) = await service.wait_callbacks(1)
        assert callback.json() == 7
        assert callback.sent_at - START < timedelta(seconds=6)

    on_virtual_time(script, lambda _: 200)


def test_answer_may_set_the_next_timer() -> None:
    async def again(callback: Callback) -> int:
        if len(services[0].callbacks) < 10:
            await create(services[0], delay=3600, callback_url=callback.url)
        return 200

    async def script(service: TimerService) -> None:
        services.append(service)
        await create(service, delay=3600)
        callbacks = await service.wait_callbacks(10)
        took = callbacks[-1].sent_at - START
        assert timedelta(hours=10) <= took < timedelta(hours=10, seconds=1)

    services: list[TimerService] = []
    on_virtual_time(script, again)


def test_many_timers_fire_each_at_its_instant() -> None:
    async def script(service: TimerService) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(_create_numbered, service, number)
        callbacks = await service.wait_callbacks(300)
        assert sorted(callback.json() for callback in callbacks) == list(range(300))
        assert [c.json() for c in callbacks] == sorted(c.json() for c in callbacks)

    on_virtual_time(script, lambda _: 200)


def test_own_client_reaches_the_service_through_its_transport() -> None:
    async def script(service: TimerService) -> None:
        async with httpx.AsyncClient(transport=service.api, base_url="http://timers") as client:
            refused = await client.get("/timers")
            assert refused.status_code == 401
            listed = await client.get("/timers", headers={"X-API-Key": API_KEY})
            assert listed.json()["data"]["total"] == 0

    on_virtual_time(script, lambda _: 200)


def test_waiting_for_callbacks_that_are_there_answers_at_once() -> None:
    async def script(service: TimerService) -> None:
        await create(service)
        first = list(await service.wait_callbacks(1))
        assert list(await service.wait_callbacks(1)) == first
        assert list(await service.wait_callbacks(0)) == first

    on_virtual_time(script, lambda _: 200)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/x", "http://10.0.0.7/", "http://[::1]/"])
def test_callback_may_name_any_address(url: str) -> None:
    async def script(service: TimerService) -> None:
        await create(service, callback_url=url)
        (callback,) = await service.wait_callbacks(1)
        assert callback.url == url

    on_virtual_time(script, lambda _: 200)


async def test_own_settings_bring_the_guard_of_the_deployed_service(
    autojump_clock: MockClock,
) -> None:
    assert autojump_clock.autojump_threshold == 0
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(nursery, settings=Settings())
        wanted = {"delay": 60, "callback_url": "http://127.0.0.1:8000/"}
        refused = await service.client.post("/timers", json=wanted)
        assert refused.status_code == 400
        assert "127.0.0.1, a loopback address" in refused.json()["message"]
        nursery.cancel_scope.cancel()


def test_service_is_healthy() -> None:
    async def script(service: TimerService) -> None:
        for path in ("/health", "/health/ready", "/metrics"):
            assert (await service.client.get(path)).status_code == 200

    on_virtual_time(script, lambda _: 200)


async def _create_numbered(service: TimerService, number: int) -> None:
    await create(service, delay=600 + number, callback_payload=number)
