"""Random histories over two cells, one of which goes and comes, held against all promises.

A failure says how to run its history again; `make soak` looks for new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest
import trio

from tests.simulation.cells import (
    CONSUMERS,
    HALVES,
    broken_cell_promises,
    create_batch,
    history_of_cells,
)
from tests.simulation.consumers import Consumer
from tests.simulation.faults import Away, Faults
from tests.simulation.history import History, Trouble, Verdict
from tests.simulation.lateness import PUNCTUAL_S
from tests.simulation.scenarios import Scenario
from tests.simulation.seeds import seeds
from tests.simulation.verb_checkers import broken_verb_promises
from tests.simulation.verbs import CONSUMERS as VERB_CONSUMERS
from tests.simulation.verbs import create_keyed, create_named, wanted
from tests.simulation.world import Build, World, run_world, second
from timer_trio.config import Settings
from timer_trio.domain.cells import CellNumber
from timer_trio.domain.keys import OnConflict, key_shard
from timer_trio.domain.project import DEFAULT_PROJECT

SHARES: Final = {Scenario.FLEET: 1.0}
"""In a fleet all meets all."""
SEEDS: Final = [
    (seed, scenario) for scenario in Scenario for seed in seeds(SHARES.get(scenario, 0.2))
]
GONE_S: Final = 5.0
BACK_S: Final = 15.0
NOTICED_S: Final = 2.0
"""A beat is sent each second, and one that is not answered within 0.9 s is missed."""
CREATE_S: Final = 0.2
END_S: Final = 17.0
AHEAD_S: Final = 1.0


@pytest.mark.sampled(of=4)
@pytest.mark.parametrize(("seed", "scenario"), SEEDS)
def test_promises_hold(seed: int, scenario: Scenario) -> None:
    again = f"make soak SEED={seed} HISTORIES=10 ARGS='-k {seed}-{scenario}'"
    history = history_of_cells(seed, scenario, CONSUMERS)
    assert not broken_cell_promises(history), f"once more: {again}"


@pytest.mark.sampled(of=4)
@pytest.mark.parametrize(("seed", "scenario"), SEEDS)
def test_promises_of_verbs_hold(seed: int, scenario: Scenario) -> None:
    again = f"make soak SEED={seed} HISTORIES=10 ARGS='-k {seed}-{scenario}'"
    history = history_of_cells(seed, scenario, VERB_CONSUMERS)
    assert not broken_verb_promises(history), f"once more: {again}"


@pytest.mark.parametrize("cell", HALVES.numbers)
@pytest.mark.parametrize("slots", [1, 100])
def test_all_but_what_is_there_goes_on_while_a_cell_is_away(cell: int, slots: int) -> None:
    """Timers of the other are as punctual as ever, and what can be put there is.

    However few slots their destination has: those of the one that is away wait without.
    """
    answered: list[Verdict] = []

    async def script(world: World) -> None:
        first = await world.start_process(alone=False)
        await world.start_process(alone=False)
        await first.replica.wait_loaded()
        await trio.sleep_until(2.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_create_by_verbs, world, 1 - cell, answered)
            while trio.current_time() < END_S:
                nursery.start_soon(partial(Consumer(world).create, in_s=AHEAD_S))
                if world.random.random() < 0.1:
                    nursery.start_soon(create_batch, world, [Consumer(world), Consumer(world)])
                await trio.sleep(CREATE_S)
        await world.settled()

    away = Away(began_s=GONE_S, ended_s=BACK_S, cell=CellNumber(cell))
    build = Build(cells=HALVES, settings=Settings(max_in_flight_per_destination=slots))
    history = run_world(cell, Faults(outages=[away]), script, build)
    assert not broken_cell_promises(history)
    assert not [*_creates_held_up(history)]
    assert {*answered} == {Verdict.ACKNOWLEDGED}
    assert not [*_late(history, 1 - cell)]


def test_process_that_starts_while_a_cell_is_away_works_in_the_other() -> None:
    async def script(world: World) -> None:
        first = await world.start_process(alone=False)
        await trio.sleep(NOTICED_S)
        with trio.fail_after(NOTICED_S):
            await first.replica.wait_loaded()
        assert first.replica.ready
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(partial(Consumer(world).create, in_s=AHEAD_S))
        await trio.sleep(2 * AHEAD_S)
        sends = [send for timer_log in world.history.timer_logs for send in timer_log.sends]
        assert len(sends) == 10
        await world.settled()

    # The first cell is what others are told by; who has never been told needs it.
    away = Away(began_s=0.0, ended_s=BACK_S, cell=CellNumber(1))
    history = run_world(1, Faults(outages=[away]), script, Build(cells=HALVES))
    assert not broken_cell_promises(history)


def test_trouble_of_a_cell_excuses_nothing_in_another() -> None:
    """What a checker would let pass in one cell it finds in the other."""
    trouble = Trouble(
        cause="an outage",
        began_s=0.0,
        ended_s=60.0,
        recovery_s=1.0,
        cell=CellNumber(0),
    )
    history = History(troubles=[trouble])
    assert history.within(CellNumber(0), HALVES).troubles == [trouble]
    assert history.within(CellNumber(1), HALVES).troubles == []


def _creates_held_up(history: History) -> Iterator[str]:
    """Once all know that a cell is away, nothing new is put there."""
    for timer_log in history.timer_logs:
        request = timer_log.created
        if not GONE_S + NOTICED_S <= request.asked_s < BACK_S:
            continue
        took_s = request.answered_s - request.asked_s
        if request.verdict is not Verdict.ACKNOWLEDGED or took_s > PUNCTUAL_S:
            yield f"{timer_log.number}, {request.verdict} after {took_s:.3f} s"


def _late(history: History, cell: int) -> Iterator[str]:
    for timer_log in history.within(CellNumber(cell), HALVES).timer_logs:
        due_s = second(timer_log.created.spec.execute_at)
        late_s = [
            send.sent_s - max(due_s, timer_log.created.answered_s) for send in timer_log.sends
        ]
        if timer_log.row is not None and late_s[0] > PUNCTUAL_S:
            yield f"{timer_log.number} was {late_s[0]:.3f} s late"


async def _create_by_verbs(world: World, cell: int, answered: list[Verdict]) -> None:
    """Create under keys and names of one cell while the other is away."""
    await trio.sleep_until(GONE_S + NOTICED_S)
    numbers = (f"of {number}" for number in range(1_000))
    here = (key for key in numbers if HALVES.of_shard(key_shard(DEFAULT_PROJECT, key)) == cell)
    while trio.current_time() < BACK_S - 1.0:
        key = next(here)
        keyed = await create_keyed(world, key, wanted(world, key, in_s=AHEAD_S))
        named = await create_named(world, key, wanted(world, key, in_s=AHEAD_S), OnConflict.KEEP)
        answered += [keyed.verdict, named.verdict]
        await trio.sleep(0.3)
