"""How the files that a process may open are divided: connections of all kinds take one each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CLIENTS_DIVISOR: Final = 4
"""Clients of the API take a quarter at most: whoever connects must not keep a callback from it."""
IDLE_DIVISOR: Final = 4
"""So do callbacks' connections that idle, so that others can still be opened."""
LEAST_DIVISOR: Final = 16
"""Both keep a sixteenth, however many callbacks there may be at once."""
REST: Final = 100
"""The log, the event loop, listening sockets, and what 32 threads open while they look names up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How many of each kind the settings ask for."""

    clients: int
    callbacks: int
    idle: int
    database: int

    @property
    def open_files(self) -> int:
        """How many files have room for all of it."""
        in_all = self.clients + self.callbacks + self.idle + self.database + REST
        return max(in_all, CLIENTS_DIVISOR * self.clients)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How many there can be: of clients, of callbacks under way, of connections that idle."""

    clients: int
    callbacks: int
    idle: int


def divide(open_files: int, wanted: Wanted) -> Shares:
    """Divide the files so that the sum fits; callbacks are the last to be cut.

    The database has what it wants.
    """
    left = open_files - REST - wanted.database
    least = max(1, open_files // LEAST_DIVISOR)
    beside = max(left - wanted.callbacks, 2 * least)
    clients = min(wanted.clients, max(1, open_files // CLIENTS_DIVISOR))
    idle = min(wanted.idle, open_files // IDLE_DIVISOR)
    clients = min(clients, max(beside // 2, beside - idle))
    idle = min(idle, beside - clients)
    callbacks = min(wanted.callbacks, max(1, left - clients - idle))
    return Shares(clients=clients, callbacks=callbacks, idle=idle)
