"""Timers imported line by line, with an answer that tells how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, cast

import trio
from pydantic import Field, TypeAdapter
from quart import Response, request
from typing_extensions import TypeAliasType

from timer_trio.api.body.media import NDJSON, check_head
from timer_trio.api.body.stream import BodyStream
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import BusyError
from timer_trio.api.import_run import MAX_LINES, ImportRun
from timer_trio.api.responses import streamed
from timer_trio.api.route import Body, Operation, Route, Success
from timer_trio.api.run_body import RunBody
from timer_trio.domain.errors import StorageUnavailableError

MAX_IMPORTS: Final = 4
"""At once: each may hold three chunks in memory, and two fill the database's part already."""

ImportRequest = TypeAliasType(
    "ImportRequest",
    Annotated[str, Field(description="Lines of JSON, each as OneOfManyCreateRequest.")],
)


def routes(context: ApiContext) -> Sequence[Route]:
    body = Body(
        model=TypeAdapter(ImportRequest),
        example='{"delay": "P1D", "callback_url": "https://example.com/hooks/reminder"}\n',
        limits=f"Up to {MAX_LINES:,} lines of at most {context.max_body_bytes:,} bytes each.",
        media=NDJSON,
        is_streamed=True,
    )
    handler = _Imports(context).run_import
    return (
        Route(method="POST", path="/timers/import", handler=handler, body=body, operation=_IMPORT),
    )


class _Imports:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._limiter = trio.CapacityLimiter(MAX_IMPORTS)

    async def run_import(self) -> Response:
        check_head(NDJSON)
        if not self._context.health.database_connected:
            raise StorageUnavailableError("the last heartbeat was not confirmed")
        if self._limiter.available_tokens < 1:
            raise BusyError(f"{MAX_IMPORTS} imports are under way: try again when one has ended")
        stream = cast("BodyStream", request.body)
        run = ImportRun(stream, self._context)
        return streamed(RunBody(run, self._limiter), NDJSON)


_IMPORT: Final = Operation(
    name="importTimers",
    tag="timers",
    summary="Import timers line by line",
    description="""\
Each line is such an object as creates one timer of a batch; blank lines are skipped. What is \
wrong with a line keeps out that line alone, and so does a `key` that a live timer or an earlier \
line has. The lines are written in order, some thousand in a transaction, while the next ones are \
read, so that a body may be as long as it takes.

The answer begins at once: a line of progress each second at most, `{"lines": 2000, "imported": \
1998, "refused": 2, "through_line": 2000}`, and at last the envelope, whose `data` has the three \
counts and, as `errors`, the first refused lines: `{"line": 17, "field": "callback_url", \
"message": "..."}`. A client may read it when all is sent. Times are \
judged as of the arrival of the request: what falls due while it runs is imported, and fires at \
once.

If an import cannot go on (the database is away, the service stops, nothing comes for 30 s, \
less than 1 KiB a second came while the service waited 30 s for it), the code of the last \
line is not 0. Then `data.through_line`, as in the progress, says up to \
which line all are imported or refused: send those behind it again. `data.unknown` names lines \
whose transaction was not answered, and the id of the first of their timers: if that one exists, \
all of these lines but refused ones are imported, otherwise none. The code is 6 where the project \
has not room for the next lines, some thousand together, under `max_live_timers`. What is imported \
stays, also when the client leaves in the middle.""",
    success=Success(
        words="Progress, and at last the envelope.",
        media=NDJSON,
        example='{"lines": 2000, "imported": 1999, "refused": 1, "through_line": 2000}\n'
        '{"code": 0, "message": "success", "data": {"lines": 3000, "imported": 2999, "refused": 1, '
        '"errors": [{"line": 17, "field": "callback_url", "message": "must begin with http:// or '
        'https://"}]}}\n',
    ),
    refusals=(400, 401, 415, 503),
)
