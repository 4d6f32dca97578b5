"""Addresses to a socket: the first one that answers wins."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio

from timer_trio.transport.errors import ConnectError, ShortageError
from timer_trio.transport.resolver import Address
from timer_trio.transport.shortage import lacking_to_connect
from timer_trio.transport.wording import connect_failure, peers

HEAD_START_S: Final = 0.25
"""What one address gets before the next is tried beside it (RFC 8305)."""

_SockAddr = tuple[str, int] | tuple[str, int, int, int]


async def connect(addresses: Sequence[Address]) -> tuple[socket.socket, Address]:
    """Connect to one of some addresses, in their order but IPv6 and IPv4 by turns.

    Raises:
        ShortageError: we have nothing left to connect with, and so to none of them.
        ConnectError: none let us.
    """
    race = _Race()
    try:
        await race.run(by_turns(addresses))
    except BaseException:
        race.close()
        raise
    if race.winner is None and race.lacking is not None:
        raise ShortageError(f"{race.lacking} to connect to {peers(addresses)}")
    if race.winner is None:
        raise ConnectError("; ".join(race.failures))
    return race.winner


def by_turns(addresses: Sequence[Address]) -> list[Address]:
    """Alternate the two families, so that one that leads nowhere costs a single head start."""
    first = [a for a in addresses if a.is_ipv6 is addresses[0].is_ipv6]
    second = [a for a in addresses if a.is_ipv6 is not addresses[0].is_ipv6]
    rank = {a: 2 * i for i, a in enumerate(first)} | {a: 2 * i + 1 for i, a in enumerate(second)}
    return sorted(rank, key=rank.__getitem__)


class _Race:
    def __init__(self) -> None:
        self.winner: tuple[socket.socket, Address] | None = None
        self.failures: list[str] = []
        self.lacking: str | None = None

    async def run(self, addresses: Sequence[Address]) -> None:
        if len(addresses) == 1:  # nearly always, and then a nursery would only cost
            await self._attempt(addresses[0])
            return
        async with trio.open_nursery() as nursery:
            for address in addresses:
                ended = trio.Event()
                nursery.start_soon(self._take_part, address, ended, nursery.cancel_scope)
                with trio.move_on_after(HEAD_START_S):
                    await ended.wait()

    def close(self) -> None:
        if self.winner is not None:
            self.winner[0].close()

    async def _take_part(
        self, address: Address, ended: trio.Event, others: trio.CancelScope
    ) -> None:
        await self._attempt(address)
        ended.set()
        if self.winner is not None:
            others.cancel()

    async def _attempt(self, address: Address) -> None:
        try:
            connected = await _connected(address)
        except (OSError, MemoryError) as error:
            self._note(error, address)
            return
        if self.winner is None:
            self.winner = connected, address
        else:
            connected.close()

    def _note(self, error: OSError | MemoryError, address: Address) -> None:
        lacking = lacking_to_connect(error, _family(address), _sockaddr(address))
        self.lacking = self.lacking or lacking
        if isinstance(error, OSError) and lacking is None:
            self.failures.append(connect_failure(error, str(address)))


async def _connected(address: Address) -> socket.socket:
    connecting = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        # A request is a single write, and must not wait for the acknowledgement of the last one.
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        await _connect(connecting, _sockaddr(address))
    except BaseException:
        connecting.close()
        raise
    return connecting


async def _connect(connecting: socket.socket, address: _SockAddr) -> None:
    with suppress(BlockingIOError):
        connecting.connect(address)
        return
    await trio.lowlevel.wait_writable(connecting)
    if failed := connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(failed, os.strerror(failed))


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if address.is_ipv6 else socket.AF_INET


def _sockaddr(address: Address) -> _SockAddr:
    if address.is_ipv6:
        return (address.ip, address.port, 0, address.scope)
    return (address.ip, address.port)
