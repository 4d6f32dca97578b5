"""An asynchronous standby takes over, and has missed what was written last.

A failure says which seed it was; `make soak` looks for new ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

import pytest
import trio

from tests.simulation.consumers import Consumer
from tests.simulation.failovers import broken_in_failover, history_of_failover
from tests.simulation.faults import Away, Faults
from tests.simulation.history import History
from tests.simulation.retry_checkers import fired
from tests.simulation.seeds import FIRST_SEED, seeds
from tests.simulation.world import Build, World, run_world
from timer_trio.domain.lately import KEPT_S
from timer_trio.domain.timer import Delivery, DueTimer, ReplicaId, Status, TimerId
from timer_trio.storage import HeldClaim
from timer_trio.storage.memory import MemoryStorage

SENT_S: Final = 3.0
"""When the timer is sent whose outcome is lost."""
FOUND_S: Final = 2.5
"""After the return of the database: a listener's pause, and a look."""


UNNOTICED_S: Final = 0.01
"""By all but who listens."""


class BlindStorage(MemoryStorage):
    """Tells nobody what he holds."""

    async def held_claims(
        self, replica: ReplicaId, behind: TimerId | None, limit: int
    ) -> Sequence[HeldClaim]:
        await super().held_claims(replica, behind, limit)
        return []


class DeafStorage(MemoryStorage):
    """Frees nothing that it is told of."""

    async def free(
        self, replica: ReplicaId, held: Collection[HeldClaim], now: datetime
    ) -> Sequence[DueTimer]:
        return await super().free(replica, list(held)[:0], now)


def history_of_lost_outcome(
    delivery: Delivery, *, busy_s: float, away_s: float, build: Build | None = None
) -> History:
    """Lose the outcome of one timer, and all that was written in `busy_s` after it."""
    at_s = SENT_S + 0.5 + busy_s

    async def script(world: World) -> None:
        await world.start_process()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.fail_over, at_s, at_s - SENT_S - 0.05)
            await trio.sleep(1.0)
            await Consumer(world).create(in_s=SENT_S - 1.0, delivery=delivery)
            while trio.current_time() < at_s - 1.0:
                await Consumer(world).create(in_s=0.0)
                await trio.sleep(0.5)
        await world.settled()

    return run_world(1, Faults(outages=[Away(began_s=at_s, ended_s=at_s + away_s)]), script, build)


@pytest.mark.sampled(of=5)
@pytest.mark.parametrize("seed", seeds(5))
def test_promises_hold_but_for_what_the_standby_has_missed(seed: int) -> None:
    assert not broken_in_failover(history_of_failover(seed))


@pytest.mark.parametrize("away_s", [0.3, 5.0])
@pytest.mark.parametrize("delivery", Delivery)
def test_outcome_that_its_replica_knows_is_written_again(delivery: Delivery, away_s: float) -> None:
    history = history_of_lost_outcome(delivery, busy_s=KEPT_S / 4, away_s=away_s)
    first = history.timer_logs[0]
    assert first.row is not None
    assert first.row.status is Status.COMPLETED
    assert (first.row.attempt, len(fired(first))) == (1, 1)


@pytest.mark.parametrize("away_s", [UNNOTICED_S, 1.0])
def test_what_its_replica_knows_nothing_of_is_found_soon_and_sent_again(away_s: float) -> None:
    history = history_of_lost_outcome(Delivery.AT_LEAST_ONCE, busy_s=2 * KEPT_S, away_s=away_s)
    (failover,), first = history.failovers, history.timer_logs[0]
    assert first.row is not None
    assert first.row.status is Status.COMPLETED
    before, after = fired(first)
    assert (before.attempt, after.attempt) == (1, 2)
    assert away_s < after.fired_s - failover.at_s < away_s + FOUND_S


def test_what_its_replica_knows_nothing_of_is_not_sent_again_at_most_once() -> None:
    history = history_of_lost_outcome(Delivery.AT_MOST_ONCE, busy_s=2 * KEPT_S, away_s=1.0)
    first = history.timer_logs[0]
    assert first.row is not None
    assert len(fired(first)) == 1
    assert first.row.status is Status.FAILED
    assert (first.row.last_error or "").startswith("outcome unknown")


@pytest.mark.parametrize("storage", [BlindStorage, DeafStorage])
def test_what_is_left_and_not_freed_is_found_out(storage: type[MemoryStorage]) -> None:
    history = history_of_lost_outcome(
        Delivery.AT_LEAST_ONCE, busy_s=2 * KEPT_S, away_s=1.0, build=Build(storage=storage)
    )
    assert "0 is stuck: executing" in broken_in_failover(history)


def test_histories_meet_what_a_failover_undoes() -> None:
    histories = [history_of_failover(FIRST_SEED + number) for number in range(3)]
    assert any(failover.touched for history in histories for failover in history.failovers)
