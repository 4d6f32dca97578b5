"""`timer-trio import` where it comes to nothing; tests/acceptance has it at work."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KEY = "k3y-" * 8
PROJECT = Path(__file__).parents[2]
LINE = '{"delay": 60, "callback_url": "https://example.com/"}\n'


def run(folder: Path, *arguments: str, given: str = LINE, **environ: str) -> tuple[int, str, str]:
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "HOME": str(folder)}
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "timer_trio", "import", *arguments],
        cwd=folder,
        env=inherited | {"DATA_DIR": str(folder / "data")} | environ,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@contextmanager
def answering(answer: str) -> Iterator[str]:
    """Answer one request with this; yields the URL."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            received = b""
            while not received.endswith(b"0\r\n\r\n"):
                received += connection.recv(65_536)
            requests.append(received)
            connection.sendall(answer.encode())

    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)
    assert f"x-api-key: {KEY}" in requests[0].decode().lower()
    assert LINE in requests[0].decode()


def test_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "none.ndjson", API_KEY=KEY)
    assert (code, "none.ndjson" in err) == (2, True)


def test_service_that_is_not_there_is_told(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "-", "--url", "http://127.0.0.1:1", API_KEY=KEY)
    assert (code, out) == (2, "")
    assert err.startswith("no answer from the service at http://127.0.0.1:1: ")


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://[", "http://a b"])
def test_url_that_is_none_is_told(tmp_path: Path, url: str) -> None:
    assert run(tmp_path, "-", "--url", url, API_KEY=KEY)[0] == 2


def test_key_that_nobody_has_made_is_told_and_not_made(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "-", "--url", "http://127.0.0.1:1")
    assert (code, "API_KEY is not set" in err) == (2, True)
    assert not (tmp_path / "data" / "api_key").exists()


def test_key_that_the_service_keeps_is_used(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "api_key").write_text(KEY + "\n")
    last = '{"code": 0, "data": {"lines": 1, "imported": 1, "refused": 0, "errors": []}}'
    with answering(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{{}}\n{last}\n") as url:
        assert run(tmp_path, "-", "--url", url) == (0, "1 imported, 0 refused\n", "")


FAILED = (
    '{"code": 1, "message": "the database cannot be reached", "data": {"lines": 9, "imported": 5, '
    '"refused": 1, "errors": [{"line": 3, "field": "delay", "message": "is wrong"}], '
    '"through_line": 6, "unknown": {"first_line": 7, "last_line": 9, "id": "the-id"}}}'
)
REFUSED = '{"code": 4, "message": "the API key is wrong", "data": null}'


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (f"200 OK\r\n\r\n{FAILED}\n", ["line 3: delay: is wrong", "lines 7 to 9", "the-id"]),
        (f"401 Unauthorized\r\n\r\n{REFUSED}", ["401", "the API key is wrong"]),
        ("404 Not Found\r\n\r\n<html>", ["404", "no timer service"]),
        ('200 OK\r\n\r\n{"lines": 1, "imported": 0, "refused": 0}\n', ["before it was whole"]),
        ("200 OK\r\nContent-Length: 99\r\n\r\n{", ["no answer", "some of the lines"]),
        ("hello", ["no answer from the service"]),
    ],
    ids=["away", "unauthorized", "stranger", "cut short", "cut off", "no HTTP"],
)
def test_import_that_fails_says_why(tmp_path: Path, answer: str, words: list[str]) -> None:
    head = "" if answer == "hello" else "HTTP/1.1 "
    with answering(head + answer.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")) as url:
        code, _, err = run(tmp_path, "-", "--url", url, API_KEY=KEY)
    assert code == 2
    for each in words:
        assert each in err
