from __future__ import annotations

import errno
import socket
import ssl

import pytest

from timer_trio.transport.shortage import lacking, lacking_to_connect

HERE = ("127.0.0.1", 9)
NOWHERE = ("255.255.255.255", 9)
"""UDP may not be sent there unasked, so it cannot be connected to."""


def openssl_error(number: int, reason: str) -> ssl.SSLError:
    error = ssl.SSLError(number, "...")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "..."), "no file descriptor left"),
        (OSError(errno.ENFILE, "..."), "no file descriptor left on this machine"),
        (OSError(errno.ENOBUFS, "..."), "no buffer left"),
        (OSError(errno.ENOMEM, "..."), "no memory left"),
        (socket.gaierror(socket.EAI_MEMORY, "..."), "no memory left"),
        (MemoryError(), "no memory left"),
        (openssl_error(1, "MALLOC_FAILURE"), "no memory left"),
        (openssl_error(errno.ENOMEM, "WRONG_VERSION_NUMBER"), None),
        (OSError(errno.ECONNREFUSED, "..."), None),
        (OSError("of no number"), None),
        (socket.gaierror(socket.EAI_NONAME, "..."), None),
        (ValueError(), None),
    ],
)
def test_only_what_this_machine_lacks_is_a_shortage(error: Exception, words: str | None) -> None:
    assert lacking(error) == words
    assert lacking_to_connect(error, socket.AF_INET, HERE) == words


@pytest.mark.parametrize(("address", "words"), [(HERE, "no local port left"), (NOWHERE, None)])
def test_missing_port_is_told_apart_from_a_missing_source_address(
    address: tuple[str, int], words: str | None
) -> None:
    error = OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
    assert lacking_to_connect(error, socket.AF_INET, address) == words
