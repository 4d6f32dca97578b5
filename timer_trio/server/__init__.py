"""The API on the net: sockets, connections and their limits; hypercorn turns HTTP/1.1 into ASGI.

- ``server``             where the API listens, and with which limits
- ``accepting``          new connections, whatever the system lacks
- ``client_connection``  one of them: read, served, bounded, closed
- ``connections``        all that are open, and which makes room for a new one
- ``protocol``           HTTP/1.1 to ASGI
- ``turns``              how many requests begin at once
- ``limits``             what a connection may take
"""

from timer_trio.server.server import Listening, Server

__all__ = ["Listening", "Server"]
