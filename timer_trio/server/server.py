"""hypercorn inside our own nursery: where the API listens, and with which limits."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.statsd import StatsdLogger
from quart_trio import QuartTrio

from timer_trio.config import Settings, StartRefusedError
from timer_trio.server.accepting import accept_forever
from timer_trio.server.client_connection import Address, ClientConnection, Serving
from timer_trio.server.connections import Connections
from timer_trio.server.limits import HANDSHAKE_S, READ_S, ConnectionLimits
from timer_trio.server.turns import Turns
from timer_trio.telemetry.metrics import Metrics

ALPN: Final = ["http/1.1"]
"""HTTP/2 is not spoken: its library has ended the whole service at the word of one client, and
load balancers speak HTTP/1.1 to what is behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Listening sockets by the numbers of their files, which processes can share.

    Beside TLS on `main`, `insecure` ones speak plain HTTP.
    """

    main: Sequence[int]
    insecure: Sequence[int] = ()

    @property
    def files(self) -> Sequence[int]:
        return (*self.main, *self.insecure)


class _Config(Config):
    """hypercorn's settings, and what each answer carries by them, put together once a second."""

    _headers: Sequence[tuple[bytes, bytes]] = ()
    _headers_of_s = 0

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        now_s = int(time.time())  # noqa: TID251 - of their Date
        if now_s != self._headers_of_s:
            self._headers = super().response_headers(protocol)
            self._headers_of_s = now_s
        return [*self._headers]


class Server:
    """The API's listening sockets, opened at once so that a port in use is known before the start.

    `inherited` are those that another process has opened. `most_connections`: what the system lets
    this process have, where that is less than the settings say.

    Raises:
        StartRefusedError: the address cannot be had, or the file cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        hypercorn_config: Path | None = None,
        inherited: Listening | None = None,
        *,
        most_connections: int | None = None,
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
        self.limits = _limits(settings, config, most_connections)
        self.urls, self.listening = _open_sockets(config)

    def listen(self) -> None:
        """Let clients connect already, who then wait for a process that runs."""
        for file in self.listening.files:
            sock = socket.socket(fileno=file)
            sock.listen(self._config.backlog)
            sock.detach()

    def close(self) -> None:
        """Listen no more, where nothing runs in this process."""
        for file in self.listening.files:
            os.close(file)

    async def run(
        self,
        app: QuartTrio,
        metrics: Metrics,
        stopping: trio.Event,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stopping` is set, then answer the requests under way.

        Cancellation: all connections are closed.
        """
        self.listen()
        self._config.set_statsd_logger_class(StatsdLogger)
        wrapped: Any = app  # Quart's types of the ASGI messages are hypercorn's of another release
        serving = Serving(
            app=ASGIWrapper(wrapped),
            config=self._config,
            limits=self.limits,
            connections=Connections(self.limits, metrics),
            turns=Turns(),
        )
        async with trio.open_nursery() as turns:
            turns.start_soon(serving.turns.run)
            async with trio.open_nursery() as nursery:
                await self._accept(serving, nursery, stopping, task_status)
                serving.connections.stop()
            turns.cancel_scope.cancel()

    async def _accept(
        self,
        serving: Serving,
        nursery: trio.Nursery,
        stopping: trio.Event,
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Serve connections in tasks of `nursery` until `stopping` is set."""
        with ExitStack() as listeners:
            async with trio.open_nursery() as accepting:
                for listener in self._listeners(listeners):
                    accepting.start_soon(listener.accept_forever, serving, nursery)
                task_status.started()
                await stopping.wait()
                accepting.cancel_scope.cancel()

    def _listeners(self, stack: ExitStack) -> Iterator[_Listener]:
        tls = self._config.create_ssl_context()
        for files, context in ((self.listening.main, tls), (self.listening.insecure, None)):
            for file in files:
                sock = stack.enter_context(socket.socket(fileno=file))
                yield _Listener(sock, context)


@dataclass(frozen=True, slots=True)
class _Listener:
    sock: socket.socket
    tls: ssl.SSLContext | None

    async def accept_forever(self, serving: Serving, nursery: trio.Nursery) -> None:
        """Serve each connection that comes in a task of its own, if it gets a place."""

        def take(accepted: socket.socket, peer: Any) -> None:
            try:
                connection = self._connection(accepted, peer, serving)
            except OSError:
                accepted.close()  # its client has gone already
                return
            if serving.connections.add(connection):
                nursery.start_soon(connection.run)
            else:
                accepted.close()

        await accept_forever(self.sock, serving.connections.wait_place, take)

    def _connection(self, accepted: socket.socket, peer: Any, serving: Serving) -> ClientConnection:
        return ClientConnection(
            trio.SocketStream(trio.socket.from_stdlib_socket(accepted)),
            serving,
            client=_address(peer),
            server=_address(accepted.getsockname()),
            tls=self.tls,
        )


def _address(address: Any) -> Address | None:
    """Reduce a socket's address to host and port; None: it is a file's."""
    return address[:2] if isinstance(address, tuple) else None


def _limits(settings: Settings, config: Config, most_connections: int | None) -> ConnectionLimits:
    """Take the limits from the settings; what the file for hypercorn has of its own wins."""
    own = vars(config)
    most = min(settings.max_connections, most_connections or settings.max_connections)
    per_address = settings.max_connections_per_address or max(1, most // 2)
    return ConnectionLimits(
        max_connections=most,
        max_connections_per_address=min(per_address, most),
        keep_alive_s=own.get("keep_alive_timeout", settings.keep_alive_s),
        handshake_s=own.get("ssl_handshake_timeout", HANDSHAKE_S),
        read_s=own.get("read_timeout") or READ_S,
    )


def _read(path: Path | None) -> Config:
    if path is None:
        return _Config()
    try:
        config = _Config.from_pyfile(path) if path.suffix == ".py" else _Config.from_toml(path)
        config.alpn_protocols = ALPN
        # A certificate that cannot be used is told now, by the process that a person looks at.
        config.create_ssl_context()
    except Exception as error:
        raise StartRefusedError(
            f"the hypercorn settings in {path} are of no use: {error}"
        ) from error
    if config.quic_bind:
        raise StartRefusedError(
            f"the hypercorn settings in {path} have a quic_bind: HTTP/3 is not served, remove it"
        )
    if config.root_path:
        raise StartRefusedError(
            f"the hypercorn settings in {path} have a root_path: set ROOT_PATH instead"
        )
    return config


def _bind(config: Config, listening: Listening) -> None:
    """Have hypercorn use these sockets, whatever its settings say."""
    config.bind = [f"fd://{file}" for file in listening.main]
    config.insecure_bind = [f"fd://{file}" for file in listening.insecure]


def _open_sockets(config: Config) -> tuple[list[str], Listening]:
    """Bind now what hypercorn would bind later; returns the URLs of the API."""
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
    )
    _bind(config, listening)
    return urls, listening


def _shown(address: Any) -> str:
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
