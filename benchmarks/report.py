"""What a benchmark found: lines of a table, beside their goals, and the same as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

from benchmarks.interpreter import configured
from benchmarks.machine import time


class Size(Enum):
    """How long a benchmark may take: all of them two minutes, or twenty."""

    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Line:
    """One figure; `at_most` and `at_least` are its goal, if it has one."""

    benchmark: str
    figure: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        if self.at_least is not None:
            return self.value >= self.at_least
        return None

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return f"<= {shown(self.at_most)}"
        return "" if self.at_least is None else f">= {shown(self.at_least)}"


_VERDICTS: Final = {None: "", True: "reached", False: "MISSED"}
_ROW: Final = "{:<11} {:<50} {:>10} {:<4} {:<10} {}"
HEAD: Final = _ROW.format("benchmark", "figure", "value", "", "goal", "")


def row(line: Line) -> str:
    """Spell a line of the table, below `HEAD`."""
    verdict = _VERDICTS[line.is_reached]
    value = shown(line.value)
    return _ROW.format(line.benchmark, line.figure, value, line.unit, line.goal, verdict).rstrip()


def write_json(path: Path, size: Size, lines: Sequence[Line]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_document(size, lines), indent=1) + "\n", "utf-8")


def _document(size: Size, lines: Sequence[Line]) -> dict[str, Any]:
    return {
        "at": datetime.fromtimestamp(time(), UTC).isoformat(timespec="seconds"),
        "size": size.value,
        "machine": {
            "cpus": os.cpu_count(),
            "processor": _processor(),
            "python": platform.python_version(),
            "python_configured": configured(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "lines": [asdict(line) | {"is_reached": line.is_reached} for line in lines],
    }


def _processor() -> str:
    lines: Iterator[str] = iter(Path("/proc/cpuinfo").read_text("utf-8").splitlines())
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def shown(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
