"""A small fixed history, in which each storage call in turn fails, or loses its reply."""

from __future__ import annotations

from typing import Final

import pytest
import trio

from tests.sampling import is_sampled
from tests.simulation.checkers import broken_promises
from tests.simulation.consumers import Consumer
from tests.simulation.far_end import Behaviour
from tests.simulation.faults import Fault, Faults
from tests.simulation.history import History
from tests.simulation.seeds import tried_with
from tests.simulation.world import World, run_world
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import Delivery

SEED = 7
OFTEN: Final = RetryPolicy(max_attempts=6, delays=(0.6,))
SELDOM: Final = RetryPolicy(max_attempts=2, delays=(5.0,))


def history_with(nth: dict[int, Fault], calls: list[str]) -> History:
    async def script(world: World) -> None:
        process = await world.start_process()
        async with trio.open_nursery() as nursery:
            for consume in STORIES:
                nursery.start_soon(consume, world)
        await world.settled()
        calls[:] = process.storage.calls

    return run_world(SEED, Faults(nth=nth), script)


@pytest.mark.parametrize("fault", Fault)
def test_promises_hold_whichever_call_fails(fault: Fault) -> None:
    calls: list[str] = []
    assert not broken_promises(history_with({}, calls))
    assert {"join", "beat", "load", "create", "claim", "settle", "update", "cancel"} < set(calls)
    broken = {
        (nth, verb): broken_promises(history_with({nth: fault}, []))
        for nth, verb in tried_with(fault, enumerate(calls), of=2)
    }
    assert not {call: violations for call, violations in broken.items() if violations}


def test_promises_hold_when_any_two_calls_in_a_row_lose_their_replies() -> None:
    calls: list[str] = []
    history_with({}, calls)
    lost = Fault.LOST_REPLY
    broken = [
        broken_promises(history_with({n: lost, n + 1: lost}, []))
        for n in range(len(calls))
        if is_sampled(n, of=3)
    ]
    assert not [violations for violations in broken if violations]


async def _fire(world: World) -> None:
    await trio.sleep(0.3)
    await Consumer(world).create(in_s=1.0)


async def _fire_at_most_once(world: World) -> None:
    await trio.sleep(0.3)
    await Consumer(world).create(in_s=0.05, delivery=Delivery.AT_MOST_ONCE)


async def _fail(world: World) -> None:
    await trio.sleep(0.35)
    await Consumer(world).create(in_s=1.0, behaviour=Behaviour.POISON)


async def _move(world: World) -> None:
    await trio.sleep(0.4)
    consumer = Consumer(world)
    await consumer.create(in_s=1.0)
    if consumer.timer_id is not None:
        await consumer.update(in_s=2.0, behaviour=Behaviour.ERROR)


async def _retry(world: World) -> None:
    await trio.sleep(0.3)
    await Consumer(world).create(in_s=0.1, behaviour=Behaviour.FAILING, retry=OFTEN)


async def _retry_at_most_once(world: World) -> None:
    """It is refused at first, so nothing is sent before the receiver recovers."""
    await trio.sleep(0.35)
    once = Delivery.AT_MOST_ONCE
    await Consumer(world).create(in_s=0.1, behaviour=Behaviour.DOWN, retry=OFTEN, delivery=once)


async def _move_between_two_attempts(world: World) -> None:
    await trio.sleep(0.4)
    consumer = Consumer(world)
    await consumer.create(in_s=0.1, behaviour=Behaviour.ERROR, retry=SELDOM)
    await trio.sleep(0.8)
    if consumer.timer_id is not None:
        await consumer.look()
        await consumer.update(in_s=None if consumer.knows else 1.0)
        await consumer.update(in_s=1.0, behaviour=Behaviour.FAST)


async def _cancel_between_two_attempts(world: World) -> None:
    await trio.sleep(0.45)
    consumer = Consumer(world)
    await consumer.create(in_s=0.1, behaviour=Behaviour.ERROR, retry=SELDOM)
    await trio.sleep(0.8)
    if consumer.timer_id is not None:
        await consumer.cancel()
        await consumer.look()


async def _cancel(world: World) -> None:
    await trio.sleep(0.45)
    consumer = Consumer(world)
    await consumer.create(in_s=1.0)
    await trio.sleep(0.8)
    if consumer.timer_id is not None:
        await consumer.cancel()
        await consumer.look()


STORIES: Final = (
    _fire,
    _fire_at_most_once,
    _fail,
    _move,
    _cancel,
    _retry,
    _retry_at_most_once,
    _move_between_two_attempts,
    _cancel_between_two_attempts,
)
