from __future__ import annotations

import errno
import os
import socket
from typing import Any, cast

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from timer_trio.server.accepting import accept_forever


class Listener:
    """A listener whose first calls fail; the others are those of a real one."""

    def __init__(self, *failures: int) -> None:
        self._failures = list(failures)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)

    def fileno(self) -> int:
        return self.socket.fileno()

    def accept(self) -> tuple[socket.socket, Any]:
        if self._failures:
            number = self._failures.pop(0)
            raise OSError(number, os.strerror(number))
        return self.socket.accept()


async def accept_one(listener: Listener) -> None:
    """Accept until there is a connection."""

    def take(accepted: socket.socket, _address: Any) -> None:
        accepted.close()
        nursery.cancel_scope.cancel()

    async def is_free() -> None:
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        with socket.create_connection(listener.socket.getsockname()):
            await accept_forever(cast("socket.socket", listener), is_free, take)


@pytest.mark.parametrize(
    "number",
    [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED, errno.EPERM],
)
async def test_failure_to_accept_is_waited_out_and_told_once(number: int) -> None:
    listener = Listener(number, number, number)
    with capture_logs() as log, trio.fail_after(30):
        await accept_one(listener)
    listener.socket.close()
    told = {"event": "accept_failed", "reason": os.strerror(number), "log_level": "warning"}
    assert log == [told]


async def test_what_is_no_listener_is_no_passing_trouble() -> None:
    listener = Listener(errno.EINVAL)
    with pytest.RaisesGroup(OSError):
        await accept_one(listener)
    listener.socket.close()


async def test_connection_that_another_process_was_given_is_waited_for_again() -> None:
    listener = Listener(errno.EAGAIN, errno.EAGAIN)
    with capture_logs() as log, trio.fail_after(30):
        await accept_one(listener)
    listener.socket.close()
    assert not log
