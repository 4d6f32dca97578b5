"""PostgreSQL connections for one purpose, and the thread hop that each use of one takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, TupleRow, dict_row, tuple_row

from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.storage.postgres.dialing import Dialer, set_up
from timer_trio.storage.postgres.locks import Locked, LockWatch
from timer_trio.storage.postgres.queries import QUERIES
from timer_trio.storage.postgres.sessions import Session, SilentServerError
from timer_trio.storage.postgres.sqlstate import is_gone, leaves_session_sound, translated
from timer_trio.storage.postgres.troubles import Troubles
from timer_trio.threads import run_in_thread

T = TypeVar("T")
Connection = psycopg.Connection[DictRow]

_STALE: Final = (psycopg.errors.FeatureNotSupported, psycopg.errors.InvalidSqlStatementName)
"""How a statement fails that was prepared before somebody altered a table, or is forgotten."""

WAIT_S: Final = 5.0
"""For a free connection: a caller of the API had better hear of trouble than wait for it."""
PATIENCE_S: Final = 12.0
"""For an answer. `statement_timeout` is the server's, and one that is frozen does not keep it, nor
does a commit that waits for a standby."""

# A worker thread cannot be cut short, so each way of never answering gets its bound. Together they
# notice a vanished host within 5 s; a URL may say otherwise.
_BOUNDS: Final[dict[str, Any]] = {
    "application_name": "timer-trio",
    "client_encoding": "UTF8",
    "connect_timeout": 3,
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}

_OF_SEVERAL: Final = {"target_session_attrs": "read-write"}
"""The others are standbys, from which nobody can claim: a URL may say otherwise."""

# What results depend on: a backup, a role or a database may bring values of its own.
_RESULTS: Final = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    # Rows that a policy hides would be taken for gone: an error can be waited out.
    "row_security": "off",
    # Under any other a statement that waited for a row would fail, and not see its newest version.
    "default_transaction_isolation": "read committed",
}

_SESSION: Final = {
    **_RESULTS,
    "lock_timeout": "1s",
    # A consumer who counts millions of timers waits no longer than this.
    "statement_timeout": "10s",
    # Whoever is stopped in the middle of a transaction must not keep its locks.
    "idle_in_transaction_session_timeout": "2s",
    # Planning and compiling would each cost more than most of these statements.
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}


def bounded(database_url: str) -> str:
    """Add what bounds every wait to a connection string, and of several servers takes the primary.

    Raises:
        ValueError: it is none; the text does not repeat it.
    """
    try:
        given = conninfo_to_dict(database_url)
        several = any("," in str(given.get(name) or "") for name in ("host", "hostaddr"))
        return make_conninfo(**_BOUNDS | (_OF_SEVERAL if several else {}) | given)
    except psycopg.ProgrammingError:
        raise ValueError("not a PostgreSQL connection string") from None


def connect(database_url: str) -> psycopg.Connection[Any]:
    """Open a connection for a command, in autocommit mode: every result means the same to it.

    It waits for each answer as long as that takes: an index is built for minutes.

    Raises:
        psycopg.Error: there is none to be had.
    """
    dialer = Dialer(bounded(database_url))

    def settle(session: Session[DictRow]) -> DictRow:
        return set_up(session, _RESULTS, None, dialer.fence)

    session, _ = dialer.open(settle, patience_s=None)
    session.row_factory = tuple_row  # type: ignore[assignment]
    return session


class Connections:
    """Up to `size` connections, each opened when it is first needed.

    None is kept that the server has closed, so that the first use after a restart of the database
    finds a new one. `settings` are a session's own; `on_connect` gets what a new session reads.
    `search_path` is what earlier sessions found: all must find the same tables. None: there was
    none, and that of the role and the database counts, whatever else has been set in the session.

    Behind a pooler a session may be shared with others from one transaction to the next: then
    nothing is prepared, and no setting made that is not good for all of them.

    Each answer is waited for `patience_s`. What was given up may go on at the server, as a commit
    does that waits for a standby: once there is more of it than there are connections, no other is
    begun. The answer of a server which turns out to be the primary no more does not count, as if
    the connection had broken.
    """

    def __init__(
        self,
        dialer: Dialer,
        *,
        size: int,
        settings: Mapping[str, str],
        on_connect: Callable[[DictRow], None],
        patience_s: float = PATIENCE_S,
        search_path: Callable[[], str | None] = lambda: None,
        locks: LockWatch | None = None,
        troubles: Troubles | None = None,
    ) -> None:
        self._dialer = dialer
        self._patience_s = patience_s
        self._settings = settings
        self._on_connect = on_connect
        self._search_path = search_path
        self._locks = locks or LockWatch()
        self._troubles = troubles or Troubles()
        self._limiter = trio.CapacityLimiter(size)
        self._most_given_up = size + 1
        self._given_up: deque[Session[DictRow]] = deque()
        self._idle: deque[Session[DictRow]] = deque()
        self._is_open = True

    async def run(
        self,
        work: Callable[[Connection], T],
        *,
        verb: str = "statement",
        tells: bool = True,
        refuses: bool = False,
    ) -> T:
        """Call `work` with a connection in autocommit mode, in a worker thread.

        `tells`: who locks what `verb` waited for in vain is named in the log; otherwise it is asked
        again in a form that knows more of it. `refuses`: it writes or compares what a consumer
        chose, so a value may be to blame.

        Raises:
            StorageUnavailableError: no connection; or it broke, and what was sent may be done; or
                the database is in a state in which it does not do this.
            ContentionError: nothing was done.
            RowRefusedError: nothing was done; only if `refuses`.

        Cancellation: while it waits for a free connection.
        """
        with trio.move_on_after(WAIT_S):
            return await run_in_thread(self._run, work, verb, tells, refuses, limiter=self._limiter)
        raise StorageUnavailableError(f"no connection to the database was free within {WAIT_S:g}s")

    async def fetch(
        self,
        query: str,
        parameters: Mapping[str, object],
        *,
        tells: bool = True,
        refuses: bool = False,
    ) -> list[DictRow]:
        """Run one of the queries in a transaction of its own; as `run` otherwise."""
        return await self.run(
            lambda connection: rows_of(connection, query, parameters),
            verb=query,
            tells=tells,
            refuses=refuses,
        )

    def close(self) -> None:
        """Close what is idle; what is in use closes when it is put back."""
        self._is_open = False
        self._drop_idle()
        for session in [*self._given_up]:
            session.close()

    def _run(
        self,
        work: Callable[[Connection], T],
        verb: str,
        tells: bool,  # noqa: FBT001 - a thread is started with positions alone
        refuses: bool,  # noqa: FBT001
    ) -> T:
        locked = Locked(verb) if tells else None
        try:
            reply = self._do(work, locked)
        except psycopg.Error as error:
            meaning = translated(error, refuses=refuses)
            if isinstance(meaning, StorageUnavailableError) and not is_gone(error):
                self._troubles.note(verb, error, str(meaning))
            raise meaning from None  # its cause may quote a row
        self._troubles.end(verb)
        return reply

    def _do(self, work: Callable[[Connection], T], locked: Locked | None) -> T:
        try:
            return self._do_once(work, locked)
        except _STALE:
            # Nothing was done, and the sessions that knew of it are closed.
            return self._do_once(work, locked)

    def _do_once(self, work: Callable[[Connection], T], locked: Locked | None) -> T:
        session = self._take()
        try:
            reply = work(session)
        except Exception as error:
            if isinstance(error, psycopg.Error):
                self._note(session, error, locked)
            session.check()
            raise
        else:
            session.check()
            return reply
        finally:
            self._put_back(session)

    def _note(self, session: Session[DictRow], error: psycopg.Error, locked: Locked | None) -> None:
        if isinstance(error, SilentServerError):
            self._dialer.fence.put_last(session.server)
        elif not leaves_session_sound(error):
            session.close()
        if locked and isinstance(error, psycopg.errors.LockNotAvailable):
            self._locks.notice(session, locked)

    def _take(self) -> Session[DictRow]:
        while True:
            try:
                session = self._idle.pop()
            except IndexError:
                return self._connect()
            if not session.is_cut and not session.has_word:
                return session
            session.close()

    def _put_back(self, session: Session[DictRow]) -> None:
        is_sound = session.info.transaction_status is TransactionStatus.IDLE
        if is_sound and self._is_open and not session.is_cut:
            self._idle.append(session)
            return
        if session.is_given_up and self._is_open:
            self._given_up.append(session)
        else:
            session.close()
        # Where one connection broke the others beside it may hang: a vanished host says nothing.
        self._drop_idle()

    def _connect(self) -> Session[DictRow]:
        session, read = self._dialer.open(
            self._settle_in,
            patience_s=self._patience_s,
            prepare_threshold=0,
            is_full=self._is_full,
        )
        self._on_connect(read)
        return session

    def _settle_in(self, session: Session[DictRow]) -> DictRow:
        own = is_own(session)
        if not own:
            session.prepare_threshold = None
        settings = {**_SESSION, **(self._settings if own else {})}
        return set_up(session, settings, self._search_path(), self._dialer.fence)

    def _is_full(self, server: str) -> bool:
        """Whether a server has too many statements that were given up and go on."""
        for session in [*self._given_up]:
            if session.has_word:
                session.close()
                with suppress(ValueError):  # another thread may have been here
                    self._given_up.remove(session)
        going_on = sum(session.server == server for session in [*self._given_up])
        return going_on >= self._most_given_up

    def _drop_idle(self) -> None:
        with suppress(IndexError):  # another thread may take the last one meanwhile
            while True:
                self._idle.pop().close()


def rows_of(connection: Connection, query: str, parameters: Mapping[str, object]) -> list[DictRow]:
    """Run one of the queries, and read what it answers."""
    cursor = connection.execute(QUERIES[query], parameters, binary=True)
    return cursor.fetchall() if cursor.description else []


def tuples_of(
    connection: Connection, query: str, parameters: Mapping[str, object]
) -> list[TupleRow]:
    """Run one of the queries, and read what it answers without a dict for each row."""
    with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        return cursor.execute(QUERIES[query], parameters).fetchall()


def is_own(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server itself is at the other end: a pooler greets in its own name."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(QUERIES["backend"], prepare=False).fetchone()
    return row is not None and row["pid"] == connection.info.backend_pid
