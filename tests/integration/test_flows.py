"""What holds callbacks back, from REST to the receiver, by one replica on a virtual clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from timer_trio.domain.probes import KEPT
from timer_trio.maintenance.retention import INTERVAL_S
from timer_trio.storage.memory import MemoryStorage
from timer_trio.testing import START, Callback, TimerService, start_timer_service

URL: Final = "https://example.com/hook"
SOON_S: Final = 0.5
"""So long after it may be, something has been sent."""


class Far:
    """A receiver that takes its time, and counts what it has at once of each flow."""

    def __init__(self) -> None:
        self.duration_s = 1.0
        self.status = 200
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def answer(self, callback: Callback) -> int:
        flow = callback.url.rpartition("/")[2]
        self.now[flow] += 1
        self.most[flow] = max(self.most[flow], self.now[flow])
        await trio.sleep(self.duration_s)
        self.now[flow] -= 1
        return self.status


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
async def service(far: Far) -> AsyncIterator[TimerService]:
    async with trio.open_nursery() as nursery:
        yield await start_timer_service(nursery, answer=far.answer)
        nursery.cancel_scope.cancel()


async def put(service: TimerService, path: str, body: dict[str, Any]) -> None:
    answer = await service.client.put(path, json=body)
    assert answer.status_code == 200, answer.text


async def post(service: TimerService, path: str, body: Any = None, **headers: str) -> Any:
    answer = await service.client.post(path, json=body, headers=headers)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()["data"]


async def create(service: TimerService, flow: str | None = "a", **fields: Any) -> str:
    wanted = {"delay": 10, "callback_url": f"https://example.com/{flow}", **fields}
    if flow is not None:
        wanted["flow_key"] = flow
    return str((await post(service, "/timers", wanted))["id"])


async def status(service: TimerService, timer_id: str) -> str:
    return str((await service.client.get(f"/timers/{timer_id}")).json()["data"]["status"])


def sent_at(service: TimerService) -> list[float]:
    return [(callback.sent_at - START).total_seconds() for callback in service.callbacks]


async def test_limit_holds_and_all_arrive(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await put(service, "/flows/a", {"max_in_flight": 2})
    for _ in range(10):
        await create(service)
        await create(service, "free")
    await trio.sleep(10.5)
    assert far.now["a"] == 2
    held = (await service.client.get("/flows/a")).json()["data"]
    assert (held["in_flight"], held["waiting"]) == (2, 8)
    await service.wait_callbacks(20)
    await trio.sleep(2)
    assert far.most["a"] == 2
    assert far.most["free"] > 2
    assert 14.0 < max(sent_at(service)) < 16.0


async def test_one_at_a_time_goes_in_the_order_of_due_time(
    service: TimerService, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await put(service, "/flows/a", {"max_in_flight": 1})
    for delay in (12, 10.5, 11, 14, 13):
        await create(service, delay=delay, callback_payload=delay)
    await service.wait_callbacks(5)
    assert [callback.json() for callback in service.callbacks] == [10.5, 11, 12, 13, 14]


async def test_rate_holds_in_any_window(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    far.duration_s = 0.01
    await put(service, "/flows/a", {"rate": {"count": 3, "per_seconds": 60}})
    for number in range(10):
        await create(service, delay=number / 2)
    await service.wait_callbacks(10)
    instants = sent_at(service)
    assert all(later - earlier > 60 for earlier, later in zip(instants, instants[3:], strict=False))
    assert instants[-1] < 3 * 60 + 10


async def test_what_waited_for_its_flow_has_missed_nothing(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    far.duration_s = 20.0
    await put(service, "/flows/a", {"max_in_flight": 1})
    timers = [await create(service, misfire_grace_seconds=5) for _ in range(4)]
    await service.wait_callbacks(4)
    await trio.sleep(30)
    assert {await status(service, each) for each in timers} == {"completed"}


@pytest.mark.parametrize(
    ("pause", "resume", "body"),
    [
        ("/pause", "/resume", None),
        ("/destinations/pause", "/destinations/resume", {"destination": "https://example.com"}),
    ],
)
@pytest.mark.parametrize("flow", [None, "a"])
async def test_nothing_is_sent_while_it_is_paused_and_nothing_is_missed(
    service: TimerService,
    pause: str,
    resume: str,
    body: Any,
    flow: str | None,
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    timer_id = await create(service, flow, misfire_grace_seconds=5)
    canceled = await create(service, flow)
    assert (await post(service, pause, body))["paused"]
    await trio.sleep(3600)
    assert await status(service, timer_id) == "pending"
    assert (await service.client.delete(f"/timers/{canceled}")).status_code == 200
    assert service.callbacks == []
    assert not (await post(service, resume, body))["paused"]
    await service.wait_callbacks(1)
    await trio.sleep(2)
    assert await status(service, timer_id) == "completed"
    assert len(service.callbacks) == 1
    assert 3600 <= sent_at(service)[0] < 3600 + SOON_S


async def test_paused_flow_waits_and_others_go(
    service: TimerService, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await put(service, "/flows/a", {"paused": True})
    timer_id = await create(service, "a", misfire_grace_seconds=5)
    await create(service, "b")
    await trio.sleep(600)
    assert [callback.url.rpartition("/")[2] for callback in service.callbacks] == ["b"]
    await put(service, "/flows/a", {"paused": False})
    await service.wait_callbacks(2)
    await trio.sleep(2)
    assert await status(service, timer_id) == "completed"


async def test_flow_whose_settings_are_deleted_is_held_no_more(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await put(service, "/flows/a", {"max_in_flight": 1, "paused": True})
    for _ in range(5):
        await create(service)
    await trio.sleep(60)
    assert (await service.client.delete("/flows/a")).status_code == 200
    await service.wait_callbacks(5)
    assert far.most["a"] > 1


async def test_limit_that_is_set_while_it_fires_holds_from_then_on(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    far.duration_s = 0.9
    for number in range(40):
        await create(service, delay=10 + number / 10)
    await trio.sleep(11)
    assert far.now["a"] > 3
    await put(service, "/flows/a", {"max_in_flight": 2})
    await trio.sleep(3)
    far.most.clear()
    await service.wait_callbacks(40)
    assert far.most["a"] == 2


async def test_retry_of_a_flow_lets_the_next_one_go_and_comes_back_in_its_limit(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    far.status = 503
    await put(service, "/flows/a", {"max_in_flight": 1})
    retry = {"delays": [5], "max_attempts": 2, "jitter": 0}
    timers = [await create(service, retry=retry) for _ in range(3)]
    await service.wait_callbacks(6)
    await trio.sleep(5)
    assert far.most["a"] == 1
    assert {await status(service, each) for each in timers} == {"failed"}


async def test_timer_of_a_flow_that_is_moved_or_redriven_stays_within_its_limit(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await put(service, "/flows/a", {"max_in_flight": 1})
    timers = [await create(service, delay=1000) for _ in range(3)]
    for each in timers:
        await put(service, f"/timers/{each}", {"delay": 2})
    await service.wait_callbacks(3)
    await trio.sleep(5)
    for each in timers:
        await post(service, f"/timers/{each}/redrive")
    await service.wait_callbacks(6)
    assert far.most["a"] == 1


async def test_occurrences_of_a_schedule_are_in_its_flow(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    far.duration_s = 3.0
    await put(service, "/flows/a", {"max_in_flight": 1})
    schedule = {"every": 1, "callback_url": "https://example.com/a", "flow_key": "a"}
    for overlap in ("allow", "skip"):
        await post(service, "/schedules", {**schedule, "overlap": overlap, "catch_up": "all"})
    await service.wait_callbacks(8)
    assert far.most["a"] == 1


async def test_project_holds_no_more_than_its_limit(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    await put(service, "/projects/default", {"max_in_flight": 3})
    for _ in range(9):
        await create(service, None)
    await service.wait_callbacks(9)
    assert far.most["None"] == 3


async def test_breaker_opens_probes_and_closes(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    far.duration_s, far.status = 0.1, 503
    await put(service, "/projects/default", {"breaker": {"failures": 3, "open_seconds": 60}})
    timers = [
        await create(service, None, delay=10 + each, misfire_grace_seconds=600)
        for each in range(10)
    ]
    await trio.sleep(30)
    assert len(service.callbacks) == 3
    assert {await status(service, each) for each in timers[3:]} == {"pending"}
    (there,) = (await service.client.get("/destinations")).json()["data"]["destinations"]
    assert there["waiting"] == 7
    await trio.sleep(50)
    assert len(service.callbacks) == 4  # the probe has failed
    far.status = 200
    await trio.sleep(70)
    assert len(service.callbacks) == 10
    assert await status(service, timers[-1]) == "completed"


async def test_what_is_known_of_probes_is_forgotten(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    far.duration_s, far.status = 0.1, 503
    await put(service, "/projects/default", {"breaker": {"failures": 1, "open_seconds": 60}})
    for delay in (10, 12):
        await create(service, None, delay=delay, misfire_grace_seconds=600)
    await service.wait_callbacks(2)
    storage = service._replica._storage
    assert isinstance(storage, MemoryStorage)
    assert len(storage._probes) == 1
    await trio.sleep(KEPT.total_seconds() + 2 * INTERVAL_S)
    assert not storage._probes


async def test_open_breaker_counts_towards_the_grace(
    service: TimerService, far: Far, autojump_clock: MockClock
) -> None:
    del autojump_clock
    far.duration_s, far.status = 0.1, 503
    await put(service, "/projects/default", {"breaker": {"failures": 1, "open_seconds": 60}})
    await create(service, None)
    late = await create(service, None, delay=12, misfire_grace_seconds=20)
    far.status = 200
    await trio.sleep(5)
    far.status = 503
    await trio.sleep(100)
    assert await status(service, late) == "failed"
