"""hypercorn inside our own nursery: where the API listens, and with which limits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart_trio import QuartTrio

from timer_trio.config import Settings, StartRefusedError

READ_TIMEOUT_S: Final = 60
"""A client that sends nothing for so long in the middle of a request is gone."""


class Server:
    """The API's listening sockets, opened at once so that a port in use is known before the start.

    Raises:
        StartRefusedError: the address cannot be had, or the file cannot be read.
    """

    def __init__(self, settings: Settings, hypercorn_config: Path | None = None) -> None:
        self._config = config = _read(hypercorn_config)
        if config.bind == Config().bind:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            config.bind = [f"{host}:{settings.port}"]
        config.errorlog = logging.getLogger("hypercorn.error")
        logging.getLogger("hypercorn.error").setLevel(logging.WARNING)
        config.include_server_header = False
        config.graceful_timeout = settings.shutdown_grace_s
        config.read_timeout = config.read_timeout or READ_TIMEOUT_S
        self.urls = _open_sockets(config)

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
        return Config.from_pyfile(path) if path.suffix == ".py" else Config.from_toml(path)
    except Exception as error:
        raise StartRefusedError(
            f"the hypercorn settings in {path} are of no use: {error}"
        ) from error


def _open_sockets(config: Config) -> list[str]:
    """Bind now what hypercorn would bind later; answers with the URLs of the API."""
    binds = ", ".join(config.bind)
    try:
        sockets = config.create_sockets()
    except (OSError, ValueError) as error:
        raise StartRefusedError(f"cannot listen on {binds}: {error}") from error
    scheme, plain = ("https", []) if config.ssl_enabled else ("http", sockets.insecure_sockets)
    main = plain or sockets.secure_sockets
    urls = [f"{scheme}://{_shown(sock.getsockname())}" for sock in main]
    config.bind = [f"fd://{sock.detach()}" for sock in main]
    if config.ssl_enabled:
        config.insecure_bind = [f"fd://{sock.detach()}" for sock in sockets.insecure_sockets]
        config.quic_bind = [f"fd://{sock.detach()}" for sock in sockets.quic_sockets]
    return urls


def _shown(address: Any) -> str:
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
