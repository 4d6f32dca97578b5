"""Idle connections, each waiting for the next request to its endpoint."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

import trio

from timer_trio.transport.connection import Connection
from timer_trio.transport.request import Endpoint

MAX_IDLE_PER_ENDPOINT: Final = 100
"""As many callbacks as one destination may have in flight: the next burst finds them all open."""

MAX_IDLE: Final = 1_000
"""As many callbacks as are in flight by default."""

MAX_IDLE_S: Final = 4.0
"""Common servers keep an idle connection for 5 s and more. One that is closed while a request is on
its way costs that callback: nobody knows whether it was read."""


ROOM: Final = 8
"""Descriptors that a name look-up and a race among several addresses take."""


class Pool:
    """Keeps idle connections; the one used last goes out first, so that the others can age."""

    def __init__(
        self,
        *,
        max_idle: int = MAX_IDLE,
        max_idle_per_endpoint: int = MAX_IDLE_PER_ENDPOINT,
        max_idle_s: float = MAX_IDLE_S,
    ) -> None:
        self._max_idle = max_idle
        self._max_idle_per_endpoint = max_idle_per_endpoint
        self.max_idle_s: Final = max_idle_s
        self._idle: dict[Endpoint, deque[Connection]] = {}
        self._by_age: OrderedDict[Connection, Endpoint] = OrderedDict()
        self._is_open = True

    def __len__(self) -> int:
        return len(self._by_age)

    def take(self, endpoint: Endpoint, *, within_s: float) -> Connection | None:
        """Take a connection that is still open and was used at most so many seconds ago."""
        idle = self._idle.get(endpoint)
        if idle is None:
            return None
        oldest = trio.current_time() - min(within_s, self.max_idle_s)
        while idle and idle[-1].used_at >= oldest:
            connection = idle[-1]
            self._remove_newest(endpoint)
            if connection.is_open:
                return connection
            connection.close()
        return None

    def put(self, endpoint: Endpoint, connection: Connection) -> None:
        """Keep a connection whose last answer is complete, or close one beyond the limits."""
        if not self._is_open:
            connection.close()
            return
        self._close_expired(connection.used_at)
        idle = self._idle.get(endpoint)
        if idle is None:
            idle = self._idle[endpoint] = deque()
        idle.append(connection)
        self._by_age[connection] = endpoint
        if len(idle) > self._max_idle_per_endpoint:
            self._close_oldest(endpoint)
        elif len(self._by_age) > self._max_idle:
            self._close_oldest(next(iter(self._by_age.values())))

    def close_expired(self) -> None:
        """Close what has been idle for too long."""
        self._close_expired(trio.current_time())

    def _close_expired(self, now_s: float) -> None:
        oldest = now_s - self.max_idle_s
        while self._by_age and next(iter(self._by_age)).used_at < oldest:
            self._close_oldest(next(iter(self._by_age.values())))

    def make_room(self) -> bool:
        """Close some connections, whatever they lead to; False: there is none to close."""
        closed = 0
        while self._by_age and closed < ROOM:
            connection, endpoint = next(iter(self._by_age.items()))
            closed += connection.is_open  # one that was hung up has given back its descriptor
            self._close_oldest(endpoint)
        return closed > 0

    def close(self) -> None:
        """Close all of them, and whatever is put back from now on."""
        self._is_open = False
        while self._by_age:
            self._close_oldest(next(iter(self._by_age.values())))

    def _remove_newest(self, endpoint: Endpoint) -> None:
        del self._by_age[self._idle[endpoint].pop()]
        self._forget_if_empty(endpoint)

    def _close_oldest(self, endpoint: Endpoint) -> None:
        connection = self._idle[endpoint].popleft()
        del self._by_age[connection]
        self._forget_if_empty(endpoint)
        connection.close()

    def _forget_if_empty(self, endpoint: Endpoint) -> None:
        if not self._idle[endpoint]:
            del self._idle[endpoint]
