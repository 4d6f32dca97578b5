"""A stop gives back what has not been sent, waits for what has, and writes how that ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.simulation.consumers import Consumer
from tests.simulation.far_end import Behaviour
from tests.simulation.faults import Away, Faults
from tests.simulation.history import History
from tests.simulation.world import Build, Process, World, run_world
from timer_trio.config import Settings
from timer_trio.domain.timer import Delivery, Status, Timer
from timer_trio.run.supervisor import OutcomesLostError

GRACE_S = 10.0


def world_with(
    script: Callable[[World, Process], Awaitable[None]], faults: Faults | None = None
) -> History:
    """Run a script beside a replica that has loaded."""

    async def main(world: World) -> None:
        process = await world.start_process()
        await process.replica.wait_loaded()
        await script(world, process)

    build = Build(settings=Settings(shutdown_grace_s=GRACE_S))
    return run_world(1, faults or Faults(), main, build)


def row_of(world: World, consumer: Consumer) -> Timer:
    assert consumer.timer_id is not None
    return world.database._rows[consumer.timer_id].timer


async def stop_took_s(process: Process) -> float:
    began_s = trio.current_time()
    await process.stop()
    return trio.current_time() - began_s


@pytest.mark.parametrize("delivery", Delivery)
@pytest.mark.parametrize(
    ("behaviour", "in_s"),
    [(Behaviour.FAST, 0.15), (Behaviour.DEAD, 0.0)],
    ids=["asleep", "connecting"],
)
def test_stop_gives_back_at_once_what_has_not_been_sent(
    behaviour: Behaviour, in_s: float, delivery: Delivery
) -> None:
    async def script(world: World, process: Process) -> None:
        consumer = Consumer(world)
        await consumer.create(in_s=in_s, behaviour=behaviour, delivery=delivery)
        await trio.sleep(0.1)
        assert row_of(world, consumer).status is Status.EXECUTING
        assert await stop_took_s(process) < 0.5
        assert row_of(world, consumer).status is Status.PENDING
        assert row_of(world, consumer).attempt == 0
        assert not consumer.timer_log.sends

    world_with(script)


def test_what_was_sent_on_a_connection_that_closed_is_not_given_back() -> None:
    async def script(world: World, process: Process) -> None:
        consumer = Consumer(world)
        await consumer.create(in_s=0.0, behaviour=Behaviour.CLOSING)
        await trio.sleep(0.15)
        assert consumer.timer_log.sends
        await process.stop()
        assert row_of(world, consumer).status is Status.FAILED

    world_with(script)


def test_stop_waits_for_answers_within_the_grace() -> None:
    async def script(world: World, process: Process) -> None:
        consumers = [Consumer(world) for _ in range(20)]
        for place, consumer in enumerate(consumers):
            await consumer.create(in_s=0.0, behaviour=Behaviour.SLOW, place=place, timeout_s=9.0)
        await trio.sleep(0.1)
        await process.stop()
        assert {row_of(world, each).status for each in consumers} == {Status.COMPLETED}

    world_with(script)


@pytest.mark.parametrize("hurry", [True, False])
def test_what_is_not_answered_in_time_is_unknown(hurry: bool) -> None:  # noqa: FBT001 - a case
    async def script(world: World, process: Process) -> None:
        once, again = Consumer(world), Consumer(world)
        delivery = Delivery.AT_MOST_ONCE
        await once.create(in_s=0.0, behaviour=Behaviour.SILENT, delivery=delivery, timeout_s=60.0)
        await again.create(in_s=0.0, behaviour=Behaviour.SILENT, timeout_s=60.0)
        await trio.sleep(0.1)
        if hurry:
            process.replica.stop()
            await trio.sleep(1)
        took_s = await stop_took_s(process)
        assert took_s < 1.0 if hurry else GRACE_S <= took_s < GRACE_S + 1.0
        assert (row_of(world, once).last_error or "").startswith("outcome unknown")
        assert row_of(world, again).status is Status.EXECUTING
        await world.start_process()
        await trio.sleep(0.5)
        assert [send.attempt for send in again.timer_log.sends] == [1, 2]
        assert len(once.timer_log.sends) == 1

    world_with(script)


def test_hurried_stop_still_gives_back_what_has_not_been_sent() -> None:
    async def script(world: World, process: Process) -> None:
        consumer = Consumer(world)
        await consumer.create(in_s=0.15, delivery=Delivery.AT_MOST_ONCE)
        await trio.sleep(0.1)
        assert row_of(world, consumer).status is Status.EXECUTING
        process.replica.stop()
        await process.stop()
        assert row_of(world, consumer).status is Status.PENDING

    world_with(script)


def test_stop_rides_out_a_short_outage() -> None:
    async def script(world: World, process: Process) -> None:
        consumer = Consumer(world)
        await consumer.create(in_s=0.5)
        await trio.sleep_until(2.0)
        await process.stop()
        assert row_of(world, consumer).status is Status.COMPLETED
        assert not world.database._counters

    world_with(script, Faults(outages=[Away(began_s=0.51, ended_s=4.0)]))


def test_stop_in_a_long_outage_says_that_outcomes_are_lost() -> None:
    async def script(world: World, process: Process) -> None:
        await Consumer(world).create(in_s=0.5)
        await trio.sleep_until(2.0)
        await process.stop()

    faults = Faults(outages=[Away(began_s=0.51, ended_s=60.0)])
    with pytest.RaisesGroup(OutcomesLostError, flatten_subgroups=True):
        world_with(script, faults)


def test_stop_ends_the_wait_for_a_database() -> None:
    async def script(world: World) -> None:
        process = await world.start_process()
        await trio.sleep(5)
        assert not process.replica.ready
        assert await stop_took_s(process) < 0.5

    run_world(1, Faults(outages=[Away(began_s=0.0, ended_s=60.0)]), script)


def test_claim_that_is_not_answered_holds_up_no_stop() -> None:
    async def script(world: World, process: Process) -> None:
        consumer = Consumer(world)
        await consumer.create(in_s=0.15)
        await trio.sleep_until(3.0)
        assert row_of(world, consumer).status is Status.PENDING
        assert await stop_took_s(process) < GRACE_S

    world_with(script, Faults(outages=[Away(began_s=0.08, ended_s=60.0)]))
