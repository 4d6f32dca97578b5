"""The book of a scenario: what consumers were told, what the receiver saw, and how it all ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import psycopg
import trio
from psycopg.rows import class_row

from tests.acceptance.receiver import Arrival
from tests.chaos.machine import STARVED_MS
from timer_trio.domain.timer import ENDED
from timer_trio.threads import run_in_thread

_READING: Final = trio.CapacityLimiter(2)


@dataclass(frozen=True, slots=True)
class Asked:
    """A timer whose creation was acknowledged; instants in Unix seconds, by the machine's clock."""

    number: int
    due_s: float
    delivery: str
    by: str
    known_s: float

    @property
    def expected_s(self) -> float:
        """The instant from which lateness counts: who asks late is served late."""
        return max(self.due_s, self.known_s)


@dataclass(frozen=True, slots=True)
class Row:
    """A timer as it stands in the database."""

    timer_id: str
    status: str
    delivery: str
    attempt: int
    claimed_by: str | None
    executed_s: float | None
    last_error: str | None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def is_unknown(self) -> bool:
        """Whether it ended as at_most_once does after a crash."""
        return self.status == "failed" and (self.last_error or "").startswith("outcome unknown")


@dataclass(slots=True)
class Book:
    """`machine_ms`: by how much the machine let the receiver wake late, at most.

    `waited_ms`: for how much of its worst second a replica waited for a processor.
    """

    asked: dict[str, Asked] = field(default_factory=dict)
    arrivals: Sequence[Arrival] = ()
    rows: Mapping[str, Row] = field(default_factory=dict)
    machine_ms: float = 0.0
    waited_ms: float = 0.0

    @property
    def is_starved(self) -> bool:
        """Whether the machine gave a replica so little that a great lateness tells nothing."""
        return self.waited_ms > STARVED_MS

    def by_timer(self) -> dict[str, list[Arrival]]:
        fired: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in self.arrivals:
            fired[arrival.timer_id].append(arrival)
        return fired


_ROWS: Final = """
SELECT
    id::text AS timer_id, status, delivery, attempt, claimed_by::text,
    extract(epoch FROM executed_at)::float AS executed_s, last_error
FROM timers
"""


async def read_rows(database_url: str) -> dict[str, Row]:
    """Read all timers, by their ids."""
    return await _read(database_url, "true", None)


async def read_held(database_url: str, replica: str) -> dict[str, Row]:
    """Read the timers that a replica holds, by their ids."""
    return await _read(database_url, "claimed_by = %s::uuid", [replica])


async def read_these(database_url: str, timer_ids: Iterable[str]) -> dict[str, Row]:
    return await _read(database_url, "id = ANY (%s::uuid[])", [list(timer_ids)])


async def _read(
    database_url: str, where: str, parameters: Sequence[object] | None
) -> dict[str, Row]:
    def fetch() -> list[Row]:
        with psycopg.connect(database_url, row_factory=class_row(Row)) as connection:
            return connection.execute(f"{_ROWS} WHERE {where}".encode(), parameters).fetchall()

    rows = await run_in_thread(fetch, limiter=_READING)
    return {row.timer_id: row for row in rows}
