"""A slow or dead destination hurts only itself."""

from __future__ import annotations

import pytest
import trio

from tests.simulation.checkers import broken_promises, hardly_late
from tests.simulation.consumers import Consumer
from tests.simulation.far_end import Behaviour
from tests.simulation.faults import Faults
from tests.simulation.history import History
from tests.simulation.lateness import behaviour_of
from tests.simulation.world import Build, World, run_world, second
from timer_trio.config import Settings
from timer_trio.domain.slots import Slots
from timer_trio.domain.timer import Status

ILL = 600
HEALTHY = 100


def history_beside(ill: Behaviour, build: Build | None = None) -> History:
    """Let many timers of an ill receiver fall due just before those of a healthy one."""

    async def script(world: World) -> None:
        await world.start_process()
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            for number in range(ILL):
                nursery.start_soon(_create, world, 2.0 + number * 0.001, ill)
            for number in range(HEALTHY):
                nursery.start_soon(_create, world, 2.5 + number * 0.01, Behaviour.FAST)
        await world.settled()

    return run_world(1, Faults(), script, build)


async def _create(
    world: World, in_s: float, behaviour: Behaviour, place: int = 0, timeout_s: float = 12.0
) -> None:
    await Consumer(world).create(in_s=in_s, behaviour=behaviour, place=place, timeout_s=timeout_s)


@pytest.mark.parametrize("ill", [Behaviour.SILENT, Behaviour.DEAD, Behaviour.SLOW])
def test_healthy_receiver_is_served_beside_an_ill_one(ill: Behaviour) -> None:
    history = history_beside(ill)
    assert not broken_promises(history)
    healthy = [
        timer_log
        for timer_log in history.timer_logs
        if behaviour_of(timer_log.created.spec) is Behaviour.FAST
    ]
    ends = [timer_log.row.status for timer_log in healthy if timer_log.row]
    assert ends == [Status.COMPLETED] * HEALTHY


STORM = 1_100


def storm_of(
    behaviour: Behaviour, each: int, *, settings: Settings | None = None, timeout_s: float = 12.0
) -> History:
    """Let many ill destinations have overdue timers, and a healthy one twenty a second.

    The healthy one is known before; its timers are created a while ahead, so that they are read.
    """

    async def script(world: World) -> None:
        await world.start_process()
        await trio.sleep(0.5)
        await _create(world, 0.5, Behaviour.FAST)
        await trio.sleep(1.0)
        async with trio.open_nursery() as nursery:
            for number in range(STORM * each):
                nursery.start_soon(_create, world, 1.0, behaviour, 1 + number % STORM, timeout_s)
            for number in range(300):
                nursery.start_soon(_create, world, 2.0 + number * 0.05, Behaviour.FAST)
        await world.settled()

    return run_world(1, Faults(), script, Build(settings=settings or Settings()))


@pytest.mark.parametrize(
    ("ill", "each"),
    [
        pytest.param(Behaviour.SILENT, 2, marks=pytest.mark.soak),
        (Behaviour.DEAD, 1),
        (Behaviour.SLOW, 1),
    ],
)
def test_healthy_receiver_is_served_beside_more_ill_ones_than_there_are_slots(
    ill: Behaviour, each: int
) -> None:
    history = storm_of(ill, each)
    assert not broken_promises(history)


@pytest.mark.soak
def test_healthy_receiver_has_room_in_a_cache_that_ill_ones_would_fill() -> None:
    settings = Settings(cache_max_timers=1_000, max_in_flight=200)
    history = storm_of(Behaviour.SILENT, 2, settings=settings, timeout_s=3.0)
    assert not broken_promises(history)


def test_new_receiver_has_its_turn_within_seconds_of_a_storm() -> None:
    async def script(world: World) -> None:
        await world.start_process()
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            for number in range(STORM):
                nursery.start_soon(_create, world, 1.0, Behaviour.SILENT, 1 + number)
            for place in range(1, 21):
                nursery.start_soon(_create, world, 2.0, Behaviour.FAST, place)
        await world.settled()

    history = run_world(1, Faults(), script)
    healthy = [
        timer_log
        for timer_log in history.timer_logs
        if behaviour_of(timer_log.created.spec) is Behaviour.FAST
    ]
    late_s = [
        timer_log.sends[0].sent_s - second(timer_log.created.spec.execute_at)
        for timer_log in healthy
    ]
    assert max(late_s) < 15.0


def test_missing_limits_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slots, "wait_if_full", lambda *_: None)
    build = Build(settings=Settings(max_in_flight=200))
    assert list(hardly_late(history_beside(Behaviour.SILENT, build)))
