"""The parent's side of the metrics: what its workers show, added up as if they were one process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import Metric

from timer_trio.run.metrics_line import Kind, Message, MetricsLine
from timer_trio.telemetry.exposition import exposed, read_snapshot
from timer_trio.telemetry.process import add_process
from timer_trio.telemetry.together import rising, together

PATIENCE_S: Final = 1.0
"""For a worker that stands still: meanwhile it counts by what it told last."""


class _Worker:
    """What a worker has told last."""

    def __init__(self, line: MetricsLine) -> None:
        self.line = line
        self.shown: Sequence[Metric] = ()
        self.answered = trio.Event()
        self._is_asked = False

    async def ask(self) -> Sequence[Metric]:
        """Return what it shows; of one that does not answer, what only rises."""
        self.answered = trio.Event()
        with trio.move_on_after(PATIENCE_S):
            if not self._is_asked:  # or it stands still, and would answer each of many questions
                await self._send_question()
            await self.answered.wait()
        return self.shown if self.answered.is_set() else rising(self.shown)

    async def _send_question(self) -> None:
        self._is_asked = True
        try:
            await self.line.send(Message(Kind.ASK))
        except trio.Cancelled:
            self._is_asked = False  # so few bytes go at once, or not at all
            raise

    def note(self, shown: Sequence[Metric]) -> None:
        self.shown = shown
        self._is_asked = False
        self.answered.set()


class MetricsOfAll:
    """Adds up what each worker shows whenever one of them is asked.

    A sum must not fall when a worker ends: what it counted, as far as it has told, stays in it.
    """

    def __init__(self, workers: int) -> None:
        self._workers: dict[_Worker, None] = {}
        self._gone: Sequence[Metric] = ()
        self._one_at_a_time = trio.Lock()
        self._registry = CollectorRegistry()
        add_process(self._registry)
        Gauge(
            "timer_trio_workers_wanted",
            "Processes that should work: --workers",
            registry=self._registry,
        ).set(workers)
        self._ended = Counter(
            "timer_trio_workers_ended",
            "Workers that ended without having been told to, and were started again",
            registry=self._registry,
        )

    def count_ended(self) -> None:
        """Count a worker that ended without having been told to."""
        self._ended.inc()

    async def serve(self, line: MetricsLine) -> None:
        """Answer what a worker asks, until it has ended.

        Cancellation: it has ended.
        """
        worker = _Worker(line)
        self._workers[worker] = None
        try:
            async with trio.open_nursery() as nursery:
                while (message := await line.receive()) is not None:
                    if message.kind is Kind.TOLD:
                        worker.note(read_snapshot(message.body))
                    else:
                        nursery.start_soon(self._answer, line)
                nursery.cancel_scope.cancel()
        finally:
            del self._workers[worker]
            self._gone = together([self._gone, rising(worker.shown)])

    async def text(self) -> bytes:
        """Say in Prometheus' words what all show together."""
        async with self._one_at_a_time:
            asked = [*self._workers]
            shown: dict[_Worker, Sequence[Metric]] = {}

            async def ask(worker: _Worker) -> None:
                shown[worker] = await worker.ask()

            async with trio.open_nursery() as nursery:
                for worker in asked:
                    nursery.start_soon(ask, worker)
            # One that ended meanwhile counts among those that are gone.
            told = [shown[worker] for worker in asked if worker in self._workers]
            return await exposed(together([[*self._registry.collect()], self._gone, *told]))

    async def _answer(self, line: MetricsLine) -> None:
        await line.send(Message(Kind.TEXT, await self.text()))
