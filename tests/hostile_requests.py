"""What one client can send, once: each of these has ended a whole service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from hyperframe.frame import DataFrame, Frame, PriorityFrame

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
UPGRADE: Final = (
    b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: %b\r\n\r\n"
)
WEBSOCKET: Final = (
    b"GET /timers HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def frames(*some: Frame) -> bytes:
    return b"".join(frame.serialize() for frame in some)


def prior_knowledge(*requests: Iterable[tuple[str, str]]) -> bytes:
    """Begin HTTP/2 without asking; each request has its headers alone."""
    connection = H2Connection(H2Configuration(validate_outbound_headers=False))
    connection.initiate_connection()
    for number, headers in enumerate(requests):
        connection.send_headers(2 * number + 1, list(headers), end_stream=True)
    return connection.data_to_send()


def asking(path: str) -> list[tuple[str, str]]:
    return [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path)]


FATAL: Final = {
    "h2c with settings that are no base64": UPGRADE % b"A",
    "h2c and a frame that breaks the protocol": UPGRADE % b"AAMAAABkAAQAAP__"
    + PREFACE
    + b"\0\0\1\0\0\0\0\0\0x",
    "websocket and a byte more": WEBSOCKET + b"\r\nx",
    "websocket and a header that is not ASCII": WEBSOCKET
    + b"Sec-WebSocket-Protocol: caf\xc3\xa9\r\n\r\n",
    "priorities of 1,001 streams": prior_knowledge()
    + frames(*(PriorityFrame(n, stream_weight=1) for n in range(1, 2_004, 2))),
    "data after the end of its stream": prior_knowledge(asking("/health/live"))
    + frames(*(DataFrame(1, b"x") for _ in range(3))),
    "a path that is not ASCII": prior_knowledge(asking("/t\u00e9")),
}
