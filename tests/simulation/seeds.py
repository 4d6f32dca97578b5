"""Which random histories are run: few by default, many by `make soak`."""

from __future__ import annotations

import os
from typing import Final

FIRST_SEED: Final = int(os.environ.get("SIMULATION_SEED", "1"))
HISTORIES: Final = int(os.environ.get("SIMULATION_HISTORIES", "10"))


def seeds(times: float = 1.0) -> range:
    """Choose seeds for a kind of history that there are so many times as many of."""
    return range(FIRST_SEED, FIRST_SEED + max(1, int(HISTORIES * times)))
