"""Where new timers go where there are several cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final
from uuid import UUID

import pytest

from tests.contract.timers import NOW, spec
from timer_trio.clock import Clock
from timer_trio.cluster.releases import Releases
from timer_trio.domain.cells import Cell, CellMap, CellNumber, SeveralCellsError
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.keys import key_shard
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.shards import Shards
from timer_trio.domain.timer import NewTimer, ReplicaId
from timer_trio.intake.intake import Intake
from timer_trio.intake.places import Places
from timer_trio.storage.memory import MemoryStorage
from timer_trio.telemetry.metrics import Metrics

HALVES: Final = CellMap([Cell(0, 127), Cell(128, 255)])
ALICE, BOB = (ReplicaId(UUID(int=number)) for number in (1, 2))


def name_of(cell: int) -> str:
    """Return a name that leads to a cell."""
    names = (f"name-{number}" for number in count())
    return next(name for name in names if HALVES.of_shard(key_shard(DEFAULT_PROJECT, name)) == cell)


@dataclass
class OnePlace:
    shards: Shards
    is_connected: bool = True


@dataclass
class TwoCells:
    """The intake of a replica that shares both cells with another one."""

    places: list[OnePlace] = field(
        default_factory=lambda: [OnePlace(Shards(cell.shards)) for cell in HALVES.cells]
    )

    def __post_init__(self) -> None:
        for place in self.places:
            place.shards.divide(ALICE, {ALICE, BOB})
        bits = Random(1).getrandbits
        storage = MemoryStorage(lambda: NOW)
        self.chooser = Places(HALVES, self.places, bits)
        self.intake = Intake(
            storage=storage,
            clock=Clock(),
            offer=lambda _: None,
            metrics=Metrics(),
            releases=Releases(storage),
            places=self.chooser,
            window_s=300,
            random_bits=bits,
        )

    def new(
        self, key: str | None = None, flow_key: str | None = None, under: str | None = None
    ) -> NewTimer:
        flow = None if flow_key is None else FlowKey(flow_key)
        return self.intake.new_timer(spec(), NOW, DEFAULT_PROJECT, key, flow_key=flow, under=under)


@pytest.fixture
def two() -> TwoCells:
    return TwoCells()


def cells_of(timers: Sequence[NewTimer]) -> list[CellNumber]:
    return [HALVES.of_timer(timer.id) for timer in timers]


def test_near_timer_gets_a_shard_of_our_own_in_either_cell(two: TwoCells) -> None:
    chosen = {two.chooser.choose(own=True) for _ in range(2_000)}
    assert chosen == two.places[0].shards.own | two.places[1].shards.own
    assert 0 < len(two.places[0].shards.own) < 128


def test_cell_that_is_away_gets_nothing(two: TwoCells) -> None:
    two.places[0].is_connected = False
    assert {HALVES.of_shard(two.chooser.choose(own=False)) for _ in range(200)} == {1}


def test_where_none_is_there_one_is_chosen_all_the_same(two: TwoCells) -> None:
    for place in two.places:
        place.is_connected = False
    assert two.chooser.choose(own=True) in range(256)


@pytest.mark.parametrize("cell", HALVES.numbers)
def test_name_flow_and_idempotency_key_say_the_cell(two: TwoCells, cell: int) -> None:
    name = name_of(cell)
    timers = [two.new(key=name), two.new(flow_key=name), two.new(under=name)]
    assert {timer.id.int & 0xFF for timer in timers} == {key_shard(DEFAULT_PROJECT, name)}
    assert {*cells_of(timers)} == {cell}


def test_flow_and_name_of_two_cells_are_refused(two: TwoCells) -> None:
    with pytest.raises(SeveralCellsError):
        two.new(key=name_of(0), flow_key=name_of(1))


def test_flow_decides_over_an_idempotency_key(two: TwoCells) -> None:
    assert cells_of([two.new(flow_key=name_of(0), under=name_of(1))]) == [0]


@pytest.mark.parametrize("cell", HALVES.numbers)
def test_batch_is_in_the_cell_of_what_has_no_choice(two: TwoCells, cell: int) -> None:
    timers = [*(two.new() for _ in range(20)), two.new(key=name_of(cell))]
    together = two.intake.together(timers, under=name_of(1 - cell))
    assert {*cells_of(together)} == {cell}
    assert together[-1] == timers[-1]
    assert len({timer.id for timer in together}) == 21


@pytest.mark.parametrize("cell", HALVES.numbers)
def test_batch_of_plain_timers_is_in_the_cell_of_its_idempotency_key(
    two: TwoCells, cell: int
) -> None:
    timers = [two.new() for _ in range(20)]
    assert {*cells_of(two.intake.together(timers, under=name_of(cell)))} == {cell}
    assert len({*cells_of(two.intake.together(timers))}) == 1


def test_batch_of_two_cells_is_refused(two: TwoCells) -> None:
    with pytest.raises(SeveralCellsError):
        two.intake.together([two.new(key=name_of(0)), two.new(flow_key=name_of(1))])


def test_import_is_written_in_runs_of_one_cell_each_in_its_order(two: TwoCells) -> None:
    first, second = two.new(key=name_of(0)), two.new(flow_key=name_of(1))
    timers = [two.new(), first, two.new(), second, two.new(), first]
    runs = [*two.intake.runs(timers)]
    assert [timer for run in runs for timer in run if timer in (first, second)] == [
        first,
        second,
        first,
    ]
    assert sum(map(len, runs)) == len(timers)
    assert all(len({*cells_of(run)}) == 1 for run in runs)
    assert len(runs) <= 4
