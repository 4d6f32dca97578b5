"""Accepting connections, whatever the system lacks meanwhile."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import structlog
import trio

SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The connection stays in the backlog, so another try at once would fail as well."""
SHORTAGE_PAUSE_S: Final = 0.1
_OWN_FAULTS: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EFAULT})
"""Of a socket that is no listener: nothing would ever come of waiting."""

log = structlog.get_logger()

Take = Callable[[socket.socket, Any], None]


async def accept_forever(
    listener: socket.socket, wait_place: Callable[[], Awaitable[None]], take: Take
) -> NoReturn:
    """Hand each connection over to `take`, with its peer's address, as long as there is a place.

    Without one, connections stay in the backlog. A failure is told once, until one succeeds.
    """
    is_failing = False
    while True:
        await trio.lowlevel.wait_readable(listener)
        await wait_place()
        try:
            accepted, address = listener.accept()
        except BlockingIOError:
            continue  # another process that shares the socket was quicker
        except OSError as error:
            if error.errno in _OWN_FAULTS:
                raise
            if not is_failing:
                log.warning("accept_failed", reason=_words(error))
            is_failing = True
            await trio.sleep(SHORTAGE_PAUSE_S if error.errno in SHORTAGE else 0)
            continue
        is_failing = False
        take(accepted, address)


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
