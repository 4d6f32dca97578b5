"""What a process knows of the servers of its database: who writes its newest history."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Final, Protocol

import psycopg
import structlog

from timer_trio.storage.postgres.servers import (
    History,
    Server,
    Verdict,
    judge,
    newest,
    ordered,
)

CUT: Final = "the primary is another server now: what the former one answers does not count"
OLD: Final = (
    "{server} is an old primary: its timeline is {timeline}, and {known} has been seen. Make it a"
    " standby of the new one (pg_rewind). If it was restored on purpose, restart the service"
)

log = structlog.get_logger()


class OldPrimaryError(psycopg.OperationalError):
    """The server was the primary once, and another one has been promoted since."""


class Line(Protocol):
    """A connection as the fence sees it."""

    server: str
    history: History | None

    @property
    def is_alive(self) -> bool:
        """Whether its server has not ended it."""

    def cut(self) -> None:
        """End it from any thread: whoever waits for an answer wakes up, and believes none."""


class Fence:
    """Lets nobody use an old primary, in all of a process; may be asked from several threads.

    The highest timeline that was seen counts. Where a server does not tell its timeline, as some
    managed databases do not, all are believed and `silence` says why.
    """

    def __init__(self) -> None:
        self.silence: str | None = None
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._known: History | None = None
        self._names: list[str] = []
        self._lines: set[Line] = set()
        self._strays: dict[str, str] = {}
        self._asked_s = float("-inf")

    @property
    def is_known(self) -> bool:
        """Whether any server has told its timeline yet."""
        return self._known is not None

    @property
    def strays(self) -> Sequence[str]:
        """Say in words which old primaries are up, as far as is known."""
        with self._lock:
            return [*self._strays.values()]

    def order(self, servers: Sequence[Server]) -> Sequence[Server]:
        """Sort servers as they are to be tried: the last good one first, who failed last last."""
        with self._lock:
            self._note_names(servers)
            return ordered(servers, self._names)

    def put_last(self, server: str) -> None:
        """Try a server after all others: it did not answer, or not as a primary."""
        with self._lock:
            if server in self._names:
                self._names.remove(server)
                self._names.append(server)

    def admit(self, line: Line) -> None:
        """Take in a new connection; if its server is newer than what was known, all others end.

        Raises:
            OldPrimaryError: its server is older.
        """
        with self._lock:
            verdict = judge(self._known, line.history)
            if verdict is Verdict.OLDER:
                raise OldPrimaryError(self._note_stray(line.server, line.history))
            self._strays.pop(line.server, None)
            self._put_first(line.server)
            older = self._rise(line.server, line.history) if verdict is Verdict.NEWER else ()
            self._lines.add(line)
        _cut(older)

    def dismiss(self, line: Line) -> None:
        """Forget a connection that is closed."""
        with self._lock:
            self._lines.discard(line)

    def forget_stray(self, server: str) -> None:
        """Warn of an old primary no more: it is away, or a standby."""
        with self._lock:
            self._strays.pop(server, None)

    def has_lines(self, server: str | None = None) -> bool:
        """Whether there are connections that live, to this server or to any."""
        with self._lock:
            lines = [line for line in self._lines if server in {None, line.server}]
        return any(line.is_alive for line in lines)

    def ask_first(
        self, servers: Sequence[Server], ask: Callable[[], Mapping[str, History]]
    ) -> None:
        """Have all servers asked if there is no connection: what is newest is known before any.

        Who comes while another one asks waits for what that finds, and asks no more.
        """
        came_s = time.monotonic()
        with self._asking:
            if self.has_lines() or self._asked_s > came_s:
                return
            self.order(servers)
            told = ask()
            self._asked_s = time.monotonic()
            if (best := newest(told)) is not None:
                for name in (best, *(name for name in told if name != best)):
                    self.learn(name, told[name])

    def learn(self, server: str, told: History) -> None:
        """Take in what a server has told beside the work; one that is newer is used from now on.

        Another cluster is none to go to as long as this one is known.
        """
        with self._lock:
            known = self._known
            if known is not None and told.system != known.system:
                return
            verdict = judge(known, told)
            if verdict is Verdict.OLDER:
                self._note_stray(server, told)
                return
            self._strays.pop(server, None)
            if verdict is Verdict.SAME:
                return
            older = self._rise(server, told)
        _cut(older)

    def _rise(self, server: str, told: History | None) -> Sequence[Line]:
        """Take this history for the newest, and return the connections that are to be cut."""
        self._put_first(server)
        before, self._known = self._known, told
        older = [line for line in self._lines if line.history not in {None, told}]
        self._lines.difference_update(older)
        if before is not None and told is not None:
            log.warning(
                "primary_changed", server=server, timeline=told.timeline, was=before.timeline
            )
        return older

    def _put_first(self, server: str) -> None:
        if server in self._names:
            self._names.remove(server)
            self._names.insert(0, server)

    def _note_stray(self, server: str, told: History | None) -> str:
        words = OLD.format(
            server=server,
            timeline=told and told.timeline,
            known=self._known and self._known.timeline,
        )
        if server not in self._strays:
            log.warning("old_primary_refused", server=server, reason=words)
        self._strays[server] = words
        return words

    def _note_names(self, servers: Sequence[Server]) -> None:
        self._names += [each.name for each in servers if each.name not in self._names]


def fence_of(servers: Iterable[Server]) -> Fence:
    """Return the fence of these servers, which is one for all of this process."""
    return _fence_of(frozenset(server.name for server in servers))


@cache
def _fence_of(_names: frozenset[str]) -> Fence:
    return Fence()


def _cut(lines: Iterable[Line]) -> None:
    for line in lines:
        line.cut()
