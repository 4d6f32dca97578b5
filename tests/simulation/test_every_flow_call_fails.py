"""A small fixed history of flows, in which each storage call in turn fails, or loses its reply."""

from __future__ import annotations

from typing import Final

import pytest
import trio

from tests.simulation.checkers import broken_promises
from tests.simulation.consumers import Consumer
from tests.simulation.far_end import Behaviour
from tests.simulation.faults import Fault, Faults
from tests.simulation.flow_checkers import broken_flow_promises
from tests.simulation.flow_world import SECOND_PROJECT, FlowWorld
from tests.simulation.flows import Stream, begin, lane_of
from tests.simulation.history import History
from tests.simulation.seeds import tried_with
from tests.simulation.world import run_in
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.rules import FlowChange, Rate

SEED: Final = 9
OFTEN: Final = RetryPolicy(max_attempts=3, delays=(0.6,))
FAST: Final = (Behaviour.FAST, 0)
FAILING: Final = (Behaviour.FAILING, 1)
VERBS: Final = {
    "take_terms",
    "flow_readings",
    "flows_now",
    "rules_since",
    "put_flow",
    "delete_flow",
    "pause_project",
    "resume_project",
    "pause_destination",
    "resume_destination",
    "claim",
    "settle",
    "update",
    "cancel",
}


def history_with(nth: dict[int, Fault], calls: list[tuple[int, str]]) -> History:
    """Run it; each process fails at its calls of these numbers."""
    streams = [LINE, LIMITED, PAUSED]

    async def script(world: FlowWorld) -> History:
        await begin(world, streams)
        first = await world.start_process()
        await first.replica.wait_loaded()
        async with trio.open_nursery() as nursery:
            for consume in STORIES:
                nursery.start_soon(consume, world)
            await trio.sleep(3.0)
            await world.start_process(alone=False)
            await trio.sleep(5.0)
            nursery.start_soon(first.stop)
        await world.resume_all()
        await world.settled()
        for process in world.processes:
            calls.extend(enumerate(process.storage.calls))
        return world.history

    return run_in(FlowWorld, SEED, Faults(nth=nth), script)


def broken(history: History) -> list[str]:
    return [*broken_promises(history), *broken_flow_promises(history)]


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.LOST_REPLY])
def test_promises_hold_whichever_call_fails(fault: Fault) -> None:
    calls: list[tuple[int, str]] = []
    assert not broken(history_with({}, calls))
    assert {verb for _, verb in calls} >= VERBS
    concerned = sorted({nth for nth, verb in calls if verb in VERBS})
    found = {
        nth: broken(history_with({nth: fault}, [])) for nth in tried_with(fault, concerned, of=4)
    }
    assert not {nth: violations for nth, violations in found.items() if violations}


def _stream(key: str, rules: FlowChange, *receivers: tuple[Behaviour, int]) -> Stream:
    flow = FlowId(DEFAULT_PROJECT if key == "line" else SECOND_PROJECT, FlowKey(key))
    return Stream(flow=flow, receivers=receivers, rules=rules)


async def _wait_in_line(world: FlowWorld) -> None:
    """Go one after the other, longer than the first replica lives; one is moved, one canceled."""
    consumers = [Consumer(world, LINE.flow) for _ in range(12)]
    for place, consumer in enumerate(consumers):
        slow = Behaviour.SLOW if place % 2 else Behaviour.FAST
        await consumer.create(in_s=0.3, behaviour=slow, timeout_s=1.5, retry=OFTEN)
    await trio.sleep(1.0)
    for consumer in consumers[-2:]:
        if consumer.timer_id is not None:
            await consumer.look()
    if consumers[-1].timer_id is not None:
        await consumers[-1].update(in_s=1.0)
    if consumers[-2].timer_id is not None:
        await consumers[-2].cancel()


async def _be_limited(world: FlowWorld) -> None:
    """Go three in four seconds, then one at a time, then as they come."""
    for _ in range(8):
        await Consumer(world, LIMITED.flow).create(in_s=0.2, behaviour=FAILING[0], place=1)
    await trio.sleep(2.0)
    await world.limit(LIMITED.flow, {"max_in_flight": 1})
    await trio.sleep(4.0)
    await world.forget(LIMITED.flow)


async def _be_paused(world: FlowWorld) -> None:
    await trio.sleep(0.5)
    await world.pause(lane_of(PAUSED.flow, FAST))
    await world.pause(SECOND_PROJECT)
    for _ in range(4):
        await Consumer(world, PAUSED.flow).create(in_s=0.2, grace_s=1.0)
    await trio.sleep(1.5)
    await world.pause(SECOND_PROJECT, resume=True)
    await world.limit(PAUSED.flow, {"paused": True})
    await world.pause(lane_of(PAUSED.flow, FAST), resume=True)
    await trio.sleep(1.0)
    await world.limit(PAUSED.flow, {"paused": False})


LINE: Final = _stream("line", {"max_in_flight": 1}, FAST)
LIMITED: Final = _stream("limited", {"rate": Rate(3, 4)}, FAILING)
PAUSED: Final = _stream("paused", {"max_in_flight": 2}, FAST)
STORIES: Final = (_wait_in_line, _be_limited, _be_paused)
