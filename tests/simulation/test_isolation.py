"""A slow or dead destination hurts only itself."""

from __future__ import annotations

import pytest
import trio

from tests.simulation.checkers import broken_promises, hardly_late, temper_of
from tests.simulation.consumers import Consumer
from tests.simulation.far_end import Temper
from tests.simulation.faults import Weather
from tests.simulation.history import History
from tests.simulation.world import Build, World, run_world, second
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


async def _create(
    world: World, in_s: float, temper: Temper, place: int = 0, timeout_s: float = 12.0
) -> None:
    await Consumer(world).create(in_s=in_s, temper=temper, place=place, timeout_s=timeout_s)


@pytest.mark.parametrize("ill", [Temper.SILENT, Temper.DEAD, Temper.SLOW])
def test_healthy_receiver_is_served_beside_an_ill_one(ill: Temper) -> None:
    history = history_beside(ill)
    assert not broken_promises(history)
    healthy = [story for story in history.stories if temper_of(story.created.spec) is Temper.FAST]
    ends = [story.row.status for story in healthy if story.row]
    assert ends == [Status.COMPLETED] * HEALTHY


STORM = 1_100


def storm_of(
    temper: Temper, each: int, *, settings: Settings | None = None, timeout_s: float = 12.0
) -> History:
    """Let many ill destinations have overdue timers, and a healthy one twenty a second.

    The healthy one is known before; its timers are created a while ahead, so that they are read.
    """

    async def script(world: World) -> None:
        await world.start_process()
        await trio.sleep(0.5)
        await _create(world, 0.5, Temper.FAST)
        await trio.sleep(1.0)
        async with trio.open_nursery() as nursery:
            for number in range(STORM * each):
                nursery.start_soon(_create, world, 1.0, temper, 1 + number % STORM, timeout_s)
            for number in range(300):
                nursery.start_soon(_create, world, 2.0 + number * 0.05, Temper.FAST)
        await world.settled()

    return run_world(1, Weather(), script, Build(settings=settings or Settings()))


@pytest.mark.parametrize(("ill", "each"), [(Temper.SILENT, 2), (Temper.DEAD, 1), (Temper.SLOW, 1)])
def test_healthy_receiver_is_served_beside_more_ill_ones_than_there_are_slots(
    ill: Temper, each: int
) -> None:
    history = storm_of(ill, each)
    assert not broken_promises(history)


def test_healthy_receiver_has_room_in_a_cache_that_ill_ones_would_fill() -> None:
    settings = Settings(cache_max_timers=1_000, max_in_flight=200)
    history = storm_of(Temper.SILENT, 2, settings=settings, timeout_s=3.0)
    assert not broken_promises(history)


def test_new_receiver_has_its_turn_within_seconds_of_a_storm() -> None:
    async def script(world: World) -> None:
        await world.start_process()
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            for number in range(STORM):
                nursery.start_soon(_create, world, 1.0, Temper.SILENT, 1 + number)
            for place in range(1, 21):
                nursery.start_soon(_create, world, 2.0, Temper.FAST, place)
        await world.settled()

    history = run_world(1, Weather(), script)
    healthy = [story for story in history.stories if temper_of(story.created.spec) is Temper.FAST]
    late_s = [story.sends[0].sent_s - second(story.created.spec.execute_at) for story in healthy]
    assert max(late_s) < 15.0


def test_missing_limits_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slots, "wait_if_full", lambda *_: None)
    build = Build(settings=Settings(max_in_flight=200))
    assert list(hardly_late(history_beside(Temper.SILENT, build)))
