"""How many requests a key may make: the limit that a project sets, and a replica's share of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from timer_trio.domain.token_buckets import Filling

MIN_PER_S: Final = 0.1
MAX_PER_S: Final = 100_000.0
MAX_BURST: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How many requests of one key are served a second, and how many at once.

    Raises:
        ValueError: a number that no limit has.
    """

    requests_per_second: float
    burst: int

    def __post_init__(self) -> None:
        is_rate = MIN_PER_S <= self.requests_per_second <= MAX_PER_S
        if not is_rate or not 1 <= self.burst <= MAX_BURST:
            raise ValueError("no limit has such numbers")

    @property
    def refill_s(self) -> int:
        """After how many whole seconds without a request the whole burst is there again."""
        return ceil(self.burst / self.requests_per_second)

    def share(self, replicas: int) -> Filling:
        """Return what one of so many replicas lets pass.

        A share of the burst is no less than one request, without which nothing would ever pass.
        """
        return Filling(self.requests_per_second / replicas, max(self.burst / replicas, 1.0))


def usual_burst(requests_per_second: float) -> int:
    """Return how many requests may come at once where nobody says it: those of a second."""
    return max(1, ceil(requests_per_second))
