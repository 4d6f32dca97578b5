"""What is told of each firing: a line in the log, and the metrics."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from math import inf
from typing import Final, NamedTuple, NoReturn

import structlog
import trio

from timer_trio.domain.outcome_tally import End
from timer_trio.domain.settlement import Failed, Skipped
from timer_trio.domain.timer import Destination, rfc3339
from timer_trio.telemetry.ended_callback import EndedCallback
from timer_trio.telemetry.json_lines import QUOTE, JsonRenderer
from timer_trio.telemetry.metrics import NOT_FIRED, Metrics
from timer_trio.telemetry.tracing import Tracing

LINGER_S: Final = 0.05
"""How long a record waits for others: written together, they cost a third of what each costs at
the moment of its callback, and do not delay the next one."""
MAX_LINES: Final = 50
"""Written in one go: a millisecond."""
BUSY_S: Final = 0.003
"""Turns of all other tasks that take longer are a burst's: its callbacks go before its lines."""
SPELL_S: Final = 10.0
"""After so long without a shortage the next is another spell; each is warned of once."""
MAX_WAITING: Final = 10_000
"""Beyond it lines are written whatever else there is to do: each takes a kilobyte of memory."""

log = structlog.get_logger()


class Timed(NamedTuple):
    """A firing, and what several of those who are told of it ask for."""

    record: EndedCallback
    late_s: float
    took_s: float


class Recorder:
    """Writes the one canonical line of each firing, and counts it.

    `count` counts those that have ended by their destinations, the last of them at an instant;
    `tracing` has spans made of them.
    """

    def __init__(
        self,
        metrics: Metrics,
        count: Callable[[Iterable[End], datetime], None] = lambda _ends, _at: None,
        tracing: Tracing | None = None,
    ) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._count = count
        self._records: list[EndedCallback] = []
        self._noted = trio.Event()
        self._short_s = -inf

    def note_shortage(self, reason: str) -> None:
        """Count a callback that was put off, and warn of the first one in a while."""
        self._metrics.shortages.inc()
        last_s, self._short_s = self._short_s, trio.current_time()
        if self._short_s > last_s + SPELL_S:
            log.warning("callbacks_put_off", reason=reason)

    def count_fenced(self) -> None:
        """Count a callback that was not sent, since this replica may have been swept."""
        self._metrics.fenced.inc()

    def count_retry(self) -> None:
        """Count a timer whose attempt has failed, and that is retrying now."""
        self._metrics.retries.inc()

    def count_failed(self, settlement: Failed) -> None:
        """Count a timer that has ended as failed."""
        self._metrics.failed.labels(settlement.why).inc()

    def note_refused(self, settlement: Failed, destination: Destination) -> None:
        """Count a claimed timer that is not fired, and warn of it."""
        self._metrics.fired.labels(NOT_FIRED).inc()
        self.count_failed(settlement)
        log.warning(
            "not_fired",
            timer_id=str(settlement.timer_id),
            destination=destination,
            reason=settlement.last_error,
        )

    def note_skipped(self, settlement: Skipped) -> None:
        """Count a claimed occurrence that is skipped."""
        self._metrics.skipped.inc()
        log.info(
            "occurrences_skipped",
            timer_ids=[str(settlement.timer_id)],
            reason=settlement.last_error,
        )

    def note(self, record: EndedCallback) -> None:
        if not self._records:
            self._noted.set()
        self._records.append(record)

    async def run(self) -> NoReturn:
        """Write for ever; what has been noted when it is cancelled is written then."""
        try:
            while True:
                await self._noted.wait()
                await trio.sleep(LINGER_S)
                await self._write_some()
        finally:
            self.flush()

    def flush(self) -> None:
        """Write what has been noted, all at once."""
        records, self._records = self._records, []
        self._write(records)

    async def _write_some(self) -> None:
        while self._records:
            some, self._records = self._records[:MAX_LINES], self._records[MAX_LINES:]
            self._write(some)
            await self._wait_turn()
        self._noted = trio.Event()

    def _write(self, records: list[EndedCallback]) -> None:
        if records:
            firings = [*map(timed, records)]
            self._count(map(_end_of, firings), records[-1].ended_at)
            write(firings, self._metrics)
            if self._tracing is not None:
                self._tracing.end_callbacks(records)

    async def _wait_turn(self) -> None:
        """Give way to all others, again and again while they have much to do."""
        busy_s = BUSY_S
        while busy_s >= BUSY_S:
            began_s = trio.current_time()
            # Tasks run in any order: only from here to the turn after next has each of them run.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            busy_s = trio.current_time() - began_s if len(self._records) < MAX_WAITING else 0.0


def timed(record: EndedCallback) -> Timed:
    """Work out once what is told thrice."""
    late_s = (record.sent_at - record.timer.expected_at).total_seconds()
    return Timed(record, late_s, (record.ended_at - record.sent_at).total_seconds())


def _end_of(firing: Timed) -> End:
    record, _, took_s = firing
    return record.destination, record.timer.project, record.outcome, took_s


def write(firings: list[Timed], metrics: Metrics) -> None:
    """Count firings, and write the line of each."""
    for name, count in Counter([each.record.outcome.name for each in firings]).items():
        metrics.fired.labels(name).inc(count)
    metrics.lateness_s.observe([each.late_s for each in firings])
    metrics.callback_s.observe([each.took_s for each in firings])
    # Bound once: what get_logger returns makes a logger anew for each line.
    logger = log.bind()
    if not logger.is_enabled_for(logging.INFO):
        return
    renderer = structlog.get_config()["processors"][-1]
    if isinstance(renderer, JsonRenderer):
        now = rfc3339(datetime.now(UTC))  # noqa: TID251 - for people, as in any other line
        renderer.write_lines([_json_line(*each, now) for each in firings])
        return
    for each in firings:
        logger.info("fired", **values_of(each))


def values_of(firing: Timed) -> dict[str, object]:
    """Tell what stands in the line of a firing."""
    record, late_s, took_s = firing
    timer, outcome = record.timer, record.outcome
    return {
        "timer_id": str(timer.id),
        "scheduled": rfc3339(timer.spec.execute_at),
        "late_ms": round(late_s * 1000, 1),
        "destination": record.destination,
        "outcome": outcome.name,
        "status": record.http_status,
        "error": record.error,
        "duration_ms": round(took_s * 1000, 1),
        "attempt": timer.attempt,
    }


def _json_line(record: EndedCallback, late_s: float, took_s: float, now: str) -> str:
    """Spell what an event of these values would be, in a quarter of the time."""
    timer, error = record.timer, record.error
    return (
        f'{{"timer_id": "{timer.id}", "scheduled": "{rfc3339(timer.spec.execute_at)}", '
        f'"late_ms": {round(late_s * 1000, 1)}, "destination": {QUOTE(record.destination)}, '
        f'"outcome": "{record.outcome.name}", "status": {record.http_status or "null"}, '
        f'"error": {"null" if error is None else QUOTE(error)}, '
        f'"duration_ms": {round(took_s * 1000, 1)}, "attempt": {timer.attempt}, '
        f'"event": "fired", "level": "info", "timestamp": "{now}"}}\n'
    )
