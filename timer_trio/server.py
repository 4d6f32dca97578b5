"""hypercorn inside our own nursery: where the API listens, and with which limits."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart_trio import QuartTrio

from timer_trio.config import Settings, StartRefusedError

READ_TIMEOUT_S: Final = 60
"""A client that sends nothing for so long in the middle of a request is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Listening sockets by the numbers of their files, which processes can share.

    Beside TLS on `main`, `insecure` ones speak plain HTTP, and `quic` ones HTTP/3.
    """

    main: Sequence[int]
    insecure: Sequence[int] = ()
    quic: Sequence[int] = ()

    @property
    def files(self) -> Sequence[int]:
        return (*self.main, *self.insecure, *self.quic)


class Server:
    """The API's listening sockets, opened at once so that a port in use is known before the start.

    `inherited` are those that another process has opened.

    Raises:
        StartRefusedError: the address cannot be had, or the file cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        hypercorn_config: Path | None = None,
        inherited: Listening | None = None,
    ) -> None:
        self._config = config = _read(hypercorn_config)
        if inherited is not None:
            _bind(config, inherited)
        elif config.bind == Config().bind:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            config.bind = [f"{host}:{settings.port}"]
        config.errorlog = logging.getLogger("hypercorn.error")
        logging.getLogger("hypercorn.error").setLevel(logging.WARNING)
        config.include_server_header = False
        config.graceful_timeout = settings.shutdown_grace_s
        config.read_timeout = config.read_timeout or READ_TIMEOUT_S
        self.urls, self.listening = _open_sockets(config)

    def listen(self) -> None:
        """Let clients connect already, who then wait for a process that runs."""
        for file in (*self.listening.main, *self.listening.insecure):
            sock = socket.socket(fileno=file)
            sock.listen(self._config.backlog)
            sock.detach()

    def close(self) -> None:
        """Listen no more, where nothing runs in this process."""
        for file in self.listening.files:
            os.close(file)

    async def run(
        self, app: QuartTrio, stopping: trio.Event, task_status: trio.TaskStatus[object]
    ) -> None:
        """Serve until `stopping` is set, then answer the requests under way."""
        await serve(
            app,
            self._config,
            shutdown_trigger=stopping.wait,
            task_status=task_status,
            mode="asgi",
        )


def _read(path: Path | None) -> Config:
    if path is None:
        return Config()
    try:
        config = Config.from_pyfile(path) if path.suffix == ".py" else Config.from_toml(path)
        # A certificate that cannot be used is told now, by the process that a person looks at.
        config.create_ssl_context()
    except Exception as error:
        raise StartRefusedError(
            f"the hypercorn settings in {path} are of no use: {error}"
        ) from error
    return config


def _bind(config: Config, listening: Listening) -> None:
    """Tell hypercorn to use these sockets, whatever its settings say."""
    config.bind = [f"fd://{file}" for file in listening.main]
    config.insecure_bind = [f"fd://{file}" for file in listening.insecure]
    config.quic_bind = [f"fd://{file}" for file in listening.quic]


def _open_sockets(config: Config) -> tuple[list[str], Listening]:
    """Bind now what hypercorn would bind later; answers with the URLs of the API."""
    binds = ", ".join(config.bind)
    try:
        sockets = config.create_sockets()
    except (OSError, ValueError) as error:
        raise StartRefusedError(f"cannot listen on {binds}: {error}") from error
    scheme, plain = ("https", []) if config.ssl_enabled else ("http", sockets.insecure_sockets)
    main = plain or sockets.secure_sockets
    insecure = [] if plain else sockets.insecure_sockets
    urls = [f"{scheme}://{_shown(sock.getsockname())}" for sock in main]
    listening = Listening(
        main=[sock.detach() for sock in main],
        insecure=[sock.detach() for sock in insecure],
        quic=[sock.detach() for sock in sockets.quic_sockets],
    )
    _bind(config, listening)
    return urls, listening


def _shown(address: Any) -> str:
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
