"""Many timers canceled, redriven or deleted, with an answer that tells how far it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

import trio
from quart import Response

from timer_trio.api.body.media import NDJSON, json_body
from timer_trio.api.bulk_run import BulkRun
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import BusyError
from timer_trio.api.fields.bulk import BULK
from timer_trio.api.principal import own_project
from timer_trio.api.requests import read_bulk, reading_bulk
from timer_trio.api.responses import streamed
from timer_trio.api.route import ON_BODY, ON_STORED, Body, Operation, Route, Success
from timer_trio.api.run_body import RunBody
from timer_trio.domain.errors import StorageUnavailableError

MAX_BULKS: Final = 4
"""At once: each page takes the database for some 20 ms, and two connections serve them all."""


def routes(context: ApiContext) -> Sequence[Route]:
    body = Body(
        model=BULK,
        example={"action": "redrive", "filter": {"status": "failed"}, "rate_per_second": 50},
        limits=f"At most {context.max_body_bytes:,} bytes.",
    )
    handler = _Bulks(context).run_bulk
    return (Route(method="POST", path="/timers/bulk", handler=handler, body=body, operation=_BULK),)


class _Bulks:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._limiter = trio.CapacityLimiter(MAX_BULKS)

    async def run_bulk(self) -> Response:
        context = self._context
        arrived_at = context.clock.now()
        members = await context.slices.finish(reading_bulk(await json_body(), context.rules))
        bulk = read_bulk(members, arrived_at, context.rules, own_project())
        if not context.health.database_connected:
            raise StorageUnavailableError("the last heartbeat was not confirmed")
        if self._limiter.available_tokens < 1:
            raise BusyError(f"{MAX_BULKS} bulk actions are under way: try again when one has ended")
        await context.bulk_writer.require_allowed(bulk)
        run = BulkRun(bulk, cast("Mapping[str, object]", members["filter"]), context)
        return streamed(RunBody(run, self._limiter), NDJSON)


_BULK: Final = Operation(
    name="changeTimers",
    tag="timers",
    summary="Cancel, redrive or delete many timers",
    description="""\
What the filter finds is changed page by page, the oldest first, and each page is durable when it \
is counted. What is counted as canceled never fires. Deleted timers are gone with what is kept of \
their attempts.

The answer begins at once with `{"as_of": "..."}`: what is changed after this instant is left \
alone. Each second at most a line of progress follows, `{"as_of": "...", "matched": 1500, "done": \
1498, "skipped": 2}`, and at last the envelope, whose `data` has the three counts. Skipped is what \
matches and has a status that the action cannot be done to, or was locked by somebody else.

It runs as long as its client listens; what is done stays. Who has lost the connection, or reads a \
last line whose code is not 0, sends the same again with the `as_of` of the first line: it goes on \
where the first one ended, and counts what was left. A rate and a limit begin anew then. The \
code is 6 where the project has not room, under `max_live_timers`, for the next page of up to 500 \
timers that would be redriven; a `limit` makes a page smaller.""",
    success=Success(
        words="Progress, and at last the envelope.",
        media=NDJSON,
        example='{"as_of": "2030-01-31T09:25:00Z"}\n'
        '{"as_of": "2030-01-31T09:25:00Z", "matched": 500, "done": 498, "skipped": 2}\n'
        '{"code": 0, "message": "success", "data": {"matched": 720, "done": 718, "skipped": 2}}\n',
    ),
    refusals=(*ON_STORED, *ON_BODY),
)
