"""One run of one contender: timers written, fired, received, counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from benchmarks.contender import Contender, Start
from benchmarks.cost import Cost
from benchmarks.machine import sleep, time
from benchmarks.programs import BenchmarkError
from benchmarks.receiving import Receiving, Seen, receiver
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.retry import RetryPolicy

PATIENCE_S: Final = 60.0
"""After the last instant: what is that late is lost."""
SETTLE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many timers, and when each is due, in seconds from the first."""

    count: int
    offset_s: Callable[[int], float]
    destinations: int
    lead_s: float
    """From now to the first: so long it may take to write and to load them all."""
    retry: RetryPolicy | None = None
    """With one every attempt but the last that it allows is refused."""
    flows: Sequence[FlowKey] = ()
    """In which they are, by turns; none: in no flow."""

    @property
    def attempts(self) -> int:
        """How many each timer takes."""
        return 1 if self.retry is None else self.retry.max_attempts


@dataclass(frozen=True, slots=True)
class Run:
    count: int
    """Of attempts: as many as of timers where none is to fail."""
    first_due_s: float
    seen: Seen
    cost: Cost
    rss_bytes: int

    @property
    def worker_us(self) -> float:
        return self.cost.worker_s / self.count * 1e6

    @property
    def database_us(self) -> float:
        return self.cost.database_s / self.count * 1e6

    @property
    def transactions(self) -> float:
        return self.cost.transactions / self.count

    @property
    def wal_bytes(self) -> float:
        return self.cost.wal_bytes / self.count

    @property
    def last_arrival_s(self) -> float:
        return self.seen.last_s - self.first_due_s


def steady(rate: int, seconds: float, destinations: int) -> Schedule:
    return Schedule(
        count=int(rate * seconds),
        offset_s=lambda number: number / rate,
        destinations=destinations,
        lead_s=4 + rate * seconds / 10_000,
    )


def burst(count: int, destinations: int) -> Schedule:
    return Schedule(
        count=count,
        offset_s=lambda _: 0.0,
        destinations=destinations,
        lead_s=5 + count / 5_000,
    )


def run(start: Start, schedule: Schedule, warm_up: Schedule | None = None) -> Run:
    """Let a contender fire a schedule on a fresh database, after another one that does not count.

    Each goes to a receiver of its own, so that nobody has connections to the next one already.
    """
    with start() as contender:
        if warm_up is not None:
            _fire_alone(contender, warm_up)
        return _fire_alone(contender, schedule)


def _fire_alone(contender: Contender, schedule: Schedule) -> Run:
    failures = schedule.attempts - 1
    with receiver(schedule.destinations, failures=failures) as far_end:
        return fire(contender, far_end, schedule)


def fire(contender: Contender, far_end: Receiving, schedule: Schedule) -> Run:
    """Write a schedule's timers, and measure from then to their end.

    A worker that reads them itself is measured from before: it may read while they are written.
    """
    began = contender.cost()
    instants = write_schedule(contender, far_end, schedule)
    written = contender.cost()
    seen = await_all(contender, far_end, instants, schedule.attempts)
    before = replace(written, worker_s=began.worker_s) if contender.reads_itself else written
    cost = contender.cost() - before
    count = schedule.count * schedule.attempts
    return Run(count, instants[0], seen, cost, contender.rss_bytes())


def write_schedule(contender: Contender, far_end: Receiving, schedule: Schedule) -> Sequence[float]:
    """Write a schedule's timers, and answer with their instants in Unix seconds."""
    # A whole millisecond, which is as finely as some contenders know an instant.
    first_s = round(time() + schedule.lead_s, 3)
    instants = [first_s + schedule.offset_s(number) for number in range(schedule.count)]
    contender.write(instants, far_end.urls, schedule.retry, schedule.flows)
    _pause_until_flushed()
    contender.load()
    if time() > first_s:
        raise BenchmarkError("the timers were not written before the first was due")
    return instants


def await_all(
    contender: Contender, far_end: Receiving, instants: Sequence[float], attempts: int = 1
) -> Seen:
    """Return when the timers of these instants have arrived so many times each and are settled.

    Raises:
        BenchmarkError: one was lost, doubled, early, or not settled: the figures are worth nothing;
            or the contender ended.
    """
    far_end.expect(len(instants) * attempts, instants[-1] - time() + PATIENCE_S)
    seen = far_end.report()
    contender.program.check_running()
    check(seen, len(instants) * attempts)
    _wait_completed(contender, instants, attempts)
    return seen


def in_turn(
    starts: Sequence[Start], schedule: Schedule, rounds: int, warm_up: Schedule | None = None
) -> list[list[Run]]:
    """Run several contenders one after the other, again and again, and answer with each one's runs.

    The machine's speed drifts by more than the goals allow: by turns, it drifts for all of them.
    """
    turns = [[run(start, schedule, warm_up) for start in starts] for _ in range(rounds)]
    return [list(runs) for runs in zip(*turns, strict=True)]


def mean_us(runs: Sequence[Run]) -> float:
    """Tell the CPU time of the worker for a timer, over several runs."""
    return fmean(each.worker_us for each in runs)


def mean_database_us(runs: Sequence[Run]) -> float:
    """Tell the CPU time of the database for a timer, over several runs."""
    return fmean(each.database_us for each in runs)


def check(seen: Seen, count: int) -> None:
    """Raise BenchmarkError unless exactly so many attempts have come, no one of them early."""
    lost = count - seen.distinct
    if lost or seen.doubles or seen.early:
        raise BenchmarkError(
            f"of {count} attempts {lost} were lost, {seen.doubles} doubled, {seen.early} early"
        )


def _pause_until_flushed() -> None:
    # A backend adds its transactions to the statistics a second after it did them.
    sleep(1.1)


def _wait_completed(contender: Contender, instants: Sequence[float], attempts: int) -> None:
    give_up_s = time() + SETTLE_S
    while time() < give_up_s:
        if contender.completed(instants, attempts) >= len(instants):
            return
        sleep(0.2)
    raise BenchmarkError(f"fewer than {len(instants)} timers are completed at attempt {attempts}")
