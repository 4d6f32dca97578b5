"""A part of a page that is sent again when it changes, as server-sent events.

Bounded: so many at once, of one key and in all, each for some minutes, after which the browser asks
again. What is shown is asked of the API anew each time, and so is who may see it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

import trio
from quart import Response
from quart.wrappers.response import ResponseBody

from timer_trio.api.errors import BusyError
from timer_trio.api.principal import Principal
from timer_trio.api.responses import streamed
from timer_trio.console.visit import RefusedError
from timer_trio.domain.api_key import KeyId
from timer_trio.domain.errors import StorageError, TimerTrioError
from timer_trio.domain.project import ProjectId

MEDIA: Final = "text/event-stream"
INTERVAL_S: Final = 2.0
"""Between two looks: a person sees what changes, and the database has little to do."""
LIFE_S: Final = 300.0
MOST: Final = 64
"""At once, of a replica: some thirty looks a second."""
MOST_OF_ONE: Final = 16
"""Of them, of one key in one project."""
_AGAIN: Final = b"retry: 2000\n\n"
"""Milliseconds after which a browser asks again."""
_NOTHING_NEW: Final = b": nothing new\n\n"
"""Sent all the same: whoever has left is noticed by it."""

Look = Callable[[], Awaitable[str]]
Whose = tuple[ProjectId, KeyId | None]


class Live:
    """Counts what is being followed, and ends it when the service stops."""

    def __init__(self, stopping: trio.Event) -> None:
        self._stopping = stopping
        self._open = Counter[Whose]()

    def answer(self, look: Look, by: Principal) -> Response:
        """Return an answer that goes on.

        Raises:
            BusyError: too many do already.
        """
        whose = by.project, by.key_id
        if self.is_full(whose):
            raise BusyError("too many pages are followed: close one, or load this one again")
        response = streamed(LiveBody(self, look, whose), MEDIA)
        response.headers["X-Accel-Buffering"] = "no"  # nginx would keep it until it is long
        return response

    def is_full(self, whose: Whose) -> bool:
        return self._open.total() >= MOST or self._open[whose] >= MOST_OF_ONE

    def open(self, whose: Whose) -> bool:
        """Take a place, if there is one; answers whether there was."""
        if self.is_full(whose):
            return False
        self._open[whose] += 1
        return True

    def close(self, whose: Whose) -> None:
        self._open[whose] -= 1
        self._open += Counter()  # names that count nothing are dropped

    async def wait(self) -> bool:
        """Wait until it is time to look again; answers whether the service goes on."""
        with trio.move_on_after(INTERVAL_S):
            await self._stopping.wait()
        return not self._stopping.is_set()


class LiveBody(ResponseBody):
    """Sends what a look shows, whenever that is something else than before."""

    def __init__(self, live: Live, look: Look, whose: Whose) -> None:
        self._live = live
        self._look = look
        self._whose = whose
        self._has_place = False
        self._has_looked = False
        self._last: str | None = None
        self._ends_at = trio.current_time() + LIFE_S

    async def __aenter__(self) -> Self:
        # Here and not before: who leaves before the answer begins would keep his place for ever.
        self._has_place = self._live.open(self._whose)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._has_place:
            self._live.close(self._whose)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._has_place:
            raise StopAsyncIteration
        # Whatever came of the look before: what is not there is not asked for without a pause.
        if self._has_looked and not await self._live.wait():
            raise StopAsyncIteration
        if trio.current_time() >= self._ends_at:
            raise StopAsyncIteration
        begin = b"" if self._has_looked else _AGAIN
        self._has_looked = True
        return begin + await self._news()

    async def _news(self) -> bytes:
        try:
            shown = await self._look()
        except (StorageError, RefusedError):
            return _NOTHING_NEW  # the database is away, or the key's limit used up
        except TimerTrioError:  # nobody has signed in any more
            raise StopAsyncIteration from None
        if shown == self._last:
            return _NOTHING_NEW
        self._last = shown
        lines = "\n".join(f"data: {line}" for line in shown.split("\n"))
        return f"{lines}\n\n".encode()
