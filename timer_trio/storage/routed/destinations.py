"""What is known of destinations, in several cells."""

from __future__ import annotations

from itertools import groupby, islice

from timer_trio.domain.destination import DestinationFacts, DestinationPage, DestinationQuery
from timer_trio.domain.destination import together as facts_together
from timer_trio.domain.timer import Destination
from timer_trio.storage.routed.cells import Cells
from timer_trio.storage.routed.merging import merged


class RoutedDestinations(Cells):
    """DestinationList in several cells: what one destination has in each of them is added."""

    async def destinations(self, query: DestinationQuery) -> DestinationPage:
        pages = await self._ask_all(lambda storage: storage.destinations(query))
        rows = [page.destinations for page in pages]
        found = merged(rows, sum(map(len, rows)), by=_name_of)
        each = (facts_together([*same]) for _, same in groupby(found, key=_name_of))
        shown = [*islice(each, query.limit)]
        is_last = next(each, None) is None and not any(page.next for page in pages)
        return DestinationPage(destinations=shown, next=None if is_last else shown[-1].destination)


def _name_of(facts: DestinationFacts) -> Destination:
    return facts.destination
