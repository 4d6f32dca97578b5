"""Timers imported line by line, with an answer that tells how far it is."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Annotated, Any, Final, Self, cast

import structlog
import trio
from pydantic import Field, TypeAdapter
from quart import Response, request
from quart.wrappers.response import ResponseBody
from typing_extensions import TypeAliasType

from timer_trio.api.body.media import NDJSON, check_head
from timer_trio.api.body.stream import BodyStream
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import BusyError, Code
from timer_trio.api.import_run import BROKEN, BUSY, MAX_LINES, Ending, ImportRun
from timer_trio.api.responses import envelope, streamed
from timer_trio.api.route import Body, Operation, Route, Success
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.intake.imports import UnknownLines

MAX_IMPORTS: Final = 4
"""At once: each may hold three chunks in memory, and two fill the database's part already."""
PROGRESS_S: Final = 1.0
"""Between two lines of progress."""

log = structlog.get_logger()


ImportRequest = TypeAliasType(
    "ImportRequest", Annotated[str, Field(description="Lines of JSON, each as CreateRequest.")]
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
        return streamed(_ImportBody(run, self._limiter), NDJSON)


class _ImportBody(ResponseBody):
    """The answer to an import, which runs as long as the answer is being sent.

    It does not wait for its client to read: one that looks only at the end misses some progress.
    """

    def __init__(self, run: ImportRun, limiter: trio.CapacityLimiter) -> None:
        self._import = run
        self._writer = run.writer
        self._limiter = limiter
        self._running = AsyncExitStack()
        self._ended = trio.Event()
        self._is_complete = False

    async def __aenter__(self) -> Self:
        nursery = await self._running.enter_async_context(trio.open_nursery())
        nursery.start_soon(self._run)
        return self

    def __aexit__(  # type: ignore[override]  # what awaits is the nursery's own end
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Coroutine[Any, Any, bool | None]:
        return self._running.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._is_complete:
            raise StopAsyncIteration
        with trio.move_on_after(PROGRESS_S):
            await self._ended.wait()
        if not self._ended.is_set():
            progress = {**self._counts, "through_line": self._writer.through_line}
            return json.dumps(progress).encode() + b"\n"
        self._is_complete = True
        ending = self._import.ending or BROKEN
        return envelope(ending.code, ending.message, json.dumps(self._result(ending))) + b"\n"

    async def _run(self) -> None:
        try:
            await self._import_if_free()
        except Exception:
            log.exception("import_failed")
            self._import.ending = BROKEN
        finally:
            # One whose client has left has no ending.
            ending = self._import.ending
            log.info(
                "import_ended", ending=ending.message if ending else "disconnected", **self._counts
            )
        self._ended.set()

    async def _import_if_free(self) -> None:
        # Others may have come in since the route looked. It cannot take the place itself: who
        # leaves before the answer begins would keep it for ever.
        try:
            self._limiter.acquire_nowait()
        except trio.WouldBlock:
            self._import.ending = BUSY
            return
        try:
            await self._import.run()
        finally:
            self._limiter.release()

    @property
    def _counts(self) -> Mapping[str, int]:
        imported, refused = self._writer.imported, self._writer.refused
        return {"lines": self._import.lines, "imported": imported, "refused": refused}

    def _result(self, ending: Ending) -> Mapping[str, object]:
        writer = self._writer
        result = {**self._counts, "errors": [error._asdict() for error in writer.errors]}
        if ending.code is Code.SUCCESS:
            return result
        return result | {
            "through_line": writer.through_line,
            "unknown": None if writer.unknown is None else _unknown_data(writer.unknown),
        }


def _unknown_data(unknown: UnknownLines) -> Mapping[str, object]:
    first_line, last_line, timer_id = unknown
    return {"first_line": first_line, "last_line": last_line, "id": str(timer_id)}


_IMPORT: Final = Operation(
    name="importTimers",
    tag="timers",
    summary="Import timers line by line",
    description="""\
Each line is such an object as creates a single timer; blank lines are skipped. What is wrong with \
a line keeps out that line alone. The lines are written in order, some thousand in a transaction, \
while the next ones are read, so that a body may be as long as it takes.

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
all of these lines are imported, otherwise none. What is imported stays, also \
when the client leaves in the middle.""",
    success=Success(words="Progress, and at last the envelope.", media=NDJSON),
    refusals=(400, 401, 415, 503),
)
