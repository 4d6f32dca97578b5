"""Random histories of redrives, bulk actions, keys, names and results, held against all promises.

A failure says how to run its history again; `make soak` looks for new ones.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.simulation.scenarios import Scenario
from tests.simulation.seeds import seeds
from tests.simulation.verb_checkers import broken_verb_promises
from tests.simulation.verbs import verb_history

SHARES: Final = {Scenario.FLEET: 1.0}
"""In a fleet all meets all."""
SEEDS: Final = [
    (seed, scenario) for scenario in Scenario for seed in seeds(SHARES.get(scenario, 0.1))
]


@pytest.mark.sampled(of=4)
@pytest.mark.parametrize(("seed", "scenario"), SEEDS)
def test_promises_hold(seed: int, scenario: Scenario) -> None:
    again = f"make soak SEED={seed} HISTORIES=1 ARGS='-k {seed}-{scenario}'"
    assert not broken_verb_promises(verb_history(seed, scenario)), f"once more: {again}"
