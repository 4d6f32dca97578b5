"""Races that random histories meet too seldom: a reply is held back until an update is through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import trio

from tests.simulation.checkers import broken_promises
from tests.simulation.consumers import Consumer
from tests.simulation.far_end import Behaviour
from tests.simulation.faults import Faults
from tests.simulation.history import History, Verdict
from tests.simulation.world import Build, World, run_world
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import Delivery, DueTimer
from timer_trio.storage import ClaimReply
from timer_trio.storage.memory import MemoryStorage

HELD_BACK_S = 0.2


class SlowLoad(MemoryStorage):
    """Reads at once, and answers late."""

    async def load(self, *asked: Any) -> Sequence[DueTimer]:
        page = await super().load(*asked)
        await trio.sleep(HELD_BACK_S)
        return page


class SlowClaim(MemoryStorage):
    """Claims at once, and answers late; the next update comes before the claim."""

    async def claim(self, *asked: Any, **how: Any) -> ClaimReply:
        await trio.sleep(HELD_BACK_S / 2)
        reply = await super().claim(*asked, **how)
        await trio.sleep(HELD_BACK_S / 2)
        return reply


class SlowSettle(MemoryStorage):
    """Settles at once, and answers late."""

    async def settle(self, *asked: Any, **how: Any) -> Sequence[bool | None]:
        answers = await super().settle(*asked, **how)
        await trio.sleep(HELD_BACK_S)
        return answers


def assert_harmless(
    storage: type[MemoryStorage], race: Callable[[World], Awaitable[None]], *, times: int = 1
) -> History:
    async def script(world: World) -> None:
        process = await world.start_process()
        await process.replica.wait_loaded()
        await race(world)
        await world.settled()

    history = run_world(1, Faults(delay_s=0.0), script, Build(storage=storage))
    assert not broken_promises(history)
    assert all(len(timer_log.sends) == times for timer_log in history.timer_logs)
    return history


def test_update_to_an_earlier_time_outlives_a_page_that_was_read_before_it() -> None:
    async def race(world: World) -> None:
        consumer = Consumer(world)
        await consumer.create(in_s=28.0)
        loads = world.processes[0].storage.calls
        while loads.count("load") < 2:  # noqa: ASYNC110 - virtual time costs nothing
            await trio.sleep(HELD_BACK_S / 4)
        await consumer.update(in_s=3.0)

    assert_harmless(SlowLoad, race)


def test_update_to_an_earlier_time_outlives_a_claim_that_was_under_way() -> None:
    async def race(world: World) -> None:
        consumer = Consumer(world)
        await consumer.create(in_s=0.05)
        await trio.sleep(HELD_BACK_S / 4)
        await consumer.update(in_s=15.0)
        await trio.sleep(HELD_BACK_S / 2)
        await consumer.update(in_s=1.0)

    assert_harmless(SlowClaim, race)


def test_timer_moved_away_and_back_while_it_is_claimed_fires_once() -> None:
    async def race(world: World) -> None:
        consumer = Consumer(world)
        await consumer.create(in_s=0.05)
        await trio.sleep(0.01)
        await consumer.update(in_s=30.0)
        await consumer.update(in_s=0.05)

    assert_harmless(SlowClaim, race)


def test_timer_moved_beyond_the_window_while_it_is_claimed_fires_then() -> None:
    async def race(world: World) -> None:
        consumer = Consumer(world)
        await consumer.create(in_s=0.05)
        await consumer.update(in_s=1_000.0)
        await trio.sleep(990.0)

    assert_harmless(SlowClaim, race)


@pytest.mark.parametrize("in_s", [1.0, 15.0])
def test_update_outlives_the_settle_of_the_attempt_before_it(in_s: float) -> None:
    """It comes when the timer is retrying, and before its replica has heard of that."""

    async def race(world: World) -> None:
        consumer = Consumer(world)
        policy = RetryPolicy(max_attempts=2, delays=(10.0,))
        await consumer.create(in_s=0.05, behaviour=Behaviour.ERROR, retry=policy)
        while "settle" not in world.processes[0].storage.calls:  # noqa: ASYNC110 - as above
            await trio.sleep(HELD_BACK_S / 4)
        await trio.sleep(HELD_BACK_S / 4)
        await consumer.update(in_s=in_s, behaviour=Behaviour.FAST)
        assert consumer.timer_log.requests[-1].verdict is Verdict.ACKNOWLEDGED

    assert_harmless(SlowSettle, race, times=2)


@pytest.mark.parametrize("delivery", Delivery)
def test_timer_freed_by_a_sweep_waits_for_who_has_it_in_hand(delivery: Delivery) -> None:
    """Its replica was frozen, say, and nobody else has claimed it since."""

    async def race(world: World) -> None:
        await Consumer(world).create(in_s=0.05, behaviour=Behaviour.SILENT, delivery=delivery)
        await trio.sleep(0.2)
        assert await world.database.sweep(
            world.processes[0].replica.replica_ids[0], None, world.now()
        )

    (timer_log,) = assert_harmless(MemoryStorage, race).timer_logs
    assert timer_log.row is not None
    assert (timer_log.row.attempt, timer_log.row.last_error) == (1, "timed out after 3s")
