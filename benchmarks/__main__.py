"""Runs the benchmarks: python -m benchmarks [--quick] [--json FILE] [NAME ...]."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from benchmarks import (
    attempts,
    backlog,
    bulk,
    burst,
    cells,
    fairness,
    flows,
    idle,
    intake,
    memory,
    retries,
    scaling,
    schedules,
    slow,
    soak,
    steady,
    together,
    tracing,
    upgrade,
    wake,
)
from benchmarks.interpreter import described
from benchmarks.machine import monotonic
from benchmarks.peers import comparison
from benchmarks.programs import PROJECT, BenchmarkError
from benchmarks.report import HEAD, Line, Size, row, write_json
from timer_trio.telemetry import log

Measure = Callable[[Size], Iterator[Line]]

# In the order in which they run. The first ones make a quick run, the last ones run when named.
QUICK: Final[Mapping[str, Measure]] = {
    steady.NAME: steady.measure,
    burst.NAME: burst.measure,
    intake.NAME: intake.measure,
    memory.NAME: memory.measure,
    wake.NAME: wake.measure,
}
FULL: Final[Mapping[str, Measure]] = {
    **QUICK,
    retries.NAME: retries.measure,
    schedules.NAME: schedules.measure,
    bulk.NAME: bulk.measure,
    slow.NAME: slow.measure,
    fairness.NAME: fairness.measure,
    flows.NAME: flows.measure,
    together.NAME: together.measure,
    tracing.NAME: tracing.measure,
    idle.NAME: idle.measure,
    backlog.NAME: backlog.measure,
    soak.NAME: soak.measure,
    scaling.NAME: scaling.measure,
}
ALL: Final[Mapping[str, Measure]] = {
    **FULL,
    backlog.MANY_NAME: backlog.measure_many,
    soak.LONG_NAME: soak.measure_long,
    cells.NAME: cells.measure,
    attempts.NAME: attempts.measure,
    upgrade.NAME: upgrade.measure,
    comparison.NAME: comparison.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help="within two minutes")
    parser.add_argument("--json", type=Path, default=PROJECT / "bench-results" / "last.json")
    asked = parser.parse_args()
    if unknown := set(asked.names) - ALL.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, _stop)
    log.configure("warn", None, sys.stderr)
    size = Size.QUICK if asked.quick else Size.FULL
    chosen = QUICK if asked.quick else FULL
    lines, failed = _run(asked.names or list(chosen), size)
    write_json(asked.json, size, lines)
    print(f"as JSON: {asked.json}")
    return 1 if failed else 0


def _run(names: Sequence[str], size: Size) -> tuple[Sequence[Line], Sequence[str]]:
    """Run benchmarks, print what each finds as it finds it, and name those that went wrong."""
    lines: list[Line] = []
    failed: list[str] = []
    print(described())
    print(HEAD)
    for name in names:
        began_s = monotonic()
        try:
            for line in ALL[name](size):
                lines.append(line)
                print(row(line), flush=True)
        except BenchmarkError as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
        lines.append(Line(name, "length of the benchmark", monotonic() - began_s, "s"))
        print(row(lines[-1]), flush=True)
    return lines, failed


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    # As an exception it passes through every block that ends what it has started.
    raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())
