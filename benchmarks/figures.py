"""The figures that all benchmarks of callbacks report: what a timer cost, and how late it came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from benchmarks.contender import Cost
from benchmarks.receiving import Seen
from benchmarks.report import Line

_SHARES: Final[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1}


def sum_of(costs: Sequence[Cost]) -> Cost:
    """Add up what several runs cost."""
    return Cost(
        worker_s=sum(each.worker_s for each in costs),
        database_s=sum(each.database_s for each in costs),
        transactions=sum(each.transactions for each in costs),
        wal_bytes=sum(each.wal_bytes for each in costs),
    )


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
