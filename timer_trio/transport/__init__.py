"""Callbacks over HTTP/1.1: trio's streams, a keep-alive pool for each endpoint.

- ``request``        what goes out and where to, its permit, its answer
- ``errors``         why there was no answer
- ``client``         the transport: which connection a request goes out on, and when again
- ``resolver``       names to addresses
- ``look_up_queue``  which name is looked up next
- ``name_memory``    what was found out about names
- ``connect``        addresses to a socket, the first one that answers
- ``streams``        bytes over TCP and TLS
- ``pool``           idle connections
- ``connection``     one request and its answer
- ``readiness``      which connections have something to read, and the alarm beside them
- ``timerfd``        the system's timer that is waited for like a connection
- ``answer``         the bytes of an answer, without I/O
- ``lenient``        a reader for answers that are oddly written
- ``framing``        where an answer's body ends
- ``shortage``       what this machine may lack itself
- ``wording``        failures as sentences
"""

from timer_trio.transport.client import CallbackTransport
from timer_trio.transport.errors import RequestError, ShortageError, TransportError, WithheldError
from timer_trio.transport.request import Answer, Begun, Endpoint, Permit, Request, Transport

__all__ = [
    "Answer",
    "Begun",
    "CallbackTransport",
    "Endpoint",
    "Permit",
    "Request",
    "RequestError",
    "ShortageError",
    "Transport",
    "TransportError",
    "WithheldError",
]
