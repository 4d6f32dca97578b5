from __future__ import annotations

import errno
import ssl

import pytest

from timer_trio.transport.connect import by_turns
from timer_trio.transport.resolver import Address
from timer_trio.transport.wording import connect_failure, handshake_failure, loss

V6 = [Address(f"2001:db8::{n}", 443) for n in range(3)]
V4 = [Address(f"192.0.2.{n}", 443) for n in range(3)]
PEER = "192.0.2.7:443"


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        ([V6[0], V6[1], V4[0], V4[1]], [V6[0], V4[0], V6[1], V4[1]]),
        ([V4[0], V4[1], V4[2], V6[0]], [V4[0], V6[0], V4[1], V4[2]]),
        ([V4[1], V4[1], V4[0]], [V4[1], V4[0]]),
        ([V6[0]], [V6[0]]),
    ],
)
def test_families_take_turns_in_the_order_found(found: list[Address], tried: list[Address]) -> None:
    assert by_turns(found) == tried


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "connection refused by 192.0.2.7:443"),
        (errno.ENETUNREACH, "network unreachable: 192.0.2.7:443"),
        (errno.EACCES, "cannot connect to 192.0.2.7:443: Permission denied"),
    ],
)
def test_failed_connect_is_told_in_words(number: int, words: str) -> None:
    assert connect_failure(OSError(number, "..."), PEER) == words


def test_failure_of_an_unknown_kind_is_told_in_clean_words() -> None:
    assert connect_failure(OSError("a\x00\nb"), PEER) == "cannot connect to 192.0.2.7:443: a b"
    assert loss(OSError(errno.EIO, "x"), PEER) == (
        "connection to 192.0.2.7:443 broke: Input/output error"
    )
    odd = ssl.SSLError("odd\n")
    odd.reason = ""
    assert loss(odd, PEER) == "TLS with 192.0.2.7:443 failed: ('odd\\n',)"


def test_handshake_that_a_reset_ends_says_so() -> None:
    error = ConnectionResetError(errno.ECONNRESET, "...")
    assert handshake_failure(error, PEER) == (
        "TLS handshake failed: connection reset by 192.0.2.7:443"
    )
