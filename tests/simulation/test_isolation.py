"""A slow or dead destination hurts only itself."""

from __future__ import annotations

import pytest
import trio

from tests.simulation.checkers import broken_promises, hardly_late, temper_of
from tests.simulation.consumers import Consumer
from tests.simulation.far_end import Temper
from tests.simulation.faults import Weather
from tests.simulation.history import History
from tests.simulation.world import Build, World, run_world
from timer_trio.config import Settings
from timer_trio.domain.slots import Slots
from timer_trio.domain.timer import Status

ILL = 600
HEALTHY = 100


def history_beside(ill: Temper, build: Build | None = None) -> History:
    """Let many timers of an ill receiver fall due just before those of a healthy one."""

    async def script(world: World) -> None:
        await world.start_process()
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            for number in range(ILL):
                nursery.start_soon(_create, world, 2.0 + number * 0.001, ill)
            for number in range(HEALTHY):
                nursery.start_soon(_create, world, 2.5 + number * 0.01, Temper.FAST)
        await world.settled()

    return run_world(1, Weather(), script, build)


async def _create(world: World, in_s: float, temper: Temper) -> None:
    await Consumer(world).create(in_s=in_s, temper=temper, timeout_s=12.0)


@pytest.mark.parametrize("ill", [Temper.SILENT, Temper.DEAD, Temper.SLOW])
def test_healthy_receiver_is_served_beside_an_ill_one(ill: Temper) -> None:
    history = history_beside(ill)
    assert not broken_promises(history)
    healthy = [story for story in history.stories if temper_of(story.created.spec) is Temper.FAST]
    ends = [story.row.status for story in healthy if story.row]
    assert ends == [Status.COMPLETED] * HEALTHY


def test_missing_limits_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slots, "is_open", lambda slots, *_: slots.free > 0)
    build = Build(settings=Settings(max_in_flight=200))
    assert list(hardly_late(history_beside(Temper.SILENT, build)))
