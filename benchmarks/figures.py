"""The figures that all benchmarks of callbacks report: what a timer cost, and how late it came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from benchmarks.cost import Cost, sum_of
from benchmarks.firing import Run
from benchmarks.receiving import Seen, together
from benchmarks.report import Line

_SHARES: Final[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1}


def run_lines(
    name: str,
    runs: Sequence[Run],
    *,
    late: str = "late",
    where: str = "",
    at_most: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[Line]:
    """Tell what a timer of several runs took, and how late they came."""
    count = sum(each.count for each in runs)
    yield from cost_lines(name, sum_of([each.cost for each in runs]), count, where=where)
    seen = together([each.seen for each in runs])
    yield from late_lines(name, seen, late=late, where=where, at_most=at_most)


def cost_lines(
    name: str, cost: Cost, count: int, *, of: str = "a timer", where: str = ""
) -> Iterator[Line]:
    """Tell what one of `count` took of the worker and of its database."""
    yield Line(name, f"worker CPU {of}{where}", cost.worker_s / count * 1e6, "us")
    yield Line(name, f"database CPU {of}{where}", cost.database_s / count * 1e6, "us")
    yield Line(name, f"database transactions {of}{where}", cost.transactions / count)


def late_lines(
    name: str,
    seen: Seen,
    *,
    late: str = "late",
    where: str = "",
    at_most: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[Line]:
    """Tell how late they came, as the receiver saw it; `at_most` are the goals."""
    for called, share in _SHARES.items():
        goal = at_most.get(called)
        yield Line(name, f"{late}, {called}{where}", seen.late_ms(share), "ms", at_most=goal)
