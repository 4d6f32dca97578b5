"""A small fixed history of two replicas, one of which freezes at each of its points in turn.

A point is passed on each way to the database or to a receiver, and on each way back: so a freeze
falls between claim and commit, commit and send, send and answer, answer and settle.
"""

from __future__ import annotations

import pytest
import trio

from tests.simulation.checkers import broken_promises, sent_once
from tests.simulation.consumers import Consumer
from tests.simulation.far_end import Behaviour
from tests.simulation.faults import Faults
from tests.simulation.history import History
from tests.simulation.world import Build, World, run_world
from timer_trio.domain.membership import LeaseTimes
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import Delivery

SEEDS = (11, 13, 16)
ACTION_S = 3.0
"""Until then everything happens that is meant to; the rest is heartbeats."""


def history_with(seed: int, build: Build, points: list[str]) -> History:
    async def script(world: World) -> None:
        for _ in range(2):
            await world.start_process(alone=False)
        await trio.sleep(1.5)
        async with trio.open_nursery() as nursery:
            for delivery in Delivery:
                for behaviour in (Behaviour.FAST, Behaviour.ERROR, Behaviour.SLOW):
                    nursery.start_soon(_fire, world, delivery, behaviour)
                for behaviour in (Behaviour.FAILING, Behaviour.DOWN):
                    nursery.start_soon(_retry, world, delivery, behaviour)
        await trio.sleep_until(ACTION_S)
        points[:] = world.processes[0].points
        await world.settled()

    return run_world(seed, Faults(), script, build)


async def _fire(world: World, delivery: Delivery, behaviour: Behaviour) -> None:
    consumer = Consumer(world)
    await consumer.create(in_s=0.4, delivery=delivery, behaviour=behaviour, timeout_s=30.0)
    if consumer.timer_id is not None:
        await consumer.update(in_s=0.3)


async def _retry(world: World, delivery: Delivery, behaviour: Behaviour) -> None:
    consumer = Consumer(world)
    policy = RetryPolicy(max_attempts=3, delays=(0.4, 2.0), jitter=0.0)
    await consumer.create(in_s=0.4, delivery=delivery, behaviour=behaviour, retry=policy)


@pytest.mark.sampled(of=8)
@pytest.mark.parametrize("frozen_s", [3.5, 10.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_promises_hold_wherever_a_replica_freezes(seed: int, frozen_s: float) -> None:
    points: list[str] = []
    assert not broken_promises(history_with(seed, Build(), points))
    met = {"claim asked", "claim answered", "callback connected", "callback answered"}
    assert met | {"settle asked", "settle answered", "beat asked"} <= set(points)
    broken = {}
    for number, name in enumerate(points):
        build = Build(freezes={("process 0", number): frozen_s})
        broken[number, name] = broken_promises(history_with(seed, build, []))
    assert not {point: violations for point, violations in broken.items() if violations}


def test_missing_fence_is_found_out() -> None:
    unfenced = LeaseTimes(fence_s=float("inf"))

    def twice(seed: int) -> bool:
        points: list[str] = []
        history_with(seed, Build(), points)
        number = points.index("claim answered")
        build = Build(lease=unfenced, freezes={("process 0", number): 10.0})
        return bool(list(sent_once(history_with(seed, build, []))))

    assert any(map(twice, range(30)))
