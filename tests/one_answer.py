"""A server that gives one answer, whatever it is asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PATIENCE_S: Final = 60
"""Nobody may ever ask: a test must end all the same."""


@contextmanager
def one_answer(answer: str, request_ends: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answer one request with this; yields the URL, and what will have been asked."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE_S)
            received = b""
            while not received.endswith(request_ends):
                part = connection.recv(65_536)
                assert part, received
                received += part
            requests.append(received)
            connection.sendall(answer.encode())

    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
        thread.join(10)
