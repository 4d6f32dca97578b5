"""A small fixed history of the verbs, in which each storage call in turn fails, or loses its reply.

A timer that is redriven, and tells of both its endings; many that are canceled, redriven and
deleted; creates with an idempotency key; a name that is created, replaced and canceled.
"""

from __future__ import annotations

from typing import Final

import pytest
import trio

from tests.simulation.far_end import Behaviour
from tests.simulation.faults import Fault, Faults
from tests.simulation.history import History
from tests.simulation.seeds import tried_with
from tests.simulation.verb_checkers import broken_verb_promises
from tests.simulation.verbs import (
    bulk_until_done,
    cancel_named,
    create,
    create_keyed,
    create_named,
    redrive,
    wanted,
)
from tests.simulation.world import World, run_world
from timer_trio.domain.bulk import BulkAction
from timer_trio.domain.keys import OnConflict

SEED: Final = 7
VERBS: Final = {"redrive", "bulk", "create_keyed", "name_holder", "create_named", "settle"}


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
    assert not broken_verb_promises(history_with({}, calls))
    assert set(calls) > VERBS
    broken = {
        (nth, verb): broken_verb_promises(history_with({nth: fault}, []))
        for nth, verb in tried_with(fault, enumerate(calls), of=6)
    }
    assert not {call: violations for call, violations in broken.items() if violations}


async def _redrive(world: World) -> None:
    await trio.sleep(0.3)
    timer_id = await create(world, wanted(world, "own", in_s=0.1, behaviour=Behaviour.FAST))
    await trio.sleep(0.5)
    if timer_id is not None:
        await redrive(world, timer_id, 0.1)


async def _change_many(world: World) -> None:
    await trio.sleep(0.3)
    for in_s in (0.0, 9.0, 9.0, 9.0):
        await create(world, wanted(world, "many", in_s=in_s))
    await trio.sleep(0.3)
    await bulk_until_done(world, BulkAction.CANCEL, "many", again=True)
    await bulk_until_done(world, BulkAction.REDRIVE, "many", again=True)
    await trio.sleep(0.5)
    await bulk_until_done(world, BulkAction.DELETE, "many")


async def _repeat_key(world: World) -> None:
    await trio.sleep(0.35)
    spec = wanted(world, "key", in_s=0.2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(create_keyed, world, "key", spec)
        nursery.start_soon(create_keyed, world, "key", spec)
    await create_keyed(world, "key", spec)


async def _use_a_name(world: World) -> None:
    await trio.sleep(0.4)
    for version in range(2):
        spec = wanted(world, "named", in_s=2.0, version=version)
        await create_named(world, "name", spec, OnConflict.REPLACE)
    await cancel_named(world, "name")
    await create_named(world, "name", wanted(world, "named", in_s=0.1), OnConflict.REJECT)


STORIES: Final = (_redrive, _change_many, _repeat_key, _use_a_name)
