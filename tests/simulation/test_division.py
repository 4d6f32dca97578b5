"""Random histories in which a database is divided under load, held against all promises.

A failure says how to run its history again; `make soak` looks for new ones.
"""

from __future__ import annotations

import pytest

from tests.simulation.division import broken_when_divided, history_of_division
from tests.simulation.scenarios import Scenario
from tests.simulation.seeds import seeds

SEEDS = [(seed, scenario) for scenario in Scenario for seed in seeds(0.2)]


@pytest.mark.sampled(of=4)
@pytest.mark.parametrize(("seed", "scenario"), SEEDS)
def test_promises_hold(seed: int, scenario: Scenario) -> None:
    again = f"make soak SEED={seed} HISTORIES=10 ARGS='-k {seed}-{scenario}'"
    assert not broken_when_divided(history_of_division(seed, scenario)), f"once more: {again}"
