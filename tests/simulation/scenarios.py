"""Random histories: what goes wrong, and what consumers do meanwhile, out of one seed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from random import Random
from typing import Final

import trio

from tests.simulation.consumers import Consumer
from tests.simulation.far_end import RETRIED, Behaviour
from tests.simulation.faults import Away, Fault, Faults
from tests.simulation.history import History
from tests.simulation.world import Build, Process, World, run_world
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import Delivery

SPAN_S: Final = 40.0
"""In which consumers act and things go wrong."""
TIMERS: Final = 40
RETRYING_SHARE: Final = 0.4
"""Of the timers so many have a policy."""
FLEET_SPAN_S: Final = 25.0
"""In a fleet things go wrong so often that less time tells as much."""
FLEET: Final = 5
"""The most replicas that a fleet begins with."""


class Scenario(StrEnum):
    """The one great thing that goes wrong in a history; in a fleet many do, one after the other."""

    CALM = "calm"
    CRASH = "crash"
    OUTAGE = "outage"
    RESTART = "restart"
    FREEZE = "freeze"
    TWO_REPLICAS = "one-of-two-dies"
    ROLLING = "one-of-two-stops"
    PARTITION = "one-of-two-is-cut-off"
    LOCKS = "a-stranger-locks-rows"
    FLEET = "fleet"


Consume = Callable[[World, float, float], Awaitable[None]]
"""What one consumer does; it hears when the great thing goes wrong, and how long all act."""


def random_history(seed: int, scenario: Scenario, build: Build | None = None) -> History:
    """Run the history of a seed."""
    return history_of([consume] * TIMERS, seed, scenario, build)


def history_of(
    consumers: Sequence[Consume],
    seed: int,
    scenario: Scenario,
    build: Build | None = None,
    also_away: Callable[[Random, float], Sequence[Away]] = lambda *_: (),
    prepare: Callable[[World], None] = lambda _: None,
) -> History:
    """Run the history of a seed, with these consumers.

    `also_away` says what else cannot be reached, and hears when the great thing goes wrong.
    `prepare` is called before anything is started.
    """
    random = Random(f"{scenario} {seed}")
    span_s = FLEET_SPAN_S if scenario is Scenario.FLEET else SPAN_S
    climax_s = random.uniform(1.0, span_s * 0.75)

    async def script(world: World) -> None:
        prepare(world)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play, world, scenario, climax_s)
            for each in consumers:
                nursery.start_soon(each, world, climax_s, span_s)
        await world.settled()

    faults = faults_of(random, scenario, climax_s)
    faults.outages = [*faults.outages, *also_away(random, climax_s)]
    return run_world(seed, faults, script, build)


def faults_of(random: Random, scenario: Scenario, began_s: float) -> Faults:
    """Choose what goes wrong on the way to the database."""
    rates: dict[Fault, float] = {}
    if random.random() < 0.5:
        rates = {fault: random.choice([0.0, 0.01, 0.05]) for fault in Fault}
    lost_hints = random.choice([0.0, 0.0, 0.3])
    ended_s = began_s + random.choice([0.3, 2.0, 5.0, random.uniform(0.1, 60.0)])
    outages = {
        Scenario.OUTAGE: [Away(began_s=began_s, ended_s=ended_s)],
        Scenario.PARTITION: [Away(began_s=began_s, ended_s=ended_s, process="process 0")],
    }
    if scenario is Scenario.FLEET and random.random() < 0.5:
        victim = random.choice([None, *(f"process {number}" for number in range(FLEET))])
        outages[scenario] = [Away(began_s=began_s, ended_s=ended_s, process=victim)]
    delay_s = random.choice([0.001, 0.01])
    return Faults(
        rates=rates, outages=outages.get(scenario, []), delay_s=delay_s, lost_hints=lost_hints
    )


async def play(world: World, scenario: Scenario, climax_s: float) -> None:
    """Let processes come, and go as the scenario has it."""
    if scenario is Scenario.FLEET:
        await _play_fleet(world)
        return
    first = await world.start_process(alone=scenario is not Scenario.PARTITION)
    if scenario in {
        Scenario.TWO_REPLICAS,
        Scenario.LOCKS,
        Scenario.ROLLING,
        Scenario.PARTITION,
        Scenario.FREEZE,
    }:
        await first.replica.wait_loaded()
        await world.start_process(alone=False)
    await trio.sleep_until(0.0 if scenario is Scenario.LOCKS else climax_s)
    match scenario:
        case Scenario.CRASH:
            await _crash(world, first)
        case Scenario.RESTART:
            await _restart(world, first)
        case Scenario.FREEZE:
            await _freeze(world, first)
        case Scenario.TWO_REPLICAS:
            first.die()
        case Scenario.LOCKS:
            await _lock_rows(world, first)
        case Scenario.ROLLING:
            await first.stop()
        case Scenario.CALM | Scenario.OUTAGE | Scenario.PARTITION:
            pass


async def _play_fleet(world: World) -> None:
    """Let replicas come and go for a while, and at least one that is fit be there all the time."""
    for _ in range(world.random.randint(2, FLEET)):
        await world.start_process(alone=False)
    async with trio.open_nursery() as nursery:
        while trio.current_time() < FLEET_SPAN_S:
            await trio.sleep(world.random.choice([0.3, 1.0, world.random.uniform(0.0, 10.0)]))
            fit = [process for process in world.processes if process.is_fit]
            if len(fit) < 2:
                await world.start_process(alone=False)
                continue
            one = world.random.choice(fit)
            match world.random.choice(["kill", "stop", "stop", "freeze", "join"]):
                case "kill":
                    one.die()
                case "stop":
                    nursery.start_soon(one.stop)
                case "freeze":
                    nursery.start_soon(_freeze, world, one)
                case _:
                    await world.start_process(alone=False)


async def _crash(world: World, first: Process) -> None:
    alone = world.random.random() < 0.5
    began_s = trio.current_time()
    if alone:
        first.kill()
    else:
        first.die()
    await trio.sleep(world.random.choice([0.0, 0.05, 2.0, 10.0]))
    await world.start_process(alone=alone)
    if alone:
        world.trouble("a crash", began_s, recovery_s=1.0)


async def _restart(world: World, first: Process) -> None:
    began_s = trio.current_time()
    await first.stop()
    await world.start_process(alone=False)
    world.trouble("a restart", began_s, recovery_s=1.0)


async def _lock_rows(world: World, first: Process) -> None:
    """Lock some of what is there again and again; of two replicas one may die meanwhile."""
    dies_s = world.random.choice([world.random.uniform(0.0, SPAN_S), float("inf")])
    async with trio.open_nursery() as nursery:
        while trio.current_time() < SPAN_S:
            await trio.sleep(world.random.uniform(0.0, 3.0))
            free = sorted(world.database._rows.keys() - world.database.locked)
            some = world.random.sample(free, min(len(free), world.random.randint(1, 5)))
            seconds = world.random.choice([0.02, 0.3, 2.0, world.random.uniform(0.0, 15.0)])
            nursery.start_soon(world.lock, some, seconds)
            if trio.current_time() > dies_s and first.is_alive:
                first.die()


async def _freeze(world: World, first: Process) -> None:
    await first.freeze(world.random.choice([0.5, 2.9, 4.5, 7.0, 9.0, 20.0]))


async def consume(world: World, climax_s: float, span_s: float) -> None:
    """Have one timer, and do something to it at odd moments, most likely about the climax."""
    random = world.random
    await trio.sleep(random.uniform(0.0, span_s))
    consumer = Consumer(world)
    # What is a few seconds ahead outlives its creator's knowledge of whose it is.
    spans_s = [(0.0, 0.0), (0.0, 0.3), (0.0, 5.0), (3.0, 9.0), (0.0, 30.0)]
    in_s = random.uniform(*random.choice(spans_s))
    if random.random() < 0.5:
        # What is in the middle of something when it goes wrong shows most.
        in_s = max(0.0, climax_s + random.uniform(-0.3, 0.3) - trio.current_time())
    retry = _policy(random) if random.random() < RETRYING_SHARE else None
    healthy = RETRIED if retry else (Behaviour.FAST,)
    await consumer.create(
        in_s=in_s,
        behaviour=random.choice(list(Behaviour) if random.random() < 0.5 else healthy),
        delivery=random.choice([*Delivery, Delivery.AT_LEAST_ONCE] if retry else list(Delivery)),
        timeout_s=random.choice([0.5, 3.0, 12.0, 30.0]),
        grace_s=random.choice([1.0, 300.0, None]),
        retry=retry,
    )
    near_s = trio.current_time() + max(0.0, in_s - random.choice([0.0, 0.05, 0.15, 0.3, 2.0]))
    if retry:
        # Between two attempts there is more to be met than before the first.
        near_s += random.choice([0.0, 0.3, 0.6, 1.0, 3.0])
    for _ in range(random.choice([0, 0, 1, 1, 2, 4])):
        await trio.sleep_until(near_s + random.uniform(-0.05, 0.15))
        if consumer.timer_id is not None:
            near_s = trio.current_time() + await _change(world, consumer)


def _policy(random: Random) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=random.choice([2, 3, 4]),
        delays=random.choice([(0.2,), (0.5, 1.0), (1.0, 3.0), (5.0,), None]),
        initial_delay_s=random.choice([0.2, 0.7]),
        max_delay_s=random.choice([1.0, 5.0]),
        jitter=random.choice([0.0, 0.2, 1.0]),
        give_up_after_s=random.choice([None, None, 2.0, 8.0]),
    )


async def _change(world: World, consumer: Consumer) -> float:
    """Do something to a timer; answers with how long to wait before the next."""
    random = world.random
    match random.choice(["update", "update", "cancel", "look"]):
        case "update":
            spans_s = [(0.0, 0.0), (0.2, 0.2), (0.0, 1.0), (3.0, 9.0), (0.0, 20.0)]
            in_s = random.uniform(*random.choice(spans_s))
            behaviour = random.choice(list(Behaviour)) if random.random() < 0.2 else None
            stays = consumer.knows and random.random() < 0.2
            await consumer.update(in_s=None if stays else in_s, behaviour=behaviour)
            return max(0.0, in_s - random.choice([0.0, 0.1, 0.3]))
        case "cancel":
            await consumer.cancel()
        case _:
            await consumer.look()
    return random.uniform(0.0, 1.0)
