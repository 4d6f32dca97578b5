"""Names to addresses, without letting a name server that hangs hold up other names."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import httpx
import trio

from timer_trio.domain.outcome import clean
from timer_trio.threads import run_in_thread

LOOKUP_THREADS: Final = 32
"""A name server that is down holds a thread for 10 s and more: enough for many such names."""

FAILURE_MEMORY_S: Final = 5.0
"""A burst to a name that does not exist asks once, and a name just made is soon found."""

MAX_FAILURES: Final = 1_000
"""Consumers choose the names, so the memory of failures needs an end."""

MAX_ADDRESSES: Final = 8
"""A name may list hundreds, and trying all of them in vain would cost a socket each."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect to. `scope` tells the links of IPv6 addresses like fe80::1 apart."""

    ip: str
    port: int
    scope: int = 0

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.ip

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.is_ipv6 else f"{self.ip}:{self.port}"


Host = tuple[str, int]
"""An address without a port: IP and scope."""


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str


_Found = tuple[Host, ...] | _Failure


@dataclass(slots=True, eq=False)
class _LookUp:
    ended: trio.Event = field(default_factory=trio.Event)
    has_begun: bool = False
    found: _Found | None = None


class Resolver:
    """Looks names up in threads of its own: one look-up for a name at a time, shared by all."""

    def __init__(
        self,
        look_up: Callable[[str], tuple[Host, ...]] | None = None,
        *,
        threads: int = LOOKUP_THREADS,
    ) -> None:
        self._ask = look_up or look_up_host
        self._limiter = trio.CapacityLimiter(threads)
        self._running: dict[str, _LookUp] = {}
        self._failures: dict[str, tuple[_Failure, float]] = {}

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Find the addresses of a host, at least one; an IP literal is its own.

        Raises:
            httpx.ConnectError: it has none, or nobody can tell.

        Cancellation: the look-up goes on for the others that wait for it.
        """
        found = numeric(host) or self._remembered(host)
        while found is None:
            found = await self._look_up(host)
        if isinstance(found, _Failure):
            raise httpx.ConnectError(clean(f"no address for {host}: {found.reason}"))
        return [Address(ip, port, scope) for ip, scope in found[:MAX_ADDRESSES]]

    def _remembered(self, host: str) -> _Failure | None:
        failure, until = self._failures.get(host, (None, 0.0))
        return failure if trio.current_time() < until else None

    async def _look_up(self, host: str) -> _Found | None:
        """Wait for the one look-up of a name; None if it never began."""
        look_up = self._running.get(host)
        if look_up is None:
            look_up = self._running[host] = _LookUp()
            await self._begin(host, look_up)
        await look_up.ended.wait()
        return look_up.found

    async def _begin(self, host: str, look_up: _LookUp) -> None:
        # The thread itself ends the look-up, and not the task that began it: that one may be
        # cancelled meanwhile, and a second thread for a name that hangs would help nobody. It can
        # be abandoned, since asking changes nothing.
        token = trio.lowlevel.current_trio_token()

        def ask() -> None:
            look_up.has_begun = True
            found: _Found | None = None
            try:
                found = self._asked(host)
            finally:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(self._end, host, look_up, found)

        try:
            await run_in_thread(ask, limiter=self._limiter, abandon_on_cancel=True)
        finally:
            if not look_up.has_begun:
                self._end(host, look_up, None)

    def _asked(self, host: str) -> _Found:
        try:
            return self._ask(host)
        except OSError as error:
            return _Failure(error.strerror or str(error))
        except ValueError:  # no name at all: a NUL, a label of 64 characters
            return _Failure("not a host name")

    def _end(self, host: str, look_up: _LookUp, found: _Found | None) -> None:
        if self._running.get(host) is look_up:
            del self._running[host]
        if isinstance(found, _Failure):
            self._remember(host, found)
        look_up.found = found
        look_up.ended.set()

    def _remember(self, host: str, failure: _Failure) -> None:
        if len(self._failures) >= MAX_FAILURES:
            self._failures.clear()
        self._failures[host] = failure, trio.current_time() + FAILURE_MEMORY_S


def look_up_host(host: str, *, flags: int = 0) -> tuple[Host, ...]:
    """Ask the system, which may take long.

    Raises:
        OSError, ValueError: it knows no address.
    """
    # As bytes the name is asked for as it stands: the URL has put it into ASCII already.
    infos = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM, flags=flags)
    return tuple(
        (str(address[0]), int(address[3]) if len(address) == 4 else 0) for *_, address in infos
    )


def numeric(host: str) -> tuple[Host, ...] | None:
    """Read a host that is an address in any notation that the system knows; asks nobody."""
    try:
        return look_up_host(host, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        return None
