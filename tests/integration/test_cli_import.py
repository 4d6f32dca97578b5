"""`timer-trio import` where it comes to nothing; tests/acceptance has it at work."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.command import run_command
from tests.one_answer import one_answer
from timer_trio.cli.imports import BLOCK_BYTES

KEY = "k3y-" * 8
PROJECT = Path(__file__).parents[2]
LONG = f"http://{'a' * 64}.example/"
LINE = '{"delay": 60, "callback_url": "https://example.com/"}\n'


def run(folder: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """Import a file of one line."""
    file = folder / "timers.ndjson"
    file.write_text(LINE)
    return run_command(folder, "import", str(file), *arguments, **environ)


@contextmanager
def answering(answer: str) -> Iterator[str]:
    """Answer one import with this; yields the URL."""
    with one_answer(answer, b"0\r\n\r\n") as (url, requests):
        yield url
    assert f"x-api-key: {KEY}" in requests[0].decode().lower()
    assert LINE in requests[0].decode()


def test_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    code, _, err = run_command(tmp_path, "import", "none.ndjson", API_KEY=KEY)
    assert (code, "none.ndjson" in err) == (2, True)


def test_service_that_is_not_there_is_told(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "--url", "http://127.0.0.1:1", API_KEY=KEY)
    assert (code, out) == (2, "")
    assert err.startswith("no answer from the service at http://127.0.0.1:1: ")


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://[", "http://a b", LONG])
def test_url_that_is_none_is_told(tmp_path: Path, url: str) -> None:
    assert run(tmp_path, "--url", url, API_KEY=KEY)[0] == 2


def test_key_that_nobody_has_made_is_told_and_not_made(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "--url", "http://127.0.0.1:1")
    assert (code, "API_KEY is not set" in err) == (2, True)
    assert not (tmp_path / "data" / "api_key").exists()


def test_key_that_the_service_keeps_is_used(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "api_key").write_text(KEY + "\n")
    last = '{"code": 0, "data": {"lines": 1, "imported": 1, "refused": 0, "errors": []}}'
    with answering(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{{}}\n{last}\n") as url:
        assert run(tmp_path, "--url", url) == (0, "1 imported, 0 refused\n", "")


FAILED = (
    '{"code": 1, "message": "the database cannot be reached", "data": {"lines": 9, "imported": 5, '
    '"refused": 1, "errors": [{"line": 3, "field": "delay", "message": "is wrong"}], '
    '"through_line": 6, "unknown": {"first_line": 7, "last_line": 9, "id": "the-id"}}}'
)
PROGRESS = '{"lines": 2000, "imported": 1230, "refused": 4, "through_line": 1234}'
NO_SUCH_ROUTE = '{"code": 3, "message": "no such route", "data": null}'
NGINX = "<html>\r\n<head><title>nginx</title></head>\r\n</html>\r\n"
TOO_LARGE = '{"code": 2, "message": "the body is too large (at most 1 bytes)", "data": null}'
REFUSED = '{"code": 4, "message": "the API key is wrong", "data": null}'


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (f"200 OK\r\n\r\n{FAILED}\n", ["line 3: delay: is wrong", "lines 7 to 9", "the-id"]),
        (f"401 Unauthorized\r\n\r\n{REFUSED}", ["401", "the API key is wrong"]),
        ("404 Not Found\r\n\r\n<html>", ["404", "no timer service, so look at --url"]),
        (f"413 Too Large\r\n\r\n{NGINX}", ["413: a proxy", "client_max_body_size 0", "some of"]),
        (f"413 Too Large\r\n\r\n{TOO_LARGE}", ["the service answered 413: the body is too large"]),
        (f"502 Bad Gateway\r\n\r\n{NGINX}", ["502: a proxy got no answer", "some of the lines"]),
        (f"503 Unavailable\r\n\r\n{NGINX}", ["503: a proxy has no service", "some of the lines"]),
        (f"504 Timeout\r\n\r\n{NGINX}", ["504: a proxy did not wait", "proxy_read_timeout 1h"]),
        ('200 OK\r\n\r\n{"lines": 1, "imported": 0, "refused": 0}\n', ["before it was whole"]),
        ("200 OK\r\nContent-Length: 99\r\n\r\n{", ["no answer", "some of the lines"]),
        ("hello", ["no answer from the service"]),
        (f"200 OK\r\nContent-Length: 999\r\n\r\n{PROGRESS}\n", ["broke", "lines up to 1,234 are"]),
    ],
    ids=[
        *("away", "unauthorized", "stranger", "proxy's 413", "own 413", "502", "503", "504"),
        *("cut short", "cut off", "no HTTP", "broken"),
    ],
)
def test_import_that_fails_says_why(tmp_path: Path, answer: str, words: list[str]) -> None:
    head = "" if answer == "hello" else "HTTP/1.1 "
    with answering(head + answer.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")) as url:
        code, _, err = run(tmp_path, "--url", url, API_KEY=KEY)
    assert code == 2
    assert "Traceback" not in err
    for each in words:
        assert each in err


def test_wrong_path_is_told(tmp_path: Path) -> None:
    head = "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n"
    with answering(head + NO_SUCH_ROUTE) as url:
        code, out, err = run(tmp_path, "--url", f"{url}/v1", API_KEY=KEY)
    assert (code, out) == (2, "")
    assert err == f"no timer-trio API at {url}/v1: does --url name a path too much?\n"


@pytest.mark.parametrize(
    "body",
    [
        '"nope"',
        "[]",
        "1",
        "null",
        "<html>",
        '{"code":0}',
        '{"code":0,"data":null}',
        '{"code":"0","message":5,"data":{"imported":1}}',
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
def test_answer_of_something_else_is_told_in_words(tmp_path: Path, body: str, status: str) -> None:
    with answering(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{body}") as url:
        code, out, err = run(tmp_path, "--url", url, API_KEY=KEY)
    assert (code, out) == (2, "")
    assert "it is no timer service" in err
    assert "imported" not in err


def test_standard_input_that_is_closed_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m timer_trio import - <&-', sys.executable],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "standard input is closed" in done.stderr


class Importing:
    """An import that is under way, and the service at its other end, by hand."""

    def __init__(self, folder: Path) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "timer_trio", "import", "-", "--url", url],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "API_KEY": KEY},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.received = b""

    def send_lines(self, count: int) -> None:
        assert self.process.stdin
        self.process.stdin.write(LINE.encode() * count)
        self.process.stdin.flush()

    def accept(self) -> None:
        self._listener.settimeout(60)
        self.connection, _ = self._listener.accept()
        self.connection.settimeout(60)

    def receive(self, ending: bytes) -> None:
        while not self.received.endswith(ending):
            part = self.connection.recv(65_536)
            assert part, self.received[-300:]
            self.received += part

    def ended(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=60)
        assert b"Traceback" not in err
        return self.process.returncode, err.decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.connection.close()
        self._listener.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 9999\r\n\r\n"
BLOCK_LINES = BLOCK_BYTES // len(LINE) + 1


@pytest.fixture
def importing(tmp_path: Path) -> Iterator[Importing]:
    started = Importing(tmp_path)
    started.send_lines(BLOCK_LINES)
    started.accept()
    # The block, with the line end that follows it on its way.
    started.receive(LINE.encode() + b"\r\n")
    yield started
    started.close()


def test_ctrl_c_sends_no_more_and_tells_how_far_it_came(importing: Importing) -> None:
    importing.send_lines(3)
    importing.process.send_signal(signal.SIGINT)
    importing.receive(b"\r\n0\r\n\r\n")
    assert importing.received.count(LINE.encode()) == BLOCK_LINES
    counts = f'"lines": {BLOCK_LINES}, "imported": {BLOCK_LINES}, "refused": 0, "errors": []'
    end = f'{{"code": 0, "message": "success", "data": {{{counts}}}}}\n'.encode()
    importing.connection.sendall(HEAD.replace(b"9999", b"%d" % len(end)) + end)
    code, err = importing.ended()
    assert code == 2
    assert f"lines up to {BLOCK_LINES:,} are imported or refused" in err


def test_second_ctrl_c_does_not_wait_for_the_service(importing: Importing) -> None:
    importing.process.send_signal(signal.SIGINT)
    importing.receive(b"\r\n0\r\n\r\n")
    importing.process.send_signal(signal.SIGINT)
    code, err = importing.ended()
    assert code == 2
    assert "stopped: some of the lines may be imported" in err


def test_progress_before_a_connection_broke_is_told(importing: Importing) -> None:
    importing.connection.sendall(HEAD + PROGRESS.encode() + b"\n")
    importing.connection.close()
    with suppress(BrokenPipeError):
        importing.send_lines(BLOCK_LINES * 9)
    code, err = importing.ended()
    assert code == 2
    assert "lines up to 1,234 are imported or refused" in err
