"""One connection, whose every answer is bounded in time, and which can be cut from outside."""

from __future__ import annotations

import os
import select
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.rows import Row

from timer_trio.storage.postgres.fence import CUT, Fence, OldPrimaryError
from timer_trio.storage.postgres.servers import History

_END: Final = getattr(select, "POLLRDHUP", 0)
"""Where the system has none, it is seen only when both directions are closed."""
INTERVAL_S: Final = 0.1
"""How often a wait looks up, as psycopg has it: a signal may have come."""


class SilentServerError(psycopg.OperationalError):
    """The server has not answered in time, and may or may not have done what it was asked for."""

    def __init__(self, patience_s: float) -> None:
        super().__init__(f"no answer within {patience_s:g}s: the connection was given up")


class Session(psycopg.Connection[Row]):
    """A connection that waits `patience_s` for each answer; None: for ever.

    `server` is the name of the one at the other end, `history` what that writes, if it tells.
    Used by one thread at a time, but for `cut`.
    """

    patience_s: float | None = None
    server: str = ""
    history: History | None = None
    is_cut: bool = False
    is_given_up: bool = False
    fence: Fence | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # libpq may close its own at any moment, and the number be another file's by then.
        try:
            self._handle = socket.socket(fileno=os.dup(self.fileno()))
        except OSError as error:
            raise psycopg.OperationalError(str(error)) from error
        self._handle_lock = threading.Lock()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(exc_type, exc_val, exc_tb)
        finally:
            self.close()  # which psycopg leaves out where the server has ended it

    def wait(
        self, gen: PQGen[RV], interval: float = INTERVAL_S, timeout: float | None = None
    ) -> RV:
        """Wait as psycopg does; without a timeout of its own for as long as the patience lasts.

        Raises:
            SilentServerError: there was no answer; the connection is closed.
        """
        if timeout is not None or self.patience_s is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience_s)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001 - it has no public name
            self.is_given_up = True
            self._finish()
            raise SilentServerError(self.patience_s) from None

    def close(self) -> None:
        """Close it, as often as one likes."""
        self._finish()
        with self._handle_lock:
            self._handle.close()

    def cut(self) -> None:
        """End it from any thread: whoever waits for an answer wakes up, and believes none."""
        self.is_cut = True
        with self._handle_lock, suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raise OldPrimaryError if what it has answered is not to be believed."""
        if self.is_cut:
            raise OldPrimaryError(CUT)

    @property
    def is_alive(self) -> bool:
        """Whether the server has not ended it, as far as this machine knows; from any thread."""
        return not self._has(_END)

    @property
    def has_word(self) -> bool:
        """Whether the server has said something that nobody has read, goodbye included.

        Until `close` also of one whose answer was given up.
        """
        return self._has(select.POLLIN)

    def _has(self, event: int) -> bool:
        with self._handle_lock:
            if self._handle.fileno() < 0:
                return True
            poll = select.poll()
            poll.register(self._handle, event)
            return bool(poll.poll(0))

    def _finish(self) -> None:
        if self.fence is not None:
            self.fence.dismiss(self)
        super().close()
