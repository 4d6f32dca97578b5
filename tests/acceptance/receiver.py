"""The tests' hold on a receiver process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from pathlib import Path

from tests.acceptance.processes import Program, running

PROGRAM = Path(__file__).with_name("receiver_program.py")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One callback as it came in; `at` in Unix seconds, by the machine's clock."""

    at: float
    path: str
    headers: dict[str, str] = field(repr=False)
    body: str

    @property
    def timer_id(self) -> str:
        return self.headers["x-timer-id"]

    @property
    def attempt(self) -> int:
        return int(self.headers["x-timer-attempt"])

    @property
    def scheduled_s(self) -> float:
        return datetime.fromisoformat(self.headers["x-timer-scheduled-at"]).timestamp()

    @property
    def late_ms(self) -> float:
        return (self.at - self.scheduled_s) * 1000


class ReceiverProcess:
    """Answers callbacks elsewhere, and lists them here."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._arrivals: list[Arrival] = []
        self._answered_at: dict[tuple[str, int], float] = {}
        self._lines_read = 1
        self._times_fired: Counter[str] = Counter()

    @property
    def arrivals(self) -> Sequence[Arrival]:
        lines = self._program.out[self._lines_read :]
        self._lines_read += len(lines)
        for fields in map(json.loads, lines):
            if "answered" in fields:
                self._answered_at[fields["answered"], fields["attempt"]] = fields["at"]
                continue
            arrival = Arrival(**fields)
            self._arrivals.append(arrival)
            self._times_fired[arrival.timer_id] += 1
        return self._arrivals

    def answered_at(self, arrival: Arrival) -> float:
        """When a callback on the path `/tell/...` was answered; infinity: not yet, or never."""
        return self._answered_at.get((arrival.timer_id, arrival.attempt), inf)

    @property
    def times_fired(self) -> Counter[str]:
        """How often each timer has called."""
        return self._times_fired if self.arrivals else Counter()

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self._program.out[0]}{path}"

    @property
    def wakes_late_ms(self) -> list[float]:
        """By how much it woke late from its sleeps: the machine's doing, not the service's."""
        return [float(line) for line in self._program.err]

    async def wait_arrivals(self, count: int) -> None:
        """Wait until so many callbacks have come in."""
        await self._program.eventually(lambda: len(self.arrivals) >= count or None)

    async def wait_answered(self, timer_id: str) -> None:
        """Wait until the answer to a callback on the path `/tell/...` has been sent."""
        await self._program.eventually(
            lambda: (self.arrivals and any(timer_id in key for key in self._answered_at)) or None
        )

    async def wait_fired(self, timer_ids: Collection[str]) -> None:
        """Wait until each of these timers has called at least once."""
        wanted = set(timer_ids)
        await self._program.eventually(lambda: self.times_fired.keys() >= wanted or None)


@asynccontextmanager
async def receiver_process() -> AsyncIterator[ReceiverProcess]:
    async with running(str(PROGRAM)) as program:
        await program.eventually(lambda: program.out or None)
        yield ReceiverProcess(program)


def now() -> datetime:
    """Tell the time by the clock that the tests' databases and receivers go by."""
    return datetime.now(UTC)  # noqa: TID251 - a consumer's view of the service


def percentile(values: Collection[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
