"""`timer_trio.testing`, as programmers use it who test their own code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from timer_trio.config import Settings
from timer_trio.delivery import loader
from timer_trio.testing import API_KEY, START, Answer, Callback, TimerService, start_timer_service
from timer_trio.testing.clock import ThreadHoldsClockError, hold_clock_for_threads
from timer_trio.testing.log import quiet_log

URL = "https://example.com/hook"
README = Path(__file__).parents[2].joinpath("README.md").read_text()
DAYS = 20
MARCH = datetime(2030, 3, 20, tzinfo=UTC)
"""Summer time begins in Berlin on the 31st."""
SOON = timedelta(seconds=1)
CONFIGURATION = structlog.get_config()


@asynccontextmanager
async def running_service(
    answer: Answer = lambda _: 200, start: datetime = START
) -> AsyncIterator[TimerService]:
    async with trio.open_nursery() as nursery:
        yield await start_timer_service(nursery, answer=answer, start=start)
        nursery.cancel_scope.cancel()


def on_virtual_time(
    script: Callable[[TimerService], Awaitable[None]], answer: Answer, start: datetime = START
) -> None:
    async def main() -> None:
        async with running_service(answer, start) as service:
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
        if data["status"] not in {"pending", "executing", "retrying"}:
            return data
        await trio.sleep(1)


def test_failed_callback_is_tried_again() -> None:
    async def script(service: TimerService) -> None:
        timer_id = await create(service, retry={"delays": [60, 3_600], "jitter": 0})
        assert (await end_of(service, timer_id))["status"] == "completed"
        first, second = service.callbacks
        assert timedelta(0) <= second.sent_at - first.sent_at - timedelta(seconds=60) < SOON

    def answer(callback: Callback) -> int:
        return 503 if callback.headers["X-Timer-Attempt"] == "1" else 200

    on_virtual_time(script, answer)


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


@pytest.mark.soak
def test_year_passes_within_seconds() -> None:
    async def script(service: TimerService) -> None:
        await create(service, delay="P364D")
        (callback,) = await service.wait_callbacks(1)
        assert callback.sent_at >= START + timedelta(days=364)

    on_virtual_time(script, lambda _: 200)


def test_daily_schedule_follows_the_wall_clock_over_a_change_of_it() -> None:
    berlin = ZoneInfo("Europe/Berlin")

    async def script(service: TimerService) -> None:
        rule = {"cron": "0 9 * * *", "timezone": "Europe/Berlin", "callback_url": URL}
        assert (await service.client.post("/schedules", json=rule)).status_code == 201
        callbacks = await service.wait_callbacks(DAYS)
        sent = [callback.sent_at for callback in callbacks]
        assert {(at.astimezone(berlin).hour, at.minute) for at in sent} == {(9, 0)}
        assert {at.hour for at in sent} == {7, 8}
        assert len({at.date() for at in sent}) == DAYS

    on_virtual_time(script, lambda _: 200, MARCH)


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


@pytest.mark.parametrize("is_wanted", [False, True])
def test_log_is_quiet_unless_it_is_wanted(
    capsys: pytest.CaptureFixture[str], *, is_wanted: bool
) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            service = await start_timer_service(nursery, log=is_wanted)
            await create(service, delay="P1D")
            await service.wait_callbacks(1)
            structlog.get_logger().info("theirs")
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    lines = [line for line in capsys.readouterr().out.splitlines() if "theirs" not in line]
    assert bool(lines) is is_wanted
    # Other services of the process are as they were.
    assert structlog.get_config() == CONFIGURATION
    assert type(loader.log) is type(structlog.get_logger())


def test_fault_of_the_answer_is_logged_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_: Callback) -> int:
        raise KeyError("mine")

    async def script(service: TimerService) -> None:
        await end_of(service, await create(service))

    on_virtual_time(script, broken)
    out = capsys.readouterr().out
    assert "callback_broke" in out
    assert "KeyError: 'mine'" in out


def test_loggers_are_back_once_the_last_of_two_services_has_ended() -> None:
    before = loader.log
    with quiet_log():
        second = quiet_log()
        second.__enter__()
    assert loader.log is not before
    second.__exit__(None, None, None)
    assert loader.log is before


def test_clock_stands_still_while_a_thread_runs() -> None:
    async def answer(_: Callback) -> int:
        before = service_of[0].now()
        await trio.to_thread.run_sync(time.sleep, 0.05)  # noqa: TID251 - as somebody's code does
        assert service_of[0].now() == before
        return 200

    async def script(service: TimerService) -> None:
        service_of.append(service)
        # An hourly look of the service would end the jump.
        timer_id = await create(service, timeout_seconds=0.1)
        assert (await end_of(service, timer_id))["status"] == "completed"

    service_of: list[TimerService] = []
    on_virtual_time(script, answer)


def test_thread_that_calls_back_into_trio_lets_time_pass() -> None:
    async def script(service: TimerService) -> None:
        def work() -> None:
            trio.from_thread.run(trio.sleep, 86_400)

        before = service.now()
        await trio.to_thread.run_sync(work)  # noqa: TID251 - as somebody's code does
        assert service.now() - before == timedelta(days=1)

    on_virtual_time(script, lambda _: 200)


async def test_all_others_can_be_waited_for_beside_a_thread(autojump_clock: MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    released = threading.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(hold_clock_for_threads)
        wait = partial(trio.to_thread.run_sync, released.wait)  # noqa: TID251 - as somebody's code does
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        released.set()
        nursery.cancel_scope.cancel()


def test_thread_that_waits_for_the_clock_is_told_in_words() -> None:
    async def main() -> None:
        released = threading.Event()

        async def release_later() -> None:
            try:
                await trio.sleep(60)
            finally:
                released.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(partial(hold_clock_for_threads, limit_s=0.1))
            nursery.start_soon(release_later)
            await trio.to_thread.run_sync(released.wait)  # noqa: TID251 - as somebody's code does

    with pytest.RaisesGroup(pytest.RaisesExc(ThreadHoldsClockError, match="worker thread has run")):
        trio.run(main, clock=MockClock(autojump_threshold=0))


def blocks_of(language: str) -> str:
    section = README[README.index("## Testing your own code") : README.index("## Settings")]
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    # Those of docs/examples run there.
    own = [block for block in blocks if not block.startswith("# docs/examples")]
    assert own
    return "\n\n".join(own)


def test_examples_of_the_readme_run_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "test_reminder.py").write_text(blocks_of("python"))
    (tmp_path / "pytest.ini").write_text(blocks_of("ini"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    assert "warning" not in done.stdout


async def _create_numbered(service: TimerService, number: int) -> None:
    await create(service, delay=600 + number, callback_payload=number)
