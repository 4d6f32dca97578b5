"""What milliseconds cost: 500 timers a second, where those due within so many go out together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.report import Line, Size
from benchmarks.steady import side_by_side

NAME: Final = "together"
WITHIN_MS: Final = (0, 1, 2, 5, 10, 20)


def measure(size: Size) -> Iterator[Line]:
    ways = {f"within {within} ms": {"FIRE_TOGETHER": f"{within}ms"} for within in WITHIN_MS}
    yield from side_by_side(NAME, ways, size)
