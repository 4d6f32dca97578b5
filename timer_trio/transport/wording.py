"""Failures as sentences for `last_error`."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Iterable, Mapping
from typing import Final

from timer_trio.domain.words import clean

_CONNECT_FAILURES: Final = {
    errno.ECONNREFUSED: "connection refused by {peer}",
    errno.ECONNRESET: "connection reset by {peer}",
    errno.ETIMEDOUT: "connection to {peer} timed out",
    errno.ENETUNREACH: "network unreachable: {peer}",
    errno.EHOSTUNREACH: "host unreachable: {peer}",
}

_LOSSES: Final = {
    errno.ECONNRESET: "connection reset by {peer}",
    errno.EPIPE: "connection reset by {peer}",
    errno.ETIMEDOUT: "connection to {peer} timed out",
}


def connect_failure(error: OSError, peer: str) -> str:
    words = _CONNECT_FAILURES.get(error.errno or 0, "cannot connect to {peer}: {cause}")
    return words.format(peer=peer, cause=_cause(error))


def peers(addresses: Iterable[object]) -> str:
    """Name those that are connected to, whichever answers first."""
    return ", ".join(map(str, addresses))


def refused_addresses(host: str, kinds: Mapping[str, str]) -> str:
    """Explain why none of a host's addresses may be reached: `kinds` tells what each of them is.

    Addresses that a name has led to are for the log alone: they are of the operator's network.
    """
    if host in kinds:
        return clean(f"{host} refused: {kinds[host]}; CALLBACK_ALLOW can admit it")
    leads_to = " and ".join(dict.fromkeys(kinds.values()))
    return clean(f"{host} leads to {leads_to}; CALLBACK_ALLOW can admit it")


def loss(error: OSError, peer: str) -> str:
    """Describe how an open connection broke."""
    if isinstance(error, ssl.SSLError):
        return clean(f"TLS with {peer} failed: {_tls_cause(error)}")
    words = _LOSSES.get(error.errno or 0, "connection to {peer} broke: {cause}")
    return words.format(peer=peer, cause=_cause(error))


def handshake_failure(error: OSError, peer: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return clean(f"certificate verify failed: {error.verify_message}")
    if isinstance(error, ssl.SSLEOFError):
        return f"TLS handshake failed: connection closed by {peer}"
    if isinstance(error, ssl.SSLError):
        return clean(f"TLS handshake failed: {_tls_cause(error)}")
    return f"TLS handshake failed: {loss(error, peer)}"


def size(count: int) -> str:
    return f"{count // 1024} KiB" if count % 1024 == 0 else f"{count} bytes"


def _tls_cause(error: ssl.SSLError) -> str:
    return error.reason.lower().replace("_", " ") if error.reason else str(error)


def _cause(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else clean(str(error))
