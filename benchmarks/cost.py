"""What a contender and its databases have spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What a contender, all its worker processes, and its databases have spent so far."""

    worker_s: float
    database_s: float
    transactions: int
    wal_bytes: int

    def __sub__(self, earlier: Cost) -> Cost:
        return Cost(
            self.worker_s - earlier.worker_s,
            self.database_s - earlier.database_s,
            self.transactions - earlier.transactions,
            self.wal_bytes - earlier.wal_bytes,
        )


def sum_of(costs: Sequence[Cost]) -> Cost:
    """Add up what several runs, or databases, cost."""
    return Cost(
        worker_s=sum(each.worker_s for each in costs),
        database_s=sum(each.database_s for each in costs),
        transactions=sum(each.transactions for each in costs),
        wal_bytes=sum(each.wal_bytes for each in costs),
    )
