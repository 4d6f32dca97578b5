"""The line of each request: what stands in it, what never does, and how many there are."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any, Final

import pytest
import structlog
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.api_under_test import API_KEY, WANTED, ApiUnderTest, running_api
from timer_trio.api import access_log
from timer_trio.api.access_log import LINES, LINES_PER_S

SECRET: Final = "sesame-7f3a"  # noqa: S105 - made up

Lines = list[MutableMapping[str, Any]]


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


@pytest.fixture
def lines() -> Iterator[Lines]:
    with capture_logs() as logs:
        yield logs


@pytest.fixture
def at_info() -> Iterator[None]:
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    yield
    structlog.configure(wrapper_class=before)


def requests(lines: Lines) -> Lines:
    return [line for line in lines if line["event"] == "request"]


async def test_line_tells_who_asked_for_what(
    api: ApiUnderTest, lines: Lines, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await api.create_project("shop")
    key = await api.create_key("read", project="shop")
    timer_id = (await api.create())["id"]
    lines.clear()
    await api.client.get(f"/timers/{timer_id}", headers={"X-API-Key": key})
    await api.client.get(f"/timers/{timer_id}")
    expected = {
        "event": "request",
        "log_level": "debug",
        "method": "GET",
        "route": "/timers/{timer_id}",
        "status": 404,
        "duration_ms": 0.0,
        "key_id": key.split("_")[1],
        "project": "shop",
        "address": "127.0.0.1",
    }
    as_service = {**expected, "status": 200, "key_id": "API_KEY", "project": "default"}
    assert lines == [expected, as_service]


async def test_time_is_that_until_the_answer(
    api: ApiUnderTest, lines: Lines, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    del autojump_clock
    projects = api.storage.projects

    async def slow() -> Any:
        await trio.sleep(1.25)
        return await projects()

    monkeypatch.setattr(api.storage, "projects", slow)
    await api.client.get("/projects")
    (line,) = lines
    assert line["duration_ms"] == pytest.approx(1250)


async def test_refused_ones_are_told_of_at_info(
    api: ApiUnderTest, lines: Lines, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await api.create_project("shop")
    limit = {"rate_limit": {"requests_per_second": 0.1}}
    await api.client.put("/projects/shop", json=limit)
    key = await api.create_key("read", project="shop")
    lines.clear()
    await api.client.post("/timers", json=WANTED, headers={"X-API-Key": key})
    await api.client.get("/timers", headers={"X-API-Key": key})
    await api.client.get("/timers", headers={"X-API-Key": "wrong"})
    told = [(line["log_level"], line["status"], line["key_id"], line["project"]) for line in lines]
    key_id = key.split("_")[1]
    assert told == [
        ("info", 403, key_id, "shop"),
        ("info", 429, key_id, "shop"),
        ("info", 401, None, None),
    ]


async def test_no_secret_and_nothing_made_up_stands_in_it(
    api: ApiUnderTest, lines: Lines, autojump_clock: MockClock
) -> None:
    del autojump_clock
    headers = {"X-API-Key": SECRET, "User-Agent": SECRET, "X-Forwarded-For": SECRET}
    for key in (SECRET, API_KEY, await api.create_key("metrics")):
        how: Any = {"headers": {**headers, "X-API-Key": key}, "content": SECRET}
        for path in (f"/timers?key={SECRET}", f"/timers/{SECRET}", f"/{SECRET}", "/timers/batch"):
            await api.client.request("POST", path, **how)
            await api.client.request(SECRET.upper(), path, **how)
        await api.client.get(f"/timers/by-key/{SECRET}", headers=how["headers"])
        how["headers"]["X-Project"] = SECRET
        await api.client.get("/timers", headers=how["headers"])
        assert key not in str(lines)
    assert len(requests(lines)) == 1 + 3 * 10
    assert SECRET not in str(lines).lower()
    unknown = [line for line in lines if line["route"] is None]
    assert {line["method"] for line in unknown} == {"POST", "unknown"}


@pytest.mark.usefixtures("at_info")
async def test_at_info_other_requests_have_no_line_and_none_is_built(
    api: ApiUnderTest, lines: Lines, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    del autojump_clock

    def build(*_: object) -> dict[str, object]:
        raise AssertionError("built")

    monkeypatch.setattr(access_log, "_values", build)
    await api.create()
    assert (await api.client.get("/timers")).status_code == 200
    assert not lines


@pytest.mark.usefixtures("at_info")
async def test_stranger_fills_no_disk_and_is_counted(
    api: ApiUnderTest, lines: Lines, autojump_clock: MockClock
) -> None:
    del autojump_clock
    wrong = {"X-API-Key": "wrong"}
    for _ in range(LINES + 25):
        await api.client.get("/timers", headers=wrong)
    assert len(lines) == LINES
    await trio.sleep(1 / LINES_PER_S)
    await api.client.get("/health")
    assert lines[LINES:] == [
        {"event": "refused_requests_left_out", "log_level": "info", "count": 25}
    ]
    lines.clear()
    for _ in range(200):
        await api.client.get("/timers", headers=wrong)
        await trio.sleep(0.1)
    assert len(lines) == pytest.approx(20 * LINES_PER_S, abs=2)
    counted = sum(line.get("count", 0) for line in lines)
    assert len(requests(lines)) + counted == pytest.approx(200, abs=2)


async def test_at_debug_each_has_its_line(
    api: ApiUnderTest, lines: Lines, autojump_clock: MockClock
) -> None:
    del autojump_clock
    for _ in range(LINES + 25):
        await api.client.get("/timers", headers={"X-API-Key": "wrong"})
    assert [line["log_level"] for line in lines] == ["info"] * LINES + ["debug"] * 25
