"""What a scenario found: a table that anyone can read, the same in Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from tests.acceptance.receiver import now

MAX_DETAILS: Final = 5
"""Of a thousand violations the first ones tell as much."""


class Verdict(StrEnum):
    TOLD = ""
    REACHED = "reached"
    MISSED = "MISSED"
    NOT_RUN = "NOT RUN"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; `at_most` and `at_least` are its goal, if it has one."""

    done: str
    figure: str
    value: float | None
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    details: Sequence[str] = ()

    @property
    def verdict(self) -> Verdict:
        if self.value is None:
            return Verdict.NOT_RUN
        if self.at_most is None and self.at_least is None:
            return Verdict.TOLD
        low = float("-inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return Verdict.REACHED if low <= self.value <= high else Verdict.MISSED

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return "none" if self.at_most == 0 else f"<= {self.at_most:g} {self.unit}".strip()
        return "" if self.at_least is None else f">= {self.at_least:g} {self.unit}".strip()

    @property
    def shown(self) -> str:
        if self.value is None:
            return "; ".join(self.details)
        digits = 0 if self.value % 1 == 0 or abs(self.value) >= 100 else 2
        return f"{self.value:,.{digits}f} {self.unit}".strip()


def late(done: str, figure: str, late_ms: float, at_most: float, *, is_starved: bool) -> Figure:
    """Tell a lateness; one beyond the goal on a machine too busy to tell counts as not run."""
    if is_starved and late_ms > at_most:
        words = f"{late_ms:,.0f} ms, but the machine was too busy to tell"
        return Figure(done, figure, None, "ms", at_most, details=[words])
    return Figure(done, figure, late_ms, "ms", at_most)


def none_of(done: str, figure: str, violations: Iterable[str]) -> Figure:
    """Count what must not be at all."""
    found = list(violations)
    return Figure(done, figure, len(found), at_most=0, details=found[:MAX_DETAILS])


@dataclass(slots=True)
class Section:
    """A scenario and its figures; `broke`: why it did not come to its end."""

    name: str
    figures: Sequence[Figure] = ()
    length_s: float = 0.0
    broke: str = ""

    @property
    def verdict(self) -> Verdict:
        verdicts = {figure.verdict for figure in self.figures}
        if self.broke or Verdict.MISSED in verdicts:
            return Verdict.MISSED
        return Verdict.NOT_RUN if Verdict.NOT_RUN in verdicts else Verdict.REACHED


@dataclass(slots=True)
class Report:
    seed: int
    sections: list[Section] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "last.md").write_text(self.markdown(), "utf-8")
        (folder / "last.json").write_text(json.dumps(self.document(), indent=1) + "\n", "utf-8")

    def document(self) -> dict[str, object]:
        return {
            "at": now().isoformat(timespec="seconds"),
            "seed": self.seed,
            "machine": _machine(),
            "scenarios": [
                {
                    "name": section.name,
                    "verdict": section.verdict,
                    "length_s": round(section.length_s, 1),
                    "broke": section.broke,
                    "figures": [
                        asdict(figure) | {"verdict": figure.verdict} for figure in section.figures
                    ],
                }
                for section in self.sections
            ],
        }

    def markdown(self) -> str:
        lines = [
            f"# Chaos, {now().isoformat(timespec='minutes')}",
            "",
            f"On {_machine()}, `SEED={self.seed}`. {self.summary()}",
            "",
            "| scenario | what was done | figure | value | goal | verdict |",
            "|---|---|---|---|---|---|",
        ]
        for section in self.sections:
            lines += [f"| {' | '.join(row)} |" for row in rows_of(section)]
        return "\n".join(lines) + "\n"

    def summary(self) -> str:
        counts = {verdict: 0 for verdict in Verdict if verdict}
        for section in self.sections:
            counts[section.verdict] += 1
        words = ", ".join(f"{count} {verdict.lower()}" for verdict, count in counts.items())
        return f"Of {len(self.sections)} scenarios: {words}."


_WIDTHS: Final = (15, 34, 52, 12, 12)
HEAD: Final = ("scenario", "what was done", "figure", "value", "goal", "verdict")


def spell(cells: Sequence[str]) -> str:
    """Put a row of the printed table together."""
    *most, last = cells
    padded = [cell.ljust(width) for cell, width in zip(most, _WIDTHS, strict=True)]
    return "  ".join([*padded, last]).rstrip()


def rows_of(section: Section) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (section.name, each.done, each.figure, each.shown, each.goal, str(each.verdict))
        for each in section.figures
    ]
    if section.broke:
        rows.append((section.name, "", section.broke, "", "", str(Verdict.MISSED)))
    rows.append((section.name, "", "length of the scenario", f"{section.length_s:.0f} s", "", ""))
    return rows


def _machine() -> str:
    system = f"{platform.system()} {platform.machine()}"
    return f"{os.cpu_count()} CPUs, {system}, Python {platform.python_version()}"
