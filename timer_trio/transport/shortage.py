"""What this machine may lack itself: such a failure tells nothing of a receiver."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Final

_LACKING: Final = {
    errno.EMFILE: "no file descriptor left",
    errno.ENFILE: "no file descriptor left on this machine",
    errno.ENOBUFS: "no buffer left",
    errno.ENOMEM: "no memory left",
    errno.ENOSPC: "no room left to wait for another socket",
    socket.EAI_MEMORY: "no memory left",
}
NO_THREAD: Final = "no thread left"
NO_MEMORY: Final = _LACKING[errno.ENOMEM]
NO_PORT: Final = "no local port left"
LOOK_UP_FAILED: Final = "a name look-up failed while something was lacking"


def lacking(error: BaseException) -> str | None:
    """Name what is used up, if that is why something failed."""
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, ssl.SSLError):  # its errno is a number of OpenSSL's
        return NO_MEMORY if error.reason == "MALLOC_FAILURE" else None
    return _LACKING.get(error.errno or 0) if isinstance(error, OSError) else None


def lacking_to_open() -> str | None:
    """Name what is used up, if no socket can be opened."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError as error:
        return lacking(error)
    return None


def lacking_to_connect(
    error: BaseException, family: int, address: tuple[object, ...]
) -> str | None:
    """Name what is used up, if that is why a connection to an address could not be opened.

    EADDRNOTAVAIL has two causes: all local ports are taken, or this machine has no address from
    which the other one could be reached. UDP has ports of its own, and needs such an address, too.
    """
    if not isinstance(error, OSError) or error.errno != errno.EADDRNOTAVAIL:
        return lacking(error)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
    except OSError as unreachable:
        return lacking(unreachable)
    return NO_PORT
