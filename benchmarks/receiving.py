"""The far end of a run: receiver.py as a process, and what it saw."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.programs import Program, running, temporary_folder

START_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a receiver saw since its last report; `all_late_ms` is sorted.

    `instants`: each timer, its attempt, and when that came; only where some were to fail.
    """

    all_late_ms: Sequence[float]
    distinct: int
    first_s: float
    last_s: float
    instants: Sequence[tuple[str, int, float]] = ()

    @property
    def doubles(self) -> int:
        return len(self.all_late_ms) - self.distinct

    @property
    def early(self) -> int:
        return sum(late < 0 for late in self.all_late_ms)

    def late_ms(self, share: float) -> float:
        """Tell how late such a share of the callbacks came at most."""
        if not self.all_late_ms:
            return float("nan")
        return self.all_late_ms[min(int(len(self.all_late_ms) * share), len(self.all_late_ms) - 1)]


def together(reports: Sequence[Seen]) -> Seen:
    """Take several reports as one."""
    return Seen(
        all_late_ms=sorted(late for each in reports for late in each.all_late_ms),
        distinct=sum(each.distinct for each in reports),
        first_s=min(each.first_s for each in reports),
        last_s=max(each.last_s for each in reports),
    )


class Receiving:
    def __init__(self, program: Program, urls: Sequence[str]) -> None:
        self._program = program
        self.urls: Final = urls
        self.pid: Final = program.pid

    def expect(self, count: int, within_s: float) -> None:
        """Ask for a report once so many attempts have come since the last, or after that time."""
        self._program.tell(f"{count} {within_s}")
        self._within_s = within_s

    def report(self) -> Seen:
        """Return the report that was asked for."""
        seen = json.loads(self._program.read_line(self._within_s + START_S))
        return Seen(all_late_ms=sorted(seen.pop("late_ms")), **seen)


@contextmanager
def receiver(destinations: int, delay_s: float = 0.0, failures: int = 0) -> Iterator[Receiving]:
    """Run a receiver with so many ports, each a destination of its own, until the block ends.

    It refuses the first `failures` attempts of each timer.
    """
    arguments = map(str, (destinations, delay_s, failures))
    with (
        temporary_folder() as folder,
        running("-m", "benchmarks.receiver", *arguments, folder=folder) as program,
    ):
        ports = json.loads(program.read_line(START_S))
        yield Receiving(program, [f"http://127.0.0.1:{port}/callbacks" for port in ports])
