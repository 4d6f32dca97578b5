"""Prints results as a table in Markdown, for docs/performance.md.

python -m benchmarks.table FILE ...: files that `python -m benchmarks --json FILE` has written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.report import Line, shown


def main() -> None:
    print("| benchmark | figure | measured | goal |\n|---|---|---|---|")
    for name in sys.argv[1:]:
        for fields in json.loads(Path(name).read_text("utf-8"))["lines"]:
            fields.pop("is_reached")
            print(_row(Line(**fields)))


def _row(line: Line) -> str:
    missed = " (missed)" if line.is_reached is False else ""
    measured = f"{shown(line.value)} {line.unit}".strip()
    return f"| {line.benchmark} | {line.figure} | {measured} | {line.goal}{missed} |"


if __name__ == "__main__":
    main()
