"""10,000 timers whose callbacks fail four times and then succeed: what each attempt costs.

At one instant to 256 destinations, beside timers that need one attempt, by turns; then to eight,
with their first instants spread over twenty seconds, so that 2,500 attempts come in a second. How
late an attempt is counts from the delay after the one before, whose end the database keeps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import psycopg

from benchmarks.burst import LIMITS
from benchmarks.contender import Contender, service
from benchmarks.firing import Run, Schedule, burst, fire, mean_us, steady
from benchmarks.programs import BenchmarkError
from benchmarks.receiving import receiver
from benchmarks.report import Line, Size
from timer_trio.domain.retry import RetryPolicy

NAME: Final = "retries"
DELAYS_S: Final = (0.2, 0.4, 0.8)
POLICY: Final = RetryPolicy(max_attempts=5, delays=DELAYS_S, jitter=0.0)
ONCE: Final = burst(10_000, destinations=256)
AT_ONE_INSTANT: Final = replace(ONCE, retry=POLICY)
SPREAD: Final = replace(steady(rate=500, seconds=20, destinations=8), retry=POLICY)

LateMs = Mapping[int, Sequence[float]]
"""How late the attempts of each number came, sorted."""


def measure(size: Size) -> Iterator[Line]:
    rounds = 1 if size is Size.QUICK else 3
    turns = [(_run(ONCE, LIMITS), _run(AT_ONE_INSTANT, LIMITS)) for _ in range(rounds)]
    once_us = mean_us([once for (once, _), _ in turns])
    again_us = mean_us([again for _, (again, _) in turns])
    yield Line(NAME, "worker CPU a timer of one attempt", once_us, "us")
    yield Line(NAME, "worker CPU an attempt", again_us, "us")
    ratio = again_us / once_us
    yield Line(NAME, "worker CPU an attempt, times the one's", ratio, at_most=1.15)
    yield from _of_database(turns[-1][0][0], "a timer of one attempt")
    again, late_ms = turns[-1][1]
    yield from _of_database(again, "an attempt")
    yield from _late_lines(late_ms, "at one instant")
    spread, late_ms = _run(SPREAD, {})
    yield Line(NAME, "worker CPU an attempt, spread", spread.worker_us, "us")
    yield from _late_lines(late_ms, "spread", at_most=50)


def _run(schedule: Schedule, settings: Mapping[str, str]) -> tuple[Run, LateMs]:
    failures = schedule.attempts - 1
    with (
        service(settings) as contender,
        receiver(schedule.destinations, failures=failures) as far_end,
    ):
        done = fire(contender, far_end, schedule)
        return done, _late_ms(contender, done) if failures else {}


def _of_database(done: Run, of: str) -> Iterator[Line]:
    yield Line(NAME, f"database CPU {of}", done.database_us, "us")
    yield Line(NAME, f"WAL {of}", done.wal_bytes, "B")


def _late_lines(late_ms: LateMs, where: str, at_most: float | None = None) -> Iterator[Line]:
    for attempt, late in sorted(late_ms.items()):
        p99_ms = late[int(len(late) * 0.99)]
        yield Line(NAME, f"late, p99, {where}, attempt {attempt}", p99_ms, "ms", at_most=at_most)


def _late_ms(contender: Contender, done: Run) -> LateMs:
    """Tell how late each attempt came.

    Raises:
        BenchmarkError: one came early.
    """
    due_s = _due_s(contender)
    late_ms: dict[int, list[float]] = defaultdict(list)
    for timer_id, attempt, arrived_s in done.seen.instants:
        late_ms[attempt].append((arrived_s - due_s[timer_id, attempt]) * 1000)
    if early := sum(late < 0 for each in late_ms.values() for late in each):
        raise BenchmarkError(f"{early} attempts came before their delay was over")
    return {attempt: sorted(each) for attempt, each in late_ms.items()}


def _due_s(contender: Contender) -> Mapping[tuple[str, int], float]:
    """Return when each attempt was due, in Unix seconds, by timer and attempt."""
    with psycopg.connect(contender.database.url) as connection:
        firsts = connection.execute(
            "SELECT id::text, extract(epoch FROM execute_at)::float8 FROM timers"
        ).fetchall()
        ends = connection.execute(
            "SELECT timer_id::text, attempt, extract(epoch FROM ended_at)::float8 FROM attempts"
        ).fetchall()
    due_s = {(timer_id, 1): at_s for timer_id, at_s in firsts}
    for timer_id, attempt, ended_s in ends:
        due_s[timer_id, attempt + 1] = ended_s + DELAYS_S[min(attempt, len(DELAYS_S)) - 1]
    return due_s
