"""Many replicas that come and go."""

from __future__ import annotations

from statistics import mean
from typing import Final

import pytest
import trio

from tests.simulation.checkers import broken_promises
from tests.simulation.consumers import Consumer
from tests.simulation.faults import Faults
from tests.simulation.world import TAKEOVER_S, World, run_world
from timer_trio.domain.timer import SHARDS

CHANGES: Final = 4
TIMERS: Final = 300
NOTICED_S: Final = 1.5
"""Everybody has had a heartbeat since."""


def owners_in(world: World) -> dict[int, list[str]]:
    """Name the processes that count a shard as theirs, for each shard."""
    owned = {process.name: process.shards for process in world.alive}
    return {shard: [name for name in owned if shard in owned[name]] for shard in range(SHARDS)}


@pytest.mark.parametrize("replicas", [20, pytest.param(50, marks=pytest.mark.soak)])
def test_replicas_that_come_and_go_fire_all_in_time_and_move_few_shards(replicas: int) -> None:
    shares: list[float] = []

    async def change(world: World) -> None:
        """Let one join, stop or die, and see what that moved once all have noticed."""
        before = owners_in(world)
        one = world.random.choice([process for process in world.processes if process.is_fit])
        match world.random.choice(["join", "stop", "die"]):
            case "join":
                await world.start_process(alone=False)
                await trio.sleep(NOTICED_S)
            case "stop":
                await one.stop()
                await trio.sleep(NOTICED_S)
            case _:
                one.die()
                await trio.sleep(TAKEOVER_S)
        after = owners_in(world)
        assert all(len(names) == 1 for names in after.values())
        shares.append(mean(before[shard] != after[shard] for shard in range(SHARDS)))

    async def script(world: World) -> None:
        for _ in range(replicas):
            await world.start_process(alone=False)
        await trio.sleep(2 * NOTICED_S)
        async with trio.open_nursery() as nursery:
            for _ in range(TIMERS):
                nursery.start_soon(_create, world)
            for _ in range(CHANGES):
                await change(world)
        await world.settled()

    history = run_world(3, Faults(), script)
    assert not broken_promises(history)
    assert mean(shares) < 1.5 / replicas
    assert max(shares) < 4 / replicas


async def _create(world: World) -> None:
    await trio.sleep(world.random.uniform(0.0, 20.0))
    await Consumer(world).create(in_s=world.random.uniform(0.0, 10.0))
