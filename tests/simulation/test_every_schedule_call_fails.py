"""A small fixed history of schedules, in which each call in turn fails, or loses its reply."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
import trio

from tests.simulation.far_end import Behaviour
from tests.simulation.faults import Fault, Faults
from tests.simulation.schedule_checkers import broken_schedule_promises
from tests.simulation.schedule_consumers import ScheduleConsumer, template_of
from tests.simulation.schedule_world import ScheduleWorld
from tests.simulation.schedules import end_all
from tests.simulation.seeds import tried_with
from tests.simulation.world import run_in
from timer_trio.domain.planning import MAX_INSTANTS
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.schedule import CatchUp, Overlap, ScheduleSpec, Timing
from timer_trio.domain.schedule_rule import EveryRule, Rule

SEED: Final = 8
OFTEN: Final = EveryRule(seconds=2)
SELDOM: Final = EveryRule(seconds=90)
POLICY: Final = RetryPolicy(max_attempts=3, delays=(0.6,))
PLANNED_S: Final = 62.0
"""By then the planner has looked once more, and has found what must be planned."""
VERBS: Final = {
    "create_schedule",
    "change_schedule",
    "schedule",
    "add_occurrences",
    "due_schedules",
    "plan",
    "claim_occurrences",
    "claim_exclusive",
    "cancel",
}


def history_with(nth: dict[int, Fault], calls: list[str]) -> ScheduleWorld:
    async def script(world: ScheduleWorld) -> ScheduleWorld:
        process = await world.start_process()
        async with trio.open_nursery() as nursery:
            for consume in STORIES:
                nursery.start_soon(consume, world)
        calls[:] = process.storage.calls
        await world.healed()
        await end_all(world)
        await world.settled()
        return world

    return run_in(ScheduleWorld, SEED, Faults(nth=nth), script)


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.LOST_REPLY])
def test_promises_hold_whichever_call_fails(fault: Fault) -> None:
    calls: list[str] = []
    assert not broken_schedule_promises(history_with({}, calls))
    assert set(calls) >= VERBS
    concerned = [nth for nth, verb in enumerate(calls) if verb in VERBS]
    broken = {
        (nth, calls[nth]): broken_schedule_promises(history_with({nth: fault}, []))
        for nth in tried_with(fault, concerned, of=4)
    }
    assert not {call: violations for call, violations in broken.items() if violations}


def _spec(
    world: ScheduleWorld,
    rule: Rule = OFTEN,
    *,
    overlap: Overlap = Overlap.ALLOW,
    behaviour: Behaviour = Behaviour.FAST,
    retry: RetryPolicy | None = None,
) -> ScheduleSpec:
    timing = Timing(rule=rule, overlap=overlap, catch_up=CatchUp.ALL, max_occurrences=4)
    return ScheduleSpec(
        name=None, timing=timing, template=template_of(world, behaviour=behaviour, retry=retry)
    )


async def _created(world: ScheduleWorld, spec: ScheduleSpec) -> ScheduleConsumer | None:
    await trio.sleep(0.3)
    consumer = ScheduleConsumer(world)
    await consumer.create(spec)
    return consumer if consumer.schedule_id else None


async def _change(world: ScheduleWorld) -> None:
    if consumer := await _created(world, _spec(world)):
        await trio.sleep(2.5)
        await consumer.change(Timing(rule=EveryRule(seconds=3), max_occurrences=3), None)
        await consumer.change(None, template_of(world))
        await consumer.cancel_one()


async def _pause(world: ScheduleWorld) -> None:
    spec = _spec(world, overlap=Overlap.SKIP, behaviour=Behaviour.FAILING, retry=POLICY)
    if consumer := await _created(world, spec):
        await trio.sleep(2.3)
        await consumer.pause()
        await trio.sleep(2.0)
        await consumer.resume()


async def _end(world: ScheduleWorld) -> None:
    spec = _spec(world, behaviour=Behaviour.ERROR, retry=POLICY)
    if consumer := await _created(world, spec):
        await trio.sleep(2.3)
        await consumer.end()


async def _trigger(world: ScheduleWorld) -> None:
    spec = _spec(world, SELDOM, overlap=Overlap.SKIP)
    start_at = world.now() - timedelta(seconds=300)
    past = replace(spec, timing=replace(spec.timing, start_at=start_at))
    if consumer := await _created(world, past):
        await consumer.trigger()
        await consumer.backfill(ago_s=300.0, limit=2, spacing_s=0.5)


async def _be_planned(world: ScheduleWorld) -> None:
    """Have more instants than are planned in one go, and stay until the planner writes the rest."""
    named = replace(_spec(world), name="a name")
    start_at = world.now() + timedelta(seconds=PLANNED_S)
    timing = Timing(rule=EveryRule(seconds=1), start_at=start_at, max_occurrences=MAX_INSTANTS + 10)
    await _created(world, replace(named, timing=timing))
    await trio.sleep(PLANNED_S)


STORIES: Final = (_change, _pause, _end, _trigger, _be_planned)
