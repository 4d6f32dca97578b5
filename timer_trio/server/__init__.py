"""The API on the net: sockets, connections and their limits; hypercorn turns HTTP/1.1 into ASGI."""

from timer_trio.server.server import Listening, Server

__all__ = ["Listening", "Server"]
