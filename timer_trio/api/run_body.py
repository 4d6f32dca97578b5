"""The answer to what takes long: it tells how far it is, and ends with the envelope."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

import structlog
import trio
from quart.wrappers.response import ResponseBody

from timer_trio.api.errors import Code
from timer_trio.api.responses import envelope

PROGRESS_S: Final = 1.0
"""Between two lines of progress."""

log = structlog.get_logger()


class Ending(NamedTuple):
    code: Code
    message: str


COMPLETE: Final = Ending(Code.SUCCESS, "success")


class Run(Protocol):
    """Work that counts what it does, and says at last why it ended."""

    failed: str
    """The event in the log of a fault of ours."""
    ended: str
    """That of each end."""
    busy: Ending
    """How it ends if there are too many of its kind."""
    broken: Ending
    """How it ends by a fault of ours."""
    ending: Ending | None

    async def run(self) -> None:
        """Work until there is nothing more, or it cannot go on: `ending` says which.

        Cancellation: its client has left.
        """

    @property
    def opening(self) -> Mapping[str, object] | None:
        """What is told first; None: nothing."""

    @property
    def counts(self) -> Mapping[str, int]: ...

    @property
    def progress(self) -> Mapping[str, object]: ...

    def result(self, ending: Ending) -> Mapping[str, object]:
        """Return what the last line carries as its data."""


class RunBody(ResponseBody):
    """An answer whose work runs as long as it is being sent.

    It does not wait for its client to read: one that looks only at the end misses some progress.
    """

    def __init__(self, run: Run, limiter: trio.CapacityLimiter) -> None:
        self._work = run
        self._limiter = limiter
        self._opening = run.opening
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
        if self._opening is not None:
            opening, self._opening = self._opening, None
            return _line(opening)
        with trio.move_on_after(PROGRESS_S):
            await self._ended.wait()
        if not self._ended.is_set():
            return _line(self._work.progress)
        self._is_complete = True
        ending = self._work.ending or self._work.broken
        result = json.dumps(self._work.result(ending))
        return envelope(ending.code, ending.message, result) + b"\n"

    async def _run(self) -> None:
        work = self._work
        try:
            await self._run_if_free()
        except Exception:
            log.exception(work.failed)
            work.ending = work.broken
        finally:
            # One whose client has left has no ending.
            ending = work.ending.message if work.ending else "disconnected"
            log.info(work.ended, ending=ending, **work.counts)
        self._ended.set()

    async def _run_if_free(self) -> None:
        # Others may have come in since the route looked. It cannot take the place itself: who
        # leaves before the answer begins would keep it for ever.
        try:
            self._limiter.acquire_nowait()
        except trio.WouldBlock:
            self._work.ending = self._work.busy
            return
        try:
            await self._work.run()
        finally:
            self._limiter.release()


def _line(data: Mapping[str, object]) -> bytes:
    return json.dumps(data).encode() + b"\n"
