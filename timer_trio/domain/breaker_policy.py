"""When a project's callbacks leave a destination alone that has failed again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_FAILURES: Final = 1_000
MAX_OPEN_S: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """After how many failures in a row nothing is sent, and for how long.

    Raises:
        ValueError: a number that no breaker has.
    """

    failures: int
    open_s: float

    def __post_init__(self) -> None:
        if not 1 <= self.failures <= MAX_FAILURES or not 1 <= self.open_s <= MAX_OPEN_S:
            raise ValueError("no breaker has such numbers")
