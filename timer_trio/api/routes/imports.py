"""The route that imports timers line by line, and tells how far it is while it does."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self, cast

import structlog
import trio
from quart import Response, request
from quart.wrappers.response import ResponseBody

from timer_trio.api.body.media import NDJSON, check_head
from timer_trio.api.body.slices import Slices
from timer_trio.api.body.stream import BodyStream
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import BusyError, Code
from timer_trio.api.fields.rules import Rules
from timer_trio.api.import_reader import BROKEN, BUSY, Ending, Import
from timer_trio.api.responses import envelope, streamed
from timer_trio.domain.errors import StorageUnavailableError

MAX_IMPORTS: Final = 4
"""At once: each may hold three chunks in memory, and two fill the database's part already."""
PROGRESS_S: Final = 1.0
"""Between two lines of progress."""

log = structlog.get_logger()


class ImportRoute:
    def __init__(self, context: ApiContext, rules: Rules, slices: Slices) -> None:
        self._context = context
        self._rules = rules
        self._slices = slices
        self._limiter = trio.CapacityLimiter(MAX_IMPORTS)

    async def run_import(self) -> Response:
        check_head(NDJSON)
        if not self._context.health.database_connected:
            raise StorageUnavailableError("the last heartbeat was not confirmed")
        if self._limiter.available_tokens < 1:
            raise BusyError(f"{MAX_IMPORTS} imports are under way: try again when one has ended")
        stream = cast("BodyStream", request.body)
        importing = Import(stream, self._context, self._rules, self._slices)
        return streamed(ImportBody(importing, self._limiter), NDJSON)


class ImportBody(ResponseBody):
    """The answer to an import, which runs as long as the answer is being sent.

    It does not wait for its client to read: one that looks only at the end misses some progress.
    """

    def __init__(self, importing: Import, limiter: trio.CapacityLimiter) -> None:
        self._import = importing
        self._limiter = limiter
        self._running = AsyncExitStack()
        self._ended = trio.Event()
        self._is_told = False

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
        if self._is_told:
            raise StopAsyncIteration
        with trio.move_on_after(PROGRESS_S):
            await self._ended.wait()
        if not self._ended.is_set():
            progress = {**self._counts, "through_line": self._import.through_line}
            return json.dumps(progress).encode() + b"\n"
        self._is_told = True
        ending = self._import.ending or BROKEN
        return envelope(ending.code, ending.message, json.dumps(self._result(ending))) + b"\n"

    async def _run(self) -> None:
        try:
            await self._import_if_free()
        except Exception:
            log.exception("import failed")
            self._import.ending = BROKEN
        finally:
            # One whose client has left has no ending.
            ending = self._import.ending
            log.info(
                "imported", ending=ending.message if ending else "disconnected", **self._counts
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
        one = self._import
        return {"lines": one.lines, "imported": one.imported, "refused": one.refused}

    def _result(self, ending: Ending) -> Mapping[str, object]:
        one = self._import
        result = {**self._counts, "errors": [error._asdict() for error in one.errors]}
        if ending.code is Code.SUCCESS:
            return result
        return result | {"through_line": one.through_line, "unknown": _unknown(one)}


def _unknown(one: Import) -> Mapping[str, object] | None:
    if one.unknown is None:
        return None
    first_line, last_line, timer_id = one.unknown
    return {"first_line": first_line, "last_line": last_line, "id": str(timer_id)}
