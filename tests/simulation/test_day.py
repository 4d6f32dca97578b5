"""A whole virtual day."""

from __future__ import annotations

import pytest
import trio

from tests.simulation.checkers import broken_promises
from tests.simulation.consumers import Consumer
from tests.simulation.faults import Faults
from tests.simulation.world import Build, World, run_world
from timer_trio.config import Settings
from timer_trio.domain.membership import LeaseTimes
from timer_trio.domain.timer import Status

DAY_S = 86_400.0
TIMERS = 5_000


@pytest.mark.soak
def test_a_day_of_timers_fires_on_time() -> None:
    async def script(world: World) -> None:
        await world.start_process()
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            for _ in range(TIMERS):
                nursery.start_soon(_create, world)
        await trio.sleep_until(DAY_S)
        await world.settled()

    settings = Settings(loader_interval_s=150)
    # With a heartbeat every minute: a lone process has nobody to be swept by.
    lease = LeaseTimes(beat_interval_s=60.0, fence_s=180.0, dead_after_s=234.0)
    history = run_world(1, Faults(delay_s=0.0), script, Build(settings=settings, lease=lease))
    assert not broken_promises(history)
    ends = [timer_log.row.status for timer_log in history.timer_logs if timer_log.row]
    assert ends == [Status.COMPLETED] * TIMERS


async def _create(world: World) -> None:
    await Consumer(world).create(in_s=world.random.uniform(0.0, DAY_S))
