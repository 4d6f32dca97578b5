"""A stand-in for PostgreSQL before one replica: passes everything on, and can spring a trap."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

import trio
from psycopg.conninfo import conninfo_to_dict

from timer_trio.storage.postgres.queries import QUERIES

SOCKET: Final = ".s.PGSQL.5432"
READ_BYTES: Final = 65_536
SETTLED_S: Final = 0.005
"""After a reply has been handed over, for whoever waits for it to begin with what follows."""


class Moment(StrEnum):
    """Where a statement is when the trap springs."""

    ASKED = "asked for, and not yet arrived"
    BLOCKED = "done, and its reply stuck on the way"
    COMMITTED = "committed, and its reply not yet there"
    ANSWERED = "answered"


@dataclass(slots=True)
class Trap:
    """Waits for a statement, one that names `timer_id` if it is given, and springs once.

    What it holds is passed on when `released`.
    """

    verb: str
    moment: Moment
    spring: Callable[[], Awaitable[None]]
    timer_id: bytes = b""
    sprung: trio.Event = field(default_factory=trio.Event)
    released: trio.Event = field(default_factory=trio.Event)


class Proxy:
    """Listens on a socket in `folder`; `url` leads there."""

    def __init__(self, database_url: str, folder: Path) -> None:
        parameters = conninfo_to_dict(database_url)
        self._server = Path(str(parameters["host"])) / SOCKET
        self._socket = folder / SOCKET
        host = quote(str(folder), safe="")
        self.url = (
            f"postgresql://{parameters['user']}@/{parameters['dbname']}?host={host}&port=5432"
        )
        self.trap: Trap | None = None

    async def run(self, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
        listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await listening.bind(str(self._socket))
        listening.listen(64)
        await trio.serve_listeners(
            self._serve, [trio.SocketListener(listening)], task_status=task_status
        )

    async def _serve(self, client: trio.SocketStream) -> None:
        try:
            server = await trio.open_unix_socket(str(self._server))
        except OSError:
            await client.aclose()
            return
        session = _Session(self, client, server)
        async with client, server, trio.open_nursery() as nursery:
            for pump in (session.pass_requests, session.pass_replies):
                nursery.start_soon(partial(_until_closed, pump, nursery.cancel_scope))


class _Session:
    """One connection: its prepared statements, and the one that is under way."""

    def __init__(self, proxy: Proxy, client: trio.SocketStream, server: trio.SocketStream) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._verbs: dict[bytes, str] = {}
        self._trap: Trap | None = None

    async def pass_requests(self) -> None:
        """Pass on what the replica says: after an opening without a type, message by message."""
        frames = Frames(is_typed=False)
        while data := await self._client.receive_some(READ_BYTES):
            for kind, message in frames.feed(data):
                frames.is_typed = True
                if kind == b"P":
                    self._learn(message)
                elif kind == b"B":
                    await self._look(self._verbs.get(_prepared(message), ""), message)
                elif kind == b"Q":
                    await self._look(verb_of(message[5:]), message)
                await self._server.send_all(message)

    async def pass_replies(self) -> None:
        frames = Frames()
        while data := await self._server.receive_some(READ_BYTES):
            is_done = b"Z" in [kind for kind, _ in frames.feed(data)]
            trap = self._trap
            if trap and trap.moment is Moment.BLOCKED:
                await trap.released.wait()
                self._trap = None
            elif trap and is_done:
                self._trap = None
                await self._reply(trap, data)
                continue
            await self._client.send_all(data)

    async def _reply(self, trap: Trap, data: bytes | bytearray) -> None:
        if trap.moment is Moment.COMMITTED:
            await _spring(trap)
        await self._client.send_all(data)
        if trap.moment is Moment.ANSWERED:
            await trio.sleep(SETTLED_S)
            await _spring(trap)

    def _learn(self, message: bytes) -> None:
        name, text, _ = message[5:].split(b"\0", 2)
        self._verbs[name] = verb_of(text)

    async def _look(self, verb: str, message: bytes) -> None:
        trap = self._proxy.trap
        if trap is None or verb != trap.verb or trap.timer_id not in message:
            return
        self._proxy.trap = None
        if trap.moment is Moment.ASKED:
            await _spring(trap)
            await trap.released.wait()
            return
        self._trap = trap
        if trap.moment is Moment.BLOCKED:
            await _spring(trap)


class Frames:
    """Cuts a stream of PostgreSQL's protocol into messages, whatever pieces it comes in."""

    def __init__(self, *, is_typed: bool = True) -> None:
        self.is_typed = is_typed
        self._rest = b""

    def feed(self, data: bytes | bytearray) -> Iterator[tuple[bytes, bytes]]:
        """Yield the type and the whole of each message that is complete by now."""
        self._rest += data
        while len(self._rest) >= (head := 1 if self.is_typed else 0) + 4:
            (length,) = struct.unpack_from("!I", self._rest, head)
            if len(self._rest) < head + length:
                return
            message, self._rest = self._rest[: head + length], self._rest[head + length :]
            yield message[:head], message


def verb_of(text: bytes) -> str:
    """Name a statement as its .sql does: by what stands before its first parameter."""
    return next((verb for verb, begin in _BEGINS.items() if text.startswith(begin)), "")


@asynccontextmanager
async def proxy_to(database_url: str, folder: Path) -> AsyncIterator[Proxy]:
    """Stand before a database until the block ends; `folder` is for its socket."""
    proxy = Proxy(database_url, folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        yield proxy
        nursery.cancel_scope.cancel()


def _prepared(message: bytes) -> bytes:
    """Tell which prepared statement a message runs."""
    _, name, _ = message[5:].split(b"\0", 2)
    return name


async def _spring(trap: Trap) -> None:
    await trap.spring()
    trap.sprung.set()


async def _until_closed(pump: Callable[[], Awaitable[None]], whole: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError):
        await pump()
    whole.cancel()


_BEGINS: Final = {verb: QUERIES[verb].partition(b"%(")[0] for verb in ("claim", "settle", "sweep")}
