"""Which replicas there are, and which of the others are dead.

That is judged by their counters alone: no two clocks are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from timer_trio.domain.cells import ALL, Cell
from timer_trio.domain.timer import ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which process a replica is, for people to read; `map`: of which cells it has been told."""

    host: str = ""
    pid: int = 0
    version: str = ""
    map: str = str(ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStats:
    """What a replica tells of itself with each heartbeat, for people to read.

    `clock_offset_s`: by how much its machine's wall clock is ahead of the database's, at most; None
    as long as it does not know.
    """

    in_flight: int = 0
    cached: int = 0
    clock_offset_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRecord:
    """A replica's row, in the database of a cell.

    `beaten_at`: when the database took its last heartbeat; None: none yet.
    """

    id: ReplicaId
    identity: Identity
    stats: ReplicaStats
    started_at: datetime
    beaten_at: datetime | None
    is_leaving: bool
    cell: Cell = ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """How often a replica beats, and how long it counts as alive.

    No send begins `fence_s` after the last confirmed heartbeat was sent; a counter unchanged for
    `dead_after_s` is a dead replica's: four beats, less the jitter of their arrival. What lies
    between them is the margin for a send that has passed the fence and not yet reached the wire.
    """

    beat_interval_s: float = 1.0
    fence_s: float = 3.0
    dead_after_s: float = 3.9


class Watch:
    """Remembers since when each counter stands still, in the watcher's own seconds.

    Observations that lie further apart than half of `dead_after_s` tell nothing: what held up the
    watcher, a database that hung or a machine that slept, has held up the others too.
    """

    def __init__(self, dead_after_s: float) -> None:
        self._dead_after_s = dead_after_s
        self._observed_s = float("-inf")
        self._seen: dict[ReplicaId, tuple[int, float]] = {}

    def observe(self, counters: Mapping[ReplicaId, int], now_s: float) -> dict[ReplicaId, int]:
        """Compare the counters that a heartbeat has read; names the dead with their last count."""
        if now_s - self._observed_s > self._dead_after_s / 2:
            self.forget()
        self._observed_s = now_s
        self._seen = {
            replica: self._since(replica, counter, now_s) for replica, counter in counters.items()
        }
        return {
            replica: counter
            for replica, (counter, since_s) in self._seen.items()
            if now_s - since_s >= self._dead_after_s
        }

    def forget(self) -> None:
        """Begin anew: a time without an answer tells nothing about the others."""
        self._seen.clear()

    def _since(self, replica: ReplicaId, counter: int, now_s: float) -> tuple[int, float]:
        seen = self._seen.get(replica)
        return seen if seen is not None and seen[0] == counter else (counter, now_s)
