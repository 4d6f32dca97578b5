"""The service beside pg-boss and graphile-worker: what a timer costs each, and how late it comes.

By turns, 10,000 timers at one instant to 256 destinations, and 500 a second to eight. Each makes
the same callbacks to the same receiver, on a fresh database of its own, and settles them there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import Final

from benchmarks import burst, steady
from benchmarks.contender import Start, service
from benchmarks.figures import run_lines
from benchmarks.firing import Run, Schedule, mean_us, run
from benchmarks.firing import burst as at_one_instant
from benchmarks.firing import steady as at_a_rate
from benchmarks.peers.node import installed_node
from benchmarks.peers.peer import GRAPHILE_WORKER, PG_BOSS, PG_BOSS_AT_ONCE, peer
from benchmarks.programs import BenchmarkError
from benchmarks.report import Line, Size

NAME: Final = "peers"
WARM_UP: Final = 2000
"""Timers before those that count, since Node makes fast code of what has run a while."""


@dataclass(frozen=True, slots=True)
class Side:
    """A contender. One of ours has goals: lateness, and costs in times those of a peer."""

    start: Start
    beside: str = ""
    worker: float | None = None
    last: float | None = None
    late_ms: Mapping[str, float] = field(default_factory=dict)


_PEERS: Final = {
    "pg-boss": Side(partial(peer, PG_BOSS)),
    "graphile": Side(partial(peer, GRAPHILE_WORKER)),
}
_BURST: Final = {
    "timer-trio": Side(partial(service, burst.LIMITS), beside="pg-boss", worker=1.0, last=1.05),
    **_PEERS,
    "pg-boss, all at once": Side(partial(peer, PG_BOSS_AT_ONCE)),
}
_STEADY: Final = {
    "timer-trio": Side(service, beside="graphile", worker=1.6, late_ms={"p50": 2, "p99": 10}),
    "together": Side(
        partial(service, {"FIRE_TOGETHER": "10ms"}),
        beside="graphile",
        worker=1.0,
        late_ms={"p99": 25},
    ),
    **_PEERS,
}


def measure(size: Size) -> Iterator[Line]:
    installed_node()
    rounds, seconds = (1, 8) if size is Size.QUICK else (3, 12)
    at_once = at_one_instant(burst.COUNT, burst.DESTINATIONS)
    yield from _compared("burst", _BURST, at_once, rounds)
    spread = at_a_rate(steady.RATE, seconds, steady.DESTINATIONS)
    yield from _compared("steady", _STEADY, spread, rounds)


def _compared(
    part: str, sides: Mapping[str, Side], schedule: Schedule, rounds: int
) -> Iterator[Line]:
    runs = _in_turn(part, sides, schedule, rounds)
    for name, own in runs.items():
        late_ms = sides[name].late_ms
        yield from run_lines(NAME, own, where=f", {part}, {name}", at_most=late_ms)
    for name, side in sides.items():
        if side.beside in runs:
            yield from _beside(part, name, side, runs)


def _in_turn(
    part: str, sides: Mapping[str, Side], schedule: Schedule, rounds: int
) -> Mapping[str, Sequence[Run]]:
    """Run each again and again; a peer that goes wrong is told of, and that run does not count."""
    warm_up = at_one_instant(WARM_UP, schedule.destinations)
    runs: dict[str, list[Run]] = {}
    for _ in range(rounds):
        for name, side in sides.items():
            try:
                runs.setdefault(name, []).append(run(side.start, schedule, warm_up))
            except BenchmarkError as error:
                if side.beside:
                    raise
                print(f"{NAME}: {part}, {name}: {error}", file=sys.stderr)
    return {name: own for name, own in runs.items() if own}


def _beside(part: str, name: str, side: Side, runs: Mapping[str, Sequence[Run]]) -> Iterator[Line]:
    ours, theirs = runs[name], runs[side.beside]
    times = f", {part}, {name}, times {side.beside}'s"
    worker = mean_us(ours) / mean_us(theirs)
    yield Line(NAME, f"worker CPU{times}", worker, at_most=side.worker)
    if side.last is not None:
        yield Line(NAME, f"last arrival, {part}, {name}", _last_s(ours), "s")
        yield Line(NAME, f"last arrival, {part}, {side.beside}", _last_s(theirs), "s")
        last = _last_s(ours) / _last_s(theirs)
        yield Line(NAME, f"last arrival{times}", last, at_most=side.last)


def _last_s(runs: Sequence[Run]) -> float:
    # The mean, since a peer that polls finds an instant sooner or later, as it happens.
    return fmean(each.last_arrival_s for each in runs)
