"""How a session is opened: on the primary of the servers that a URL names, ready for use."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg.rows import DictRow, dict_row

from timer_trio.storage.postgres.fence import Fence, fence_of
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.storage.postgres.servers import History, Server, servers_of
from timer_trio.storage.postgres.sessions import Session
from timer_trio.storage.postgres.sqlstate import words_of

ASK_S: Final = 3.0
"""How long a server may take to tell its timeline, once it is connected to."""
ASK_FIRST_S: Final = 10.0
"""A start waits until each server has told or failed, but no longer."""
ASK_AGAIN_S: Final = 0.5
"""After all connections were lost the others are asked as well: who lives says it at once."""

FULL: Final = (
    "the database does not end statements that were given up: until one ends, no other is begun"
)
_NOT_TO_BE_HAD: Final = {"42", "0A"}
"""Classes of a function that is not there, is not for this role, or does not work there."""

Settings = Mapping[str, str]


class Dialer:
    """Opens sessions on the primary; the servers of a URL have one fence in all of a process.

    `fence`: that of other names of the same servers.
    """

    def __init__(self, conninfo: str, fence: Fence | None = None) -> None:
        self.servers: Sequence[Server] = servers_of(conninfo)
        self.fence = fence or fence_of(self.servers)

    @property
    def names_several(self) -> bool:
        return len(self.servers) > 1

    def open(
        self,
        settle: Callable[[Session[DictRow]], DictRow],
        *,
        patience_s: float | None,
        prepare_threshold: int | None = None,
        is_full: Callable[[str], bool] = lambda _: False,
    ) -> tuple[Session[DictRow], DictRow]:
        """Open a session; returns it with what `settle` has read of it, its server's history too.

        A server that `is_full` is left alone.

        Raises:
            psycopg.Error: there is none to be had: no server answers, or none as the primary.
        """
        if self.names_several and self.fence.silence is None:
            self.fence.ask_first(self.servers, self._ask_all)
        failures: list[tuple[Server, psycopg.Error]] = []
        for server in self.fence.order(self.servers):
            if is_full(server.name):
                failures.append((server, psycopg.OperationalError(FULL)))
                continue
            try:
                return self._open_on(server, settle, patience_s, prepare_threshold)
            except psycopg.Error as error:
                self.fence.put_last(server.name)
                failures.append((server, error))
        raise _one_of(failures)

    def ask(self, server: Server) -> History | None:
        """Ask one server for its history, on a connection for this alone.

        Raises:
            psycopg.Error: it does not answer, not as a primary, or does not tell.
        """
        with Session.connect(server.conninfo, autocommit=True, row_factory=dict_row) as session:
            session.patience_s = ASK_S
            row = session.execute(QUERIES["history"], prepare=False).fetchone()
            return _history_of(row or {})

    def _open_on(
        self,
        server: Server,
        settle: Callable[[Session[DictRow]], DictRow],
        patience_s: float | None,
        prepare_threshold: int | None,
    ) -> tuple[Session[DictRow], DictRow]:
        session = Session.connect(
            server.conninfo,
            autocommit=True,
            row_factory=dict_row,
            prepare_threshold=prepare_threshold,
        )
        try:
            session.patience_s = patience_s
            read = settle(session)
            session.server, session.history = server.name, _history_of(read)
            session.fence = self.fence
            self.fence.admit(session)
        except BaseException:
            session.close()
            raise
        return session, read

    def _ask_all(self) -> Mapping[str, History]:
        """Ask all servers side by side; whoever is late is not waited for."""
        answers: queue.SimpleQueue[tuple[str, History | None]] = queue.SimpleQueue()

        def ask(server: Server) -> None:
            try:
                answers.put((server.name, self.ask(server)))
            except psycopg.Error:
                answers.put((server.name, None))

        for server in self.servers:
            threading.Thread(target=ask, args=[server], daemon=True).start()
        until = time.monotonic() + (ASK_AGAIN_S if self.fence.is_known else ASK_FIRST_S)
        told = _gather(answers, len(self.servers), until)
        return {server.name: told[server.name] for server in self.servers if server.name in told}


def set_up(
    session: Session[DictRow], settings: Settings, search_path: str | None, fence: Fence
) -> DictRow:
    """Make a session ready for use, and read what it offers, in one statement.

    Whether servers tell their timelines is found out once.
    """
    named = {"names": [*settings], "values": [*settings.values()], "search_path": search_path}
    if fence.silence is not None:
        return _first(session, "session_untold", named)
    try:
        return _first(session, "session", named)
    except psycopg.Error as error:
        if (error.sqlstate or "")[:2] not in _NOT_TO_BE_HAD:
            raise
        row = _first(session, "session_untold", named)
        fence.silence = words_of(error)
        return row


def _first(session: psycopg.Connection[Any], query: str, named: Mapping[str, object]) -> DictRow:
    with session.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(QUERIES[query], named, prepare=False).fetchone() or {}


def _history_of(row: Mapping[str, Any]) -> History | None:
    timeline = row.get("timeline")
    return None if timeline is None else History(row["system"], int(timeline, 16))


def _gather(
    answers: queue.SimpleQueue[tuple[str, History | None]], count: int, until: float
) -> Mapping[str, History]:
    told: dict[str, History] = {}
    for _ in range(count):
        try:
            name, history = answers.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if history is not None:
            told[name] = history
    return told


def _one_of(failures: Sequence[tuple[Server, psycopg.Error]]) -> psycopg.Error:
    """Make one error of what all servers have said; that of one alone stays as it is."""
    if len(failures) == 1:
        return failures[0][1]
    said = "; ".join(f"{server.name}: {words_of(error)}" for server, error in failures)
    return psycopg.OperationalError(f"none of the servers is the primary: {said}")
