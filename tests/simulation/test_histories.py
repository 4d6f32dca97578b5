"""Random histories, each out of its seed, held against all promises.

A failure says how to run its history again; `make soak` looks for new ones.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.simulation.checkers import broken_promises
from tests.simulation.scenarios import Scenario, random_history
from tests.simulation.seeds import FIRST_SEED, seeds

SHARES: Final = {Scenario.FLEET: 30, Scenario.CRASH: 2}
"""How many times as many histories these two have: in a fleet all meets all, and a crash and its
successor are what the embedded set-up must survive before all else."""
SEEDS: Final = [
    (seed, scenario) for scenario in Scenario for seed in seeds(SHARES.get(scenario, 1))
]


@pytest.mark.parametrize(("seed", "scenario"), SEEDS)
def test_promises_hold(seed: int, scenario: Scenario) -> None:
    again = f"make soak SEED={seed} HISTORIES=1 ARGS='-k {seed}-{scenario}'"
    assert not broken_promises(random_history(seed, scenario)), f"once more: {again}"


def test_same_seed_gives_the_same_history() -> None:
    assert random_history(FIRST_SEED, Scenario.CRASH) == random_history(FIRST_SEED, Scenario.CRASH)
