"""Rows that a stranger locks, while their timers fall due."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.simulation.checkers import broken_promises
from tests.simulation.consumers import Consumer
from tests.simulation.faults import Fault, Faults
from tests.simulation.history import History
from tests.simulation.world import World, run_world
from timer_trio.domain.timer import Status, TimerId

LOCKED_S = 5.0
LOADER_S = 30.5
"""An interval of the loader's, and a claim."""
MANY = 1_200
"""More than a replica has slots."""


def history_of(script: Callable[[World], Awaitable[None]], faults: Faults | None = None) -> History:
    async def run(world: World) -> None:
        await world.start_process()
        await world.processes[0].replica.wait_loaded()
        await script(world)
        await world.settled()

    history = run_world(1, faults or Faults(), run)
    assert not broken_promises(history)
    return history


async def create(world: World, in_s: float, grace_s: float = 300.0) -> Consumer:
    consumer = Consumer(world)
    await consumer.create(in_s=in_s, grace_s=grace_s)
    return consumer


def ids_of(*consumers: Consumer) -> list[TimerId]:
    return [consumer._id() for consumer in consumers]


def test_more_locked_rows_than_slots_take_none_from_healthy_timers() -> None:
    async def script(world: World) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(MANY):
                nursery.start_soon(create, world, 5.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.lock, [*world.database._rows], 15.0)
            for number in range(100):
                nursery.start_soon(create, world, 4.5 + number * 0.05)
            await trio.sleep(12.0)
            assert world.processes[0].held["timer_trio_in_flight"] == 0

    history = history_of(script, Faults(delay_s=0.001))
    assert all(
        timer_log.row and timer_log.row.status is Status.COMPLETED
        for timer_log in history.timer_logs
    )


def test_timer_canceled_as_soon_as_the_lock_goes_never_fires() -> None:
    async def script(world: World) -> None:
        consumer = await create(world, 1.0)
        await world.lock(ids_of(consumer), LOCKED_S)
        await consumer.cancel()

    (timer_log,) = history_of(script).timer_logs
    assert not timer_log.sends
    assert timer_log.row is not None
    assert timer_log.row.status is Status.CANCELED


def test_timer_whose_lock_outlasts_its_grace_is_missed_and_says_so() -> None:
    async def script(world: World) -> None:
        consumer = await create(world, 1.0, grace_s=1.0)
        await world.lock(ids_of(consumer), LOCKED_S)

    (timer_log,) = history_of(script).timer_logs
    assert not timer_log.sends
    assert timer_log.row is not None
    assert str(timer_log.row.last_error).startswith("missed: ")


def test_claim_whose_answer_was_lost_before_its_row_was_locked_is_found_again() -> None:
    async def script(world: World) -> None:
        consumer = await create(world, 3.0)
        process = world.processes[0]
        claimed = trio.current_time() + 2.85
        await trio.sleep_until(claimed)
        calls = len(process.storage.calls)
        # Whatever comes next is answered in vain, and the claim is among it.
        world.faults.nth = {calls + n: Fault.LOST_REPLY for n in range(3)}
        while world.database._rows[consumer._id()].claim is None:  # noqa: ASYNC110 - virtual time
            await trio.sleep(0.001)
        await world.lock(ids_of(consumer), LOCKED_S)

    (timer_log,) = history_of(script).timer_logs
    assert [send.attempt for send in timer_log.sends] == [1]


def test_stop_does_not_wait_for_locked_rows_and_who_comes_next_fires_them() -> None:
    async def script(world: World) -> None:
        consumer = await create(world, 1.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.lock, ids_of(consumer), LOCKED_S)
            await trio.sleep(3.0)
            began = trio.current_time()
            await world.processes[0].stop()
            assert trio.current_time() - began < 0.5
            await world.start_process()

    (timer_log,) = history_of(script).timer_logs
    assert len(timer_log.sends) == 1


def test_more_locked_rows_than_may_wait_are_left_to_the_loader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("timer_trio.delivery.locked.MAX_LOCKED", 1)

    async def script(world: World) -> None:
        consumers = [await create(world, 1.0) for _ in range(3)]
        began_s = trio.current_time()
        await world.lock(ids_of(*consumers), LOCKED_S)
        world.trouble("left to the loader", began_s, recovery_s=LOADER_S)

    assert [len(timer_log.sends) for timer_log in history_of(script).timer_logs] == [1, 1, 1]
