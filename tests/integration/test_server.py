from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme

from tests.api_under_test import tls_config
from timer_trio.config import Settings, StartRefusedError
from timer_trio.server import Listening, Server


def tls_settings(folder: Path, more: str = "") -> Path:
    """Write hypercorn's settings: a certificate, and a bind of each kind."""
    path = tls_config(folder, trustme.CA())
    bind = f'bind = ["127.0.0.1:0", "unix:{folder}/socket"]\ninsecure_bind = "127.0.0.1:0"\n'
    path.write_text(path.read_text().replace('bind = "127.0.0.1:0"\n', bind + more))
    return path


@pytest.mark.parametrize("is_tls", [False, True])
def test_sockets_of_each_kind_are_inherited_and_not_opened_anew(
    tmp_path: Path, *, is_tls: bool
) -> None:
    config = tls_settings(tmp_path) if is_tls else None
    parent = Server(Settings(port=0), config)
    kinds = [len(files) for files in (parent.listening.main, parent.listening.insecure)]
    assert kinds == ([2, 1] if is_tls else [1, 0])
    files = parent.listening.files
    # As a worker has them: open files of the same numbers, and another object for each.
    worker = Server(Settings(port=1), config, parent.listening)
    assert worker.listening == parent.listening
    assert worker.urls == parent.urls
    assert worker.urls[0].startswith("https://" if is_tls else "http://")
    worker.close()
    for file in files:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file)


def test_certificate_that_cannot_be_used_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = tls_settings(tmp_path)
    (tmp_path / "cert.pem").write_text("none")
    with pytest.raises(StartRefusedError, match="are of no use"):
        Server(Settings(port=0), config)


def test_http_3_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(StartRefusedError, match="quic_bind: HTTP/3 is not served"):
        Server(Settings(port=0), tls_settings(tmp_path, 'quic_bind = "127.0.0.1:0"\n'))


def test_path_prefix_of_hypercorn_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(StartRefusedError, match="root_path: set ROOT_PATH instead"):
        Server(Settings(port=0), tls_settings(tmp_path, 'root_path = "/timer-trio"\n'))


def test_listening_names_all_its_files() -> None:
    assert Listening(main=[3, 4], insecure=[5]).files == (3, 4, 5)


def test_limits_come_from_the_settings() -> None:
    server = Server(Settings(port=0, keep_alive_s=9, max_connections=100))
    assert (server.limits.keep_alive_s, server.limits.read_s) == (9, 60)
    assert server.limits.max_connections == 100
    assert server.limits.max_connections_per_address == 50
    server.close()


def test_hypercorn_has_the_last_word_on_its_own_limits(tmp_path: Path) -> None:
    own = "keep_alive_timeout = 5\nread_timeout = 7\nssl_handshake_timeout = 8\n"
    server = Server(Settings(port=0, keep_alive_s=9), tls_settings(tmp_path, own))
    limits = server.limits
    assert (limits.keep_alive_s, limits.read_s, limits.handshake_s) == (5, 7, 8)
    server.close()


@pytest.mark.parametrize(("most", "per_address"), [(10, 10), (100, 30), (1, 1)])
def test_connections_are_no_more_than_the_system_has_files_for(most: int, per_address: int) -> None:
    settings = Settings(port=0, max_connections=1000, max_connections_per_address=30)
    server = Server(settings, most_connections=most)
    assert server.limits.max_connections == most
    assert server.limits.max_connections_per_address == per_address
    server.close()
