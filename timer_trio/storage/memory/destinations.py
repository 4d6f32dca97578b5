"""What is known of destinations, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from heapq import nsmallest

import trio

from timer_trio.domain.destination import (
    NO_DURATIONS,
    Counted,
    DestinationFacts,
    DestinationNow,
    DestinationPage,
    DestinationQuery,
    DestinationReport,
    Ends,
)
from timer_trio.domain.timer import Destination, Lane
from timer_trio.storage.memory.database import Database


class MemoryDestinations(Database):
    """DestinationStorage in memory."""

    async def note_destinations(self, report: DestinationReport) -> None:
        await trio.lowlevel.checkpoint()
        for counted in report.counted:
            self._outcomes[counted.lane, report.counter, counted.since] = counted
        for lane in report.gone:
            self._in_hand.pop((lane, report.replica), None)
        for now in report.now:
            self._in_hand[now.lane, report.replica] = now

    async def destinations(self, query: DestinationQuery) -> DestinationPage:
        await trio.lowlevel.checkpoint()
        in_hand, recent = [*self._asked_in_hand(query)], [*self._asked_recent(query)]
        paused = self._asked_paused(query)
        lanes = [*(each.lane for each in in_hand), *(each.lane for each in recent), *paused]
        names = {lane.destination for lane in lanes}
        page = nsmallest(query.limit + 1, (each for each in names if each > (query.after or "")))
        shown = [
            replace(
                _facts_of(name, in_hand, recent),
                paused_at=paused.get(Lane(name, query.project)),
            )
            for name in page[: query.limit]
        ]
        is_last = len(page) <= query.limit
        return DestinationPage(destinations=shown, next=None if is_last else shown[-1].destination)

    async def prune_destinations(self, cutoff: datetime, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        by_age = sorted(self._outcomes, key=lambda key: key[2])
        old = [key for key in by_age if key[2] < cutoff][:limit]
        orphaned = [key for key in self._in_hand if key[1] not in self._counters]
        orphaned = orphaned[: limit - len(old)]
        for outcome_key in old:
            del self._outcomes[outcome_key]
        for now_key in orphaned:
            del self._in_hand[now_key]
        return len(old) + len(orphaned)

    def _asked_in_hand(self, query: DestinationQuery) -> Iterator[DestinationNow]:
        for (lane, replica), now in self._in_hand.items():
            if replica in self._counters and _is_asked(lane, query):
                yield now

    def _asked_recent(self, query: DestinationQuery) -> Iterator[Counted]:
        for (lane, _, since), counted in self._outcomes.items():
            if since >= query.recent_at and _is_asked(lane, query):
                yield counted

    def _asked_paused(self, query: DestinationQuery) -> dict[Lane, datetime]:
        rows = (
            (Lane(destination, project), row.pause.paused_at)
            for (project, destination), row in self._paused_destinations.items()
        )
        return {lane: at for lane, at in rows if at is not None and _is_asked(lane, query)}


def _is_asked(lane: Lane, query: DestinationQuery) -> bool:
    return lane.project == query.project and query.destination in {None, lane.destination}


def _facts_of(
    destination: Destination, in_hand: Sequence[DestinationNow], recent: Sequence[Counted]
) -> DestinationFacts:
    now = [each for each in in_hand if each.lane.destination == destination]
    counted = [each for each in recent if each.lane.destination == destination]
    opened = [each.breaker_open_until for each in now if each.breaker_open_until is not None]
    return DestinationFacts(
        destination=destination,
        waiting=sum(each.waiting for each in now),
        in_flight=sum(each.in_flight for each in now),
        breaker_open_until=max(opened, default=None),
        ends=Ends(*map(sum, zip(*(each.ends for each in counted), strict=True))),
        durations=tuple(map(sum, zip(*(each.durations for each in counted), strict=True)))
        or NO_DURATIONS,
    )
