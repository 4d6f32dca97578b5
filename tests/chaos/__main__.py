"""Runs the chaos suite: SEED=number python -m tests.chaos [NAME ...]."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

import trio

from tests.acceptance.processes import PROJECT
from tests.chaos.report import HEAD, Report, Verdict, rows_of, spell
from tests.chaos.scenarios import FULL_S, SCENARIOS, play
from timer_trio.telemetry import log

RESULTS: Final = PROJECT / "chaos-results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(SCENARIOS)}")
    names = parser.parse_args().names or list(SCENARIOS)
    if unknown := set(names) - SCENARIOS.keys():
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, _stop)
    log.configure("error", None, sys.stderr)
    report = Report(int(os.environ.get("SEED") or secrets.randbits(32)))
    print(f"SEED={report.seed}\n{spell(HEAD)}", flush=True)
    for name in names:
        section = trio.run(play, name, report.seed, FULL_S)
        report.sections.append(section)
        print("\n".join(map(spell, rows_of(section))), flush=True)
        for figure in section.figures:
            if figure.verdict is Verdict.MISSED and figure.details:
                print("\n".join(f"    {detail}" for detail in figure.details))
        report.write(RESULTS)
    print(f"{report.summary()}\nthe report: {RESULTS / 'last.md'}, {RESULTS / 'last.json'}")
    return int(any(section.verdict is Verdict.MISSED for section in report.sections))


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    # As an exception it passes through every block that ends what it has started.
    raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())
