"""What the commands take from the environment of a terminal and of TLS."""

from __future__ import annotations

import io
import ssl
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from tests.command import run_command
from timer_trio.cli.terminal import progress_stream, shows_progress

KEY = "k3y-" * 8
LISTED = (
    b'{"code": 0, "message": "", "data": {"timestamp": "2030-01-01T00:00:00Z", "replicas": []}}'
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("term", "is_shown"), [("xterm", True), ("dumb", False), ("", True)])
def test_bar_is_shown_where_a_line_can_be_written_over(
    term: str, monkeypatch: pytest.MonkeyPatch, *, is_shown: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert (shows_progress(), progress_stream().isatty()) == (is_shown, is_shown)


async def test_authority_of_ones_own_is_trusted_if_the_environment_names_it(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.receive_some()
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            await stream.send_all(head % len(LISTED) + LISTED)
        except trio.BrokenResourceError:  # it was not trusted
            return

    async with trio.open_nursery() as nursery:
        [plain] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        listener = trio.SSLListener(plain, context)
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        port = plain.socket.getsockname()[1]
        ask = partial(run_command, tmp_path, "replicas", "--url", f"https://127.0.0.1:{port}")
        for trusted, words in (
            ({}, "certificate verify failed"),
            ({"SSL_CERT_FILE": "ca.pem"}, ""),
            (
                {"SSL_CERT_FILE": "none.pem"},
                "SSL_CERT_FILE must name certificates in PEM form: none",
            ),
        ):
            command = partial(ask, API_KEY=KEY, **trusted)
            code, out, err = await trio.to_thread.run_sync(command)  # noqa: TID251 - the server must run
            assert words in err
            assert (code, bool(out)) == ((2, False) if words else (0, True))
        nursery.cancel_scope.cancel()


def test_plain_service_needs_no_certificates(tmp_path: Path) -> None:
    code, _, err = run_command(
        tmp_path, "replicas", "--url", "http://127.0.0.1:1", API_KEY=KEY, SSL_CERT_FILE="none.pem"
    )
    assert (code, err.partition(":")[0]) == (2, "no answer from the service at http")
