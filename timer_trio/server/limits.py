"""What a connection may take: time without progress, header lines, and places beside others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KEEP_ALIVE_S: Final = 75.0
"""Between two requests. Load balancers keep a connection for 60 s, and a request that one of them
sends while we close is lost: so they have to be the first to close."""
HANDSHAKE_S: Final = 10.0
"""Of TLS: three round trips and a few milliseconds of work, over the worst of lines."""
HEAD_S: Final = 30.0
"""From the first byte of a request to the end of its head, so that a trickle does not hold it."""
READ_S: Final = 60.0
"""Without a byte in the middle of a body. The app's own limit is shorter; its answer needs time."""
SEND_S: Final = 30.0
"""For a client to take `SEND_SLICE_BYTES`: it may be slow, it may not stop to read."""
SEND_SLICE_BYTES: Final = 16 * 1024
"""A record of TLS. At 30 s for each even 600 bytes a second are enough."""
STOP_READ_S: Final = 1.0
"""Without a byte of a body once a stop has begun: a client that sends still does so by then."""
LINGER_S: Final = 2.0
"""A connection that is closed on unread bytes is reset, and the client may lose its refusal: so
long it is read on."""
LINGER_BYTES: Final = 8 * 1024 * 1024
"""As much as the app drops of a body that it has refused."""
MAX_HEADER_LINES: Final = 100
"""4,000 of them fit into 16 KiB and keep the event loop for 10 ms, 100 for 0.2 ms. Proxies and
browsers together send some thirty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """All limits of one server: seconds, bytes, lines and connections."""

    max_connections: int
    max_connections_per_address: int
    keep_alive_s: float = KEEP_ALIVE_S
    handshake_s: float = HANDSHAKE_S
    head_s: float = HEAD_S
    read_s: float = READ_S
    send_s: float = SEND_S
    stop_read_s: float = STOP_READ_S
    linger_s: float = LINGER_S
    max_header_lines: int = MAX_HEADER_LINES
