"""Idle connections, each waiting for the next request to its destination."""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from typing import Final, NamedTuple

import trio

from timer_trio.transport.connection import Connection

MAX_IDLE_PER_DESTINATION: Final = 100
"""As many callbacks as one destination may have in flight: the next burst finds them all open."""

MAX_IDLE: Final = 1_000
"""As many callbacks as are in flight by default."""

MAX_IDLE_S: Final = 4.0
"""Common servers keep an idle connection for 5 s and more. One that is closed while a request is on
its way costs that callback: nobody knows whether it was read."""


ROOM: Final = 8
"""Descriptors that a name look-up and a race among several addresses take."""


class Destination(NamedTuple):
    """What a connection leads to. `host` is a name in ASCII or an IP, without brackets."""

    scheme: str
    host: str
    port: int


class Pool:
    """Keeps idle connections; the one used last goes out first, so that the others can age."""

    def __init__(
        self,
        *,
        max_idle: int = MAX_IDLE,
        max_idle_per_destination: int = MAX_IDLE_PER_DESTINATION,
        max_idle_s: float = MAX_IDLE_S,
    ) -> None:
        self._max_idle = max_idle
        self._max_idle_per_destination = max_idle_per_destination
        self.max_idle_s: Final = max_idle_s
        self._idle: dict[Destination, deque[Connection]] = {}
        self._by_age: OrderedDict[Connection, Destination] = OrderedDict()
        self._is_open = True

    def __len__(self) -> int:
        return len(self._by_age)

    def take(self, destination: Destination, *, within_s: float) -> Connection | None:
        """Take a connection that is still open and was used at most so many seconds ago."""
        oldest = trio.current_time() - min(within_s, self.max_idle_s)
        idle = self._idle.get(destination)
        while idle and idle[-1].used_at >= oldest:
            connection = idle[-1]
            self._remove_newest(destination)
            if connection.is_quiet():
                return connection
            connection.close()
        return None

    def put(self, destination: Destination, connection: Connection) -> None:
        """Keep a connection whose last answer is complete, or close one beyond the limits."""
        if not self._is_open:
            connection.close()
            return
        self.close_expired()
        idle = self._idle.setdefault(destination, deque())
        idle.append(connection)
        self._by_age[connection] = destination
        if len(idle) > self._max_idle_per_destination:
            self._close_oldest(destination)
        elif len(self._by_age) > self._max_idle:
            self._close_oldest(next(iter(self._by_age.values())))

    def close_expired(self) -> None:
        oldest = trio.current_time() - self.max_idle_s
        while self._by_age and next(iter(self._by_age)).used_at < oldest:
            self._close_oldest(next(iter(self._by_age.values())))

    def make_room(self) -> bool:
        """Close some connections, whatever they lead to; False: there is none to close."""
        has_any = bool(self._by_age)
        for destination in list(islice(self._by_age.values(), ROOM)):
            self._close_oldest(destination)
        return has_any

    def close(self) -> None:
        """Close all of them, and whatever is put back from now on."""
        self._is_open = False
        while self._by_age:
            self._close_oldest(next(iter(self._by_age.values())))

    def _remove_newest(self, destination: Destination) -> None:
        del self._by_age[self._idle[destination].pop()]
        self._forget_if_empty(destination)

    def _close_oldest(self, destination: Destination) -> None:
        connection = self._idle[destination].popleft()
        del self._by_age[connection]
        self._forget_if_empty(destination)
        connection.close()

    def _forget_if_empty(self, destination: Destination) -> None:
        if not self._idle[destination]:
            del self._idle[destination]
