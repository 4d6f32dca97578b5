"""Calm histories with one change of membership: nobody is late but what the victim had in hand."""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import Final

import trio

from tests.simulation.consumers import Consumer
from tests.simulation.faults import Faults
from tests.simulation.history import History
from tests.simulation.world import Build, Process, World, run_world
from timer_trio.config import Settings
from timer_trio.storage.memory import MemoryStorage

REPLICAS: Final = 3
KNOWN_S: Final = 4.0
"""By then all have heard of each other and have read what is due, and consumers begin."""
CHANGE_S: Final = 8.0
"""When the change comes, give or take half a beat."""
AROUND_S: Final = 1.5
"""Before and after it: a look of the new owner at what is due lies within, and the loser's beat."""
TIMERS: Final = 40
NEAR_S: Final = (3.0, 9.0)
"""Beyond what a loser still fires by himself."""
FAR_S: Final = 90.0
"""Beyond the near edge, until it is moved near: nobody reads these again by himself."""
QUIET_S: Final = 12.0
PLACES: Final = 3
SETTINGS: Final = Settings(loader_interval_s=30)
CROWDED: Final = SETTINGS.model_copy(update={"cache_max_timers": 160})
"""Smaller than anybody may set it: a few hundred timers fill it."""
CROWD: Final = 120
"""Timers of each destination: each replica has twice as many as a destination has room for."""
CROWD_S: Final = (45.0, 75.0)


class Change(StrEnum):
    """What becomes of one of the replicas, or who comes."""

    JOIN = "join"
    STOP = "stop"
    DEATH = "death"
    FREEZE = "freeze"


def history_of_change(
    seed: int,
    change: Change,
    *,
    crowded: bool = False,
    faults: Faults | None = None,
    storage: type[MemoryStorage] = MemoryStorage,
) -> History:
    """Run the history of a seed. `crowded`: each destination has more timers than it has room."""
    random = Random(f"{change} {seed}")
    change_s = CHANGE_S + random.uniform(-0.5, 0.5)
    frozen_s = random.choice([3.5, 5.0, 7.0, 10.0])
    moments_s = [change_s, change_s + frozen_s] if change is Change.FREEZE else [change_s]

    async def script(world: World) -> None:
        for _ in range(REPLICAS):
            await world.start_process(alone=False)
        await trio.sleep_until(KNOWN_S)
        async with trio.open_nursery() as nursery:
            if crowded:
                for number in range(CROWD * PLACES):
                    nursery.start_soon(_wait_in_a_crowd, world, number % PLACES)
            for _ in range(TIMERS):
                nursery.start_soon(_consume, world, random.choice(moments_s))
            await trio.sleep_until(change_s)
            nursery.start_soon(make_change, world, change, frozen_s)
        await trio.sleep(QUIET_S)
        await world.settled()

    build = Build(settings=CROWDED if crowded else SETTINGS, storage=storage)
    return run_world(seed, faults or Faults(), script, build)


async def make_change(world: World, change: Change, frozen_s: float) -> None:
    """Let one of the replicas go, or another one come."""
    victim: Process = world.random.choice(world.processes)
    match change:
        case Change.JOIN:
            await world.start_process(alone=False)
        case Change.STOP:
            await victim.stop()
        case Change.DEATH:
            victim.die()
        case Change.FREEZE:
            await victim.freeze(frozen_s)


async def _wait_in_a_crowd(world: World, place: int) -> None:
    await Consumer(world).create(in_s=world.random.uniform(*CROWD_S), place=place)


async def _consume(world: World, moment_s: float) -> None:
    """Create a timer, or move one near, at about that moment."""
    random = world.random
    consumer, place = Consumer(world), random.randrange(PLACES)
    act_s = moment_s + random.uniform(-AROUND_S, AROUND_S)
    near_s = random.uniform(*NEAR_S)
    match random.choice(["create", "import", "update"]):
        case "create":
            await trio.sleep_until(act_s)
            await consumer.create(in_s=near_s, place=place)
        case "import":
            under_way_s = random.uniform(0.0, AROUND_S)
            await trio.sleep_until(act_s - under_way_s)
            await consumer.create(in_s=near_s + under_way_s, place=place, under_way_s=under_way_s)
        case _:
            await consumer.create(in_s=FAR_S, place=place)
            await trio.sleep_until(act_s)
            if consumer.timer_id is not None:
                await consumer.update(in_s=near_s)
