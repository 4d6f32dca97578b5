"""Which random histories are run: few by default, many by `make soak`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final, TypeVar

from tests.sampling import is_sampled
from tests.simulation.faults import Fault

T = TypeVar("T")

FIRST_SEED: Final = int(os.environ.get("SIMULATION_SEED", "1"))
HISTORIES: Final = int(os.environ.get("SIMULATION_HISTORIES", "10"))


def seeds(times: float = 1.0) -> range:
    """Choose seeds for a kind of history that there are so many times as many of."""
    return range(FIRST_SEED, FIRST_SEED + max(1, int(HISTORIES * times)))


def tried_with(fault: Fault, calls: Iterable[T], *, of: int = 1) -> list[T]:
    """Choose the calls that are to fail so: of many each in one way alone, and one in `of`."""
    turn, ways = [*Fault].index(fault), of * len(Fault)
    return [call for place, call in enumerate(calls) if is_sampled(place + turn, of=ways)]


def met_in(histories: Iterable[Iterable[str]], wanted: AbstractSet[str]) -> set[str]:
    """Tell what histories meet; once that is all that is wanted no more of them are run."""
    met: set[str] = set()
    for history in histories:
        met |= {*history}
        if met >= wanted:
            break
    return met
