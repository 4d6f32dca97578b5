"""A server that gives one answer, whatever it is asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_answer(answer: str, request_ends: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answer one request with this; yields the URL, and what will have been asked."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            received = b""
            while not received.endswith(request_ends):
                received += connection.recv(65_536)
            requests.append(received)
            connection.sendall(answer.encode())

    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
        thread.join(10)
