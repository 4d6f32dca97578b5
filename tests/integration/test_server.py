from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme

from timer_trio.config import Settings, StartRefusedError
from timer_trio.server import Listening, Server


def tls_settings(folder: Path) -> Path:
    """Write hypercorn's settings: a certificate, and a bind of each kind."""
    certificate = trustme.CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    path = folder / "hypercorn.toml"
    path.write_text(
        f'certfile = "{folder}/cert.pem"\nkeyfile = "{folder}/key.pem"\n'
        f'bind = ["127.0.0.1:0", "unix:{folder}/socket"]\n'
        'insecure_bind = "127.0.0.1:0"\nquic_bind = "127.0.0.1:0"\n'
    )
    return path


@pytest.mark.parametrize("is_tls", [False, True])
def test_sockets_of_each_kind_are_inherited_and_not_opened_anew(
    tmp_path: Path, *, is_tls: bool
) -> None:
    config = tls_settings(tmp_path) if is_tls else None
    parent = Server(Settings(port=0), config)
    kinds = [len(files) for files in (parent.listening.main, parent.listening.insecure)]
    assert [*kinds, len(parent.listening.quic)] == ([2, 1, 1] if is_tls else [1, 0, 0])
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


def test_listening_names_all_its_files() -> None:
    assert Listening(main=[3, 4], insecure=[5], quic=[6]).files == (3, 4, 5, 6)
