"""The connections that are open, and which of them makes room for a new one."""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Final, Protocol

import trio

from timer_trio.server.limits import ConnectionLimits
from timer_trio.telemetry.metrics import Metrics

NETWORK_BITS: Final = 64
"""Of an IPv6 address: who has one of a network has all of it."""


class Reason(StrEnum):
    """Why a connection was closed."""

    CLIENT = "client"
    """Its client has closed it."""
    RESET = "reset"
    """Its client has gone in the middle."""
    ANSWERED = "answered"
    """Its last answer is out: client or server wanted no other request on it."""
    REFUSED = "refused"
    """What came was no request that can be answered."""
    IDLE = "idle"
    """No other request came."""
    HANDSHAKE = "handshake"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TIMEOUT = "body_timeout"
    SEND_TIMEOUT = "send_timeout"
    CONNECTION_LIMIT = "connection_limit"
    """It waited for a request longer than others, and a new one came beyond the limit."""
    ADDRESS_LIMIT = "address_limit"
    """The same, or it was new itself, among those of its address."""
    STOP = "stop"
    BROKEN = "broken"
    """What came on it led to an exception."""


class Closable(Protocol):
    @property
    def network(self) -> str | None:
        """Whom it counts for; None: nobody in particular."""

    def close(self, reason: Reason) -> None:
        """End it; no exception, no waiting."""

    def stop(self) -> None:
        """Take no other request on it."""


class _Group:
    """So many connections, and those of them that wait for a request, the longest first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = 0
        self.waiting: OrderedDict[Closable, None] = OrderedDict()

    @property
    def is_full(self) -> bool:
        return self.count >= self._most

    def longest_waiting(self) -> Closable | None:
        return next(iter(self.waiting), None)

    def remove(self, connection: Closable) -> None:
        self.count -= 1
        self.waiting.pop(connection, None)


class Connections:
    """All that are open, in all and by address."""

    def __init__(self, limits: ConnectionLimits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        metrics.expect_closed_connections(Reason)
        metrics.limit("connections", "MAX_CONNECTIONS, or less", limits.max_connections)
        metrics.limit(
            "connections_per_address",
            "Connections to the API that one address may have",
            limits.max_connections_per_address,
        )
        self._open: dict[Closable, None] = {}
        self._all = _Group(limits.max_connections)
        self._by_network: dict[str | None, _Group] = {}
        self._places = trio.lowlevel.ParkingLot()
        self.is_stopping = False

    def __len__(self) -> int:
        return len(self._open)

    async def wait_place(self) -> None:
        """Return as soon as another connection can be taken; at once if that is now."""
        while self._all.is_full and not self._all.waiting:
            await self._places.park()

    def add(self, connection: Closable) -> bool:
        """Take a connection, for which others may be closed; returns whether it has a place.

        It counts as one that waits for a request.
        """
        if not all(map(self._make_room, self._groups_of(connection))):
            self._metrics.closed_connection(Reason.ADDRESS_LIMIT)
            return False
        # Who made room may have been the last of its network: its group is gone then.
        for group in self._groups_of(connection, make=True):
            group.count += 1
            group.waiting[connection] = None
        self._open[connection] = None
        self._metrics.connections.set(len(self._open))
        return True

    def remove(self, connection: Closable, reason: Reason) -> None:
        """Forget one that has been closed."""
        self._give_place_up(connection)
        self._metrics.closed_connection(reason)

    def set_waiting(self, connection: Closable) -> None:
        """Note that it waits for a request from now on, unless it does already."""
        if connection in self._open:
            for group in self._groups_of(connection):
                group.waiting.setdefault(connection)
            self._places.unpark_all()

    def set_busy(self, connection: Closable) -> None:
        """Note that a request has begun on it."""
        for group in self._groups_of(connection):
            group.waiting.pop(connection, None)

    def stop(self) -> None:
        """Let each end with the answer under way, those without one at once."""
        self.is_stopping = True
        for connection in list(self._open):
            connection.stop()

    def _make_room(self, group: _Group) -> bool:
        if not group.is_full:
            return True
        if (other := group.longest_waiting()) is None:
            return False
        # Its socket is closed when its task runs next: its place is free already.
        self._give_place_up(other)
        other.close(Reason.CONNECTION_LIMIT if group is self._all else Reason.ADDRESS_LIMIT)
        return True

    def _give_place_up(self, connection: Closable) -> None:
        if connection not in self._open:
            return
        del self._open[connection]
        for group in self._groups_of(connection):
            group.remove(connection)
        self._forget_empty(connection)
        self._metrics.connections.set(len(self._open))
        self._places.unpark_all()

    def _groups_of(self, connection: Closable, *, make: bool = False) -> list[_Group]:
        network = connection.network
        own = None if network is None else self._by_network.get(network)
        if own is None and network is not None and make:
            own = self._by_network[network] = _Group(self._limits.max_connections_per_address)
        return [self._all] if own is None else [own, self._all]

    def _forget_empty(self, connection: Closable) -> None:
        network = connection.network
        if network in self._by_network and not self._by_network[network].count:
            del self._by_network[network]


def network_of(host: str) -> str:
    """Return whom an address counts for: itself if it is IPv4, its /64 if it is IPv6."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{int(address) >> (address.max_prefixlen - NETWORK_BITS):x}/{NETWORK_BITS}"
    return host
