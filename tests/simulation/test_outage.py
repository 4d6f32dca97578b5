"""What fell due while the database was away fires oldest first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest
import trio

from tests import promises
from tests.simulation.checkers import broken_promises
from tests.simulation.consumers import Consumer
from tests.simulation.faults import Away, Faults
from tests.simulation.history import History
from tests.simulation.world import World, run_world, second

GONE_S: Final = 5.0
OVERDUE_PER_S: Final = 200
IN_FLIGHT: Final = 100
"""To one destination at once (MAX_IN_FLIGHT_PER_DESTINATION): these may be sent in any order."""


def history_of(length_s: float, *, replicas: int, seed: int) -> History:
    """Take the database away while timers of one destination fall due."""

    async def script(world: World) -> None:
        for _ in range(replicas):
            await world.start_process(alone=False)
        await trio.sleep(2.0)
        first_s = GONE_S - trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(int(length_s * OVERDUE_PER_S)):
                in_s = first_s + number / OVERDUE_PER_S
                nursery.start_soon(partial(Consumer(world).create, in_s=in_s))
        await world.settled()

    away = Away(began_s=GONE_S, ended_s=GONE_S + length_s)
    return run_world(seed, Faults(outages=[away]), script)


def drained(history: History, back_s: float) -> Iterator[list[float]]:
    """Name the instants of what each replica sent after the outage, in the order of the sends."""
    sends = sorted(
        (send.sent_s, second(timer_log.created.spec.execute_at), send.process)
        for timer_log in history.timer_logs
        for send in timer_log.sends
        if send.sent_s > back_s
    )
    for life in history.lives.values():
        yield [due_s for _, due_s, process in sends if process == life.process]


@pytest.mark.sampled(of=8)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("length_s", [1.9, 2.6, 10.0])
def test_overdue_timers_fire_oldest_first_after_an_outage(
    length_s: float, replicas: int, seed: int
) -> None:
    """However long it was, and whether claims or heartbeats come through first."""
    history = history_of(length_s, replicas=replicas, seed=seed)
    assert not broken_promises(history)
    each = list(drained(history, GONE_S + length_s))
    assert sum(map(len, each)) > IN_FLIGHT
    assert max(map(promises.most_overtaken, each)) <= IN_FLIGHT
    # Nothing was claimed that could not be sent, which would have to be given back.
    tries = [one for timer_log in history.timer_logs for one in timer_log.tries]
    assert all(one.sent_s is not None for one in tries)
