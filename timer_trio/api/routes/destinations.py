"""What is known of the destinations of a project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quart import Response, request

from timer_trio.api.context import ApiContext
from timer_trio.api.destination_responses import DestinationPageData, destination_page_data
from timer_trio.api.principal import own_project, principal
from timer_trio.api.query import parse_destination_query
from timer_trio.api.responses import success
from timer_trio.api.route import ON_STORED, Operation, Route, Success
from timer_trio.api.routes.flows import TAG
from timer_trio.api.routes.list_parameters import DESTINATION_LIST_PARAMETERS
from timer_trio.domain.destination import recent_since

PATH: Final = "/destinations"


def routes(context: ApiContext) -> Sequence[Route]:
    handler = _Destinations(context).list_destinations
    return (Route(method="GET", path=PATH, handler=handler, operation=_LIST),)


class _Destinations:
    def __init__(self, context: ApiContext) -> None:
        self._storage = context.storage
        self._clock = context.clock
        self._cursor_key = context.cursor_key

    async def list_destinations(self) -> Response:
        now = self._clock.now()
        query = parse_destination_query(
            request.query_string, self._cursor_key, own_project(), recent_since(now)
        )
        page = await self._storage.destinations(query)
        has_breaker = principal().settings.breaker is not None
        return success(
            destination_page_data(page, query, self._cursor_key, now, has_breaker=has_breaker)
        )


_LIST: Final = Operation(
    name="listDestinations",
    tag=TAG,
    summary="List destinations",
    description="Where callbacks of the project went in the last hour, where they are under way or "
    "held back, and what is paused. Each replica tells the others every five seconds what it "
    "knows, so numbers are up to some six seconds old; a pause is shown at once. A timer that is "
    "not due yet makes no destination. A breaker counts what each replica has sent by itself: it "
    "is open here if it is on any of them; where it is half open one of them tries it at a time.",
    success=Success(words="A page of destinations.", data=DestinationPageData),
    refusals=ON_STORED,
    parameters=DESTINATION_LIST_PARAMETERS,
)
