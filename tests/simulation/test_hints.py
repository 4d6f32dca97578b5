"""A timer that somebody moves near is fired on time, whoever has to fire it."""

from __future__ import annotations

from typing import Final

import pytest
import trio

from tests.simulation.checkers import broken_promises, hardly_late
from tests.simulation.consumers import Consumer
from tests.simulation.faults import Faults
from tests.simulation.history import History
from tests.simulation.world import Build, World, run_world, second
from timer_trio.cluster.hints import HINTS_LOST_WARNING, Hints
from timer_trio.config import Settings

REPLICAS: Final = 3
TIMERS: Final = 40
FAR_S: Final = 200.0
"""Within the window, and far beyond the near edge: nobody reads these again by himself."""
NEAR_S: Final = 5.0
BUILD: Final = Build(settings=Settings(loader_interval_s=30))


def history_of_moves(faults: Faults, near_s: float = NEAR_S, warned: bool = False) -> History:  # noqa: FBT001, FBT002 - a case
    """Let consumers move their timers near through any replica, at times of their own."""

    async def move(world: World) -> None:
        consumer = Consumer(world)
        await consumer.create(in_s=FAR_S)
        await trio.sleep(world.random.uniform(1.0, 60.0))
        await consumer.update(in_s=near_s)

    async def script(world: World) -> None:
        for _ in range(REPLICAS):
            await world.start_process(alone=False)
        await trio.sleep(3.0)
        async with trio.open_nursery() as nursery:
            for _ in range(TIMERS):
                nursery.start_soon(move, world)
        for process in world.processes:
            assert (HINTS_LOST_WARNING in process.replica.warnings) is warned
        await world.settled()

    return run_world(1, faults, script, BUILD)


def lateness_s(history: History) -> list[float]:
    return [
        timer_log.sends[0].sent_s - second(timer_log.row.spec.execute_at)
        for timer_log in history.timer_logs
        if timer_log.row
    ]


@pytest.mark.parametrize("near_s", [0.0, 1.0, 5.0, 20.0])
def test_timer_that_is_moved_near_fires_on_time(near_s: float) -> None:
    assert not broken_promises(history_of_moves(Faults(), near_s))


def test_missing_hints_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep_silent(_: Hints) -> None:
        await trio.sleep(0.1)

    monkeypatch.setattr(Hints, "tell", keep_silent)
    assert list(hardly_late(history_of_moves(Faults())))


def test_lost_hint_costs_one_interval_at_most() -> None:
    history = history_of_moves(Faults(lost_hints=1.0))
    assert 1.0 < max(lateness_s(history)) < 30.0
    assert [timer_log.row.status for timer_log in history.timer_logs if timer_log.row] == [
        "completed"
    ] * TIMERS


def test_who_hears_nothing_looks_every_second_and_says_so() -> None:
    history = history_of_moves(Faults(hints_lost=True), warned=True)
    assert max(lateness_s(history)) < 0.15


def test_who_hears_nothing_is_late_by_a_second_at_most() -> None:
    history = history_of_moves(Faults(hints_lost=True), near_s=0.0, warned=True)
    assert max(lateness_s(history)) < 1.15
