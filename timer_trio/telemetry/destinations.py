"""The stage that tells the other replicas what this one knows of destinations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice
from typing import Final, NoReturn

import structlog
import trio

from timer_trio.clock import Clock
from timer_trio.domain.destination import Counted, DestinationNow, DestinationReport
from timer_trio.domain.errors import StorageError
from timer_trio.domain.in_hand import InHand, News
from timer_trio.domain.outcome_tally import End, OutcomeTally
from timer_trio.domain.timer import ReplicaId
from timer_trio.storage import DestinationStorage
from timer_trio.storage.postgres.retention import pause_s
from timer_trio.telemetry.destination_metrics import DestinationMetrics
from timer_trio.telemetry.metrics import Metrics

INTERVAL_S: Final = 5.0
"""Whoever looks at a list of destinations can wait so long, and the database has little to do."""
MAX_LANES: Final = 500
"""In one statement: 10-15 ms of the database's time."""
MAX_IN_HAND: Final = 10_000
"""Lanes in hand that are told of: consumers choose them."""

log = structlog.get_logger()


class DestinationReports:
    """Writes every few seconds what is new of destinations; sleeps while nothing can be.

    New are the ends that were counted, and what `gauges` tell is in hand, at which it looks for as
    long as there is something. `replica` names this replica.
    """

    def __init__(
        self,
        *,
        storage: DestinationStorage,
        clock: Clock,
        metrics: Metrics,
        replica: Callable[[], ReplicaId],
        gauges: Callable[[], Iterable[DestinationNow]] = tuple,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._tally = OutcomeTally()
        self._replica = replica
        self._gauges = gauges
        self._in_hand = InHand()
        self._counter: ReplicaId | None = None
        self._stirred = trio.Event()
        metrics.open_breakers.set_function(lambda: self._in_hand.open_breakers)
        metrics.registry.register(
            DestinationMetrics(self._tally.top, lambda: self._in_hand.current)
        )

    def count(self, ends: Iterable[End], at: datetime) -> None:
        """Count callbacks that have ended together, the last of them at this instant."""
        self._tally.add(ends, at)
        self.stir()

    def stir(self) -> None:
        """Look soon at what is in hand: there is something again."""
        if not self._stirred.is_set():
            self._stirred.set()

    async def run(self) -> NoReturn:
        """Write for ever; what the database does not take comes with the next."""
        while True:
            await self._stirred.wait()
            await trio.sleep(INTERVAL_S)
            self._stirred = trio.Event()
            await self.write()

    async def write_counts(self) -> None:
        """Write what has been counted, and that nothing is in hand any more: the replica ends."""
        self._gauges = tuple
        await self.write()

    async def write(self) -> None:
        """Write what is new, if anything is and the database takes it."""
        self._in_hand.look(islice(self._gauges(), MAX_IN_HAND), self._replica())
        if not self._in_hand.is_nothing:
            self.stir()
        try:
            await self._write_pages()
        except StorageError as error:
            self.stir()
            log.info("destinations_not_written", reason=str(error))

    async def _write_pages(self) -> None:
        while True:
            began_s = trio.current_time()
            if await self._write_page() < MAX_LANES:
                return
            await trio.sleep(pause_s(trio.current_time() - began_s))

    async def _write_page(self) -> int:
        """Write what is new of up to MAX_LANES, and answer of how many that was."""
        news = self._in_hand.take(MAX_LANES)
        counted = self._tally.take(MAX_LANES - news.size)
        if not counted and not news.size:
            return 0
        try:
            await self._storage.note_destinations(self._report(news, counted))
        except BaseException:
            self._tally.give_back(counted)
            raise
        self._in_hand.confirm(news)
        return news.size + len(counted)

    def _report(self, news: News, counted: list[Counted]) -> DestinationReport:
        replica = self._replica()
        # A replica that has joined anew goes on counting where it was.
        self._counter = self._counter or replica
        return DestinationReport(
            counter=self._counter,
            replica=replica,
            at=self._clock.now(),
            counted=counted,
            now=news.now,
            gone=news.gone,
        )
