"""Destinations: where callbacks go."""

from __future__ import annotations

from typing import Final

from timer_trio.client.answers import Destination, DestinationPause, Page
from timer_trio.client.call import Call, given
from timer_trio.client.operation import D, Resource, listing, operation
from timer_trio.client.reading import record

_PAUSE: Final = record(DestinationPause)


class Destinations(Resource[D]):
    """`client.destinations`."""

    def _listed(
        self, *, page_size: int = 50, destination: str | None = None
    ) -> Call[Page[Destination]]:
        """List where callbacks went in the last hour, or this one alone."""
        query = given({"destination": destination})
        return Call.listed("destinations", Destination, query, page_size)

    list = listing(_listed)
    page = operation(_listed)

    @operation
    def pause(self, destination: str) -> Call[DestinationPause]:
        """Hold back what goes there: scheme, host and port."""
        return Call.post("/destinations/pause", {"destination": destination}, _PAUSE, is_safe=True)

    @operation
    def resume(self, destination: str) -> Call[DestinationPause]:
        return Call.post("/destinations/resume", {"destination": destination}, _PAUSE, is_safe=True)
