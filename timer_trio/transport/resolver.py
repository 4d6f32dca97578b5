"""Names to addresses, without letting a name server that hangs hold up other names."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Final

import trio

from timer_trio.domain.words import clean
from timer_trio.threads import start_in_thread
from timer_trio.transport.errors import ConnectError, ShortageError
from timer_trio.transport.look_up_queue import LookUpQueue
from timer_trio.transport.name_memory import QUICK_S, Failure, Hosts, NameMemory
from timer_trio.transport.shortage import LOOK_UP_FAILED, NO_THREAD, lacking, lacking_to_open

LOOKUP_THREADS: Final = 64
"""A name server that is down holds a thread for 10 s and more: enough for many such names."""

MAX_WAITING: Final = 10_000
"""Names that wait for a thread: as many as there may be callbacks in flight."""

SHORT_S: Final = 0.1
"""How long after a shortage a look-up that begins may still fail of it."""

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


_Answer = Hosts | Failure | Exception
"""An exception is a shortage, or a bug in the look-up."""


@dataclass(slots=True, eq=False)
class _LookUp:
    host: str
    asked_s: float = field(default_factory=trio.current_time)
    begun_s: float | None = None
    waiting: int = 0
    answer: _Answer | None = None
    """None as long as it goes on."""
    ended: trio.Event = field(default_factory=trio.Event)


class Resolver:
    """Looks names up in threads of its own: one look-up for a name at a time, shared by all.

    An answer is kept for five seconds. A name server that does not answer any more leaves its names
    for a minute with the addresses that it told last.
    """

    def __init__(
        self, look_up: Callable[[str], Hosts] | None = None, *, threads: int = LOOKUP_THREADS
    ) -> None:
        self._ask = look_up or look_up_host
        self._queue = LookUpQueue(threads)
        self._look_ups: dict[str, _LookUp] = {}
        self._memory = NameMemory()
        self._short_s = -inf

    def note_shortage(self) -> None:
        """Note that something of our own is used up: a look-up that fails now blames no name."""
        self._short_s = trio.current_time()

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Find the addresses of a host, at least one; an IP literal is its own.

        Raises:
            ShortageError: this machine lacks what a look-up takes.
            ConnectError: it has none, or nobody can tell.

        Cancellation: a look-up that has begun goes on, and its answer is kept.
        """
        found = numeric(host) or self._memory.fresh(host, trio.current_time())
        if found is None:
            found = await self._look_up(host)
        if isinstance(found, Failure):
            raise ConnectError(clean(f"no address for {host}: {found.reason}"))
        return [Address(ip, port, scope) for ip, scope in found[:MAX_ADDRESSES]]

    async def _look_up(self, host: str) -> Hosts | Failure:
        look_up = self._look_ups.get(host) or self._enqueue(host)
        old = self._memory.old(host, trio.current_time())
        if old is None:
            return await self._answer_of(look_up)
        with trio.move_on_at(look_up.asked_s + QUICK_S):
            return await self._answer_of(look_up)
        return old

    def _enqueue(self, host: str) -> _LookUp:
        if len(self._queue) >= MAX_WAITING:
            raise ShortageError("too many names wait to be looked up")
        look_up = self._look_ups[host] = _LookUp(host)
        self._queue.add(host, is_quick=self._memory.is_quick(host))
        self._start()
        return look_up

    async def _answer_of(self, look_up: _LookUp) -> Hosts | Failure:
        look_up.waiting += 1
        try:
            await look_up.ended.wait()
        finally:
            look_up.waiting -= 1
            if not look_up.waiting and look_up.begun_s is None:
                self._queue.discard(look_up.host)
                del self._look_ups[look_up.host]
        answer = look_up.answer
        if answer is None:
            raise AssertionError("it has ended")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _start(self) -> None:
        while (host := self._queue.take()) is not None:
            look_up = self._look_ups[host]
            look_up.begun_s = trio.current_time()
            # The thread itself ends the look-up, and no task: whoever waits may give up, and a
            # second thread for a name that hangs would help nobody.
            try:
                start_in_thread(partial(self._asked, host), partial(self._end, look_up))
            except (RuntimeError, MemoryError):
                self._finish(look_up, ShortageError(f"{NO_THREAD} to look {host} up"))

    def _asked(self, host: str) -> _Answer:
        try:
            return self._ask(host)
        except (OSError, MemoryError) as error:
            # The system hides what it lacks behind words that blame the name.
            if lack := lacking(error) or lacking_to_open():
                return ShortageError(f"{lack} to look {host} up")
            return Failure(str(getattr(error, "strerror", None) or error))
        except ValueError:  # no name at all: a NUL, a label of 64 characters
            return Failure("not a host name")
        except Exception as bug:  # noqa: BLE001 - raised where somebody waits for the answer
            return bug

    def _end(self, look_up: _LookUp, answer: _Answer) -> None:
        if isinstance(answer, ShortageError):
            self.note_shortage()
        elif isinstance(answer, Failure) and self._short_s >= (look_up.begun_s or 0.0) - SHORT_S:
            answer = ShortageError(LOOK_UP_FAILED)
        self._finish(look_up, answer)
        self._start()

    def _finish(self, look_up: _LookUp, answer: _Answer) -> None:
        host, begun_s, now_s = look_up.host, look_up.begun_s or 0.0, trio.current_time()
        del self._look_ups[host]
        self._queue.end(host)
        if not isinstance(answer, Exception):
            self._memory.keep(host, answer, now_s=now_s, took_s=now_s - begun_s)
        look_up.answer = answer
        look_up.ended.set()


def look_up_host(host: str, *, flags: int = 0) -> Hosts:
    """Ask the system, which may take long.

    Raises:
        OSError, ValueError: it knows no address.
    """
    # As bytes the name is asked for as it stands: the URL has put it into ASCII already.
    infos = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM, flags=flags)
    return tuple(
        (str(address[0]), int(address[3]) if len(address) == 4 else 0) for *_, address in infos
    )


def numeric(host: str) -> Hosts | None:
    """Read a host that is an address in any notation that the system knows; asks nobody."""
    try:
        return look_up_host(host, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        return None
