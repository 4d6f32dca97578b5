"""A service whose database's clock is set."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from timer_trio.config import Settings
from timer_trio.domain.membership import LeaseTimes
from timer_trio.testing import TimerService, start_timer_service

URL = "https://example.com/hook"


@pytest.mark.parametrize("step_s", [0.8, 400.0, 3600.0, -0.8, -400.0])
async def test_timers_are_on_time_once_a_step_was_noticed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    assert autojump_clock.autojump_threshold == 0
    monkeypatch.setattr("timer_trio.testing.service.LEASE", LeaseTimes())
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(nursery, settings=Settings(callback_allow=()))
        await trio.sleep(10.5)
        before = service.now() + timedelta(seconds=2.2)
        created_before = await create(service, before.isoformat())
        service.start += timedelta(seconds=step_s)
        await trio.sleep(1.1)
        noticed = service.now()
        due_at = service.now() + timedelta(seconds=4)
        created_after = await create(service, due_at.isoformat())
        await service.wait_callbacks(2)
        sent_at = {each.headers["x-timer-id"]: each.sent_at for each in service.callbacks}
        assert timedelta(0) <= sent_at[created_after] - due_at <= timedelta(seconds=0.01)
        assert sent_at[created_before] >= before
        late = sent_at[created_before] - max(before, noticed)
        assert late <= timedelta(seconds=0.01)
        nursery.cancel_scope.cancel()


async def create(service: TimerService, execute_at: str) -> str:
    timer = {"execute_at": execute_at, "callback_url": URL, "misfire_grace_seconds": 86_400}
    answer = await service.client.post("/timers", json=timer)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])
