"""Callbacks over HTTP/1.1: httpx's types, trio's streams, a keep-alive pool for each destination.

- ``client``      the transport: which connection a request goes out on, and when it goes out again
- ``resolver``    names to addresses
- ``connect``     addresses to a socket, the first one that answers
- ``streams``     bytes over TCP and TLS
- ``pool``        idle connections
- ``connection``  one request and its answer
- ``answer``      the bytes of an answer, without I/O
- ``wording``     failures as sentences
"""

from timer_trio.transport.client import CallbackTransport, SendWithheld, write_down

__all__ = ["CallbackTransport", "SendWithheld", "write_down"]
