"""The container's health check: exit code 0 if the service on this machine lives.

It takes nothing but the standard library, since it runs every few seconds.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final

TIMEOUT_S: Final = 1.0
"""For each of two ways to ask, within the three seconds of the check."""


def lives(port: int) -> bool:
    """Whether it answers in plain HTTP, or by TLS with whatever certificate."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    plain = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    secured = HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=trusting)
    return _answers(plain) or _answers(secured)


def port_of(environ: Mapping[str, str]) -> int:
    """Return where the service listens, by the rules of `config.load_settings`."""
    certain = environ.get("TIMER_TRIO_PORT", "")
    return int((certain if certain.isdecimal() else "") or environ.get("PORT") or 8080)


def _answers(connection: HTTPConnection) -> bool:
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not lives(port_of(os.environ)))
