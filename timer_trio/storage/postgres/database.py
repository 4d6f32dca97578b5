"""The connections to one PostgreSQL database, which all its verbs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Self

import structlog
from psycopg.rows import DictRow

from timer_trio.domain.errors import SealedError
from timer_trio.domain.sealed import HEADERS, MARK
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.postgres.connections import PATIENCE_S, Connections, bounded
from timer_trio.storage.postgres.dialing import Dialer
from timer_trio.storage.postgres.locks import LockWatch
from timer_trio.storage.postgres.troubles import Troubles
from timer_trio.storage.postgres.watch import watch

STAGE_CONNECTIONS: Final = 10
"""Two each for create, load and claim, one each for settle, prune, hint and what is locked; few are
mostly open."""
BULK_CONNECTIONS: Final = 2
"""For batches, imports and bulk actions: what they take of the database's time, claims and creates
wait for."""
KEY_LACKING: Final = (
    "timers are encrypted with a key that is not in ENCRYPTION_KEYS: they fail when they are due"
)
LOCAL_COMMIT: Final = (
    "the database runs with synchronous_commit = local beside synchronous standbys: nothing waits"
    " for them, so a failover can lose acknowledged timers"
)
ASYNC_STANDBY: Final = (
    "a standby follows the database and no commit waits for it (synchronous_standby_names is"
    " empty): a failover to it can lose acknowledged timers"
)
NO_FENCE: Final = (
    "DATABASE_URL names several servers, and they do not tell their timelines ({reason}): an old"
    " primary that comes back would be taken for the new one"
)
HEARTBEAT_PATIENCE_S: Final = 3.0
"""After it the fence is down anyway."""
# Each has one good plan, whatever the statistics say: by an index, in its order.
_STAGE_SESSION: Final = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    # Our own statements hold a row for 20 ms at most. Who holds it for longer than this may do so
    # for hours, and meanwhile a claim or a settle has other rows to think of.
    "lock_timeout": "100ms",
}
# A page of a bulk action is read by the index of `created_at`, however few timers match.
_BULK_SESSION: Final = {"enable_seqscan": "off", "enable_bitmapscan": "off"}
_API_SESSION: Final[Mapping[str, str]] = {}
_HEARTBEAT_SESSION: Final = {"statement_timeout": f"{HEARTBEAT_PATIENCE_S:g}s"}

log = structlog.get_logger()


class Database:
    """The connections to one database, each opened when it is first needed.

    The heartbeat, the stages and the API have connections of their own: none can starve another.
    `listen_url` leads to the same database for whoever listens, past a pooler that forgets him.
    `cipher` seals what is written of headers, payloads and answers, and opens what is read. The
    heartbeat waits `heartbeat_patience_s` for an answer, all others `patience_s`.

    Raises:
        ValueError: a URL is no connection string.
    """

    def __init__(
        self,
        database_url: str,
        *,
        pool_size: int,
        listen_url: str | None = None,
        cipher: Cipher | None = None,
        heartbeat_patience_s: float = HEARTBEAT_PATIENCE_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._cipher = cipher or Cipher()
        self._session: DictRow = {}
        self._locks = LockWatch()
        self._troubles = Troubles()
        self._dialer = Dialer(bounded(database_url))
        self._heartbeat = self._connections(1, _HEARTBEAT_SESSION, heartbeat_patience_s)
        self._stages = self._connections(STAGE_CONNECTIONS, _STAGE_SESSION, patience_s)
        self._api = self._connections(pool_size, _API_SESSION, patience_s)
        self._bulk = self._connections(BULK_CONNECTIONS, _BULK_SESSION, patience_s)
        self._listen_dialer = (
            Dialer(bounded(listen_url), self._dialer.fence) if listen_url else self._dialer
        )
        self._patience_s = patience_s

    def _connections(
        self, size: int, settings: Mapping[str, str], patience_s: float
    ) -> Connections:
        return Connections(
            self._dialer,
            size=size,
            settings=settings,
            on_connect=self._remember,
            patience_s=patience_s,
            search_path=lambda: self._session.get("search_path"),
            locks=self._locks,
            troubles=self._troubles,
        )

    def _remember(self, session: DictRow) -> None:
        # Those of the first session a start names with all others.
        told = self.durability_warnings() if self._session else None
        self._session = session
        if told is not None:
            for warning in self.durability_warnings():
                if warning not in told:
                    log.warning("promise_weakened", warning=warning)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; waits for nothing."""
        for connections in (self._bulk, self._api, self._stages, self._heartbeat):
            connections.close()

    def warnings(self) -> Sequence[str]:
        """Say what weakens the promises of whoever uses this database, as far as is known."""
        return [
            *self.durability_warnings(),
            *self._fence_warnings(),
            *([KEY_LACKING] if self._cipher.lacks_key else []),
        ]

    def _fence_warnings(self) -> Sequence[str]:
        fence = self._dialer.fence
        is_unfenced = self._dialer.names_several and fence.silence is not None
        return [*([NO_FENCE.format(reason=fence.silence)] if is_unfenced else []), *fence.strays]

    def durability_warnings(self) -> Sequence[str]:
        """Name the settings under which the database may forget what it has committed.

        Empty as long as there was no connection.
        """
        session = self._session
        forgetful = [
            f"the database runs with {setting} = off: a crash of it can lose acknowledged timers"
            for setting in ("fsync", "synchronous_commit")
            if session.get(setting) == "off"
        ]
        names_standbys = bool(session.get("synchronous_standby_names"))
        if names_standbys and session.get("synchronous_commit") == "local":
            return [*forgetful, LOCAL_COMMIT]
        if not names_standbys and session.get("has_async_standby"):
            return [*forgetful, ASYNC_STANDBY]
        return forgetful

    async def watch_servers(self) -> None:
        """Look for a newer primary among the servers of the URL; ends if it names one alone.

        What is found ends all connections to the older one. Cancellation: at once.
        """
        await watch(self._dialer)

    async def look_for_sealed(self) -> None:
        """Have `warnings` tell whether a new row is encrypted with a key that is missing.

        Raises:
            StorageUnavailableError, ContentionError: call it again.
        """
        for row in await self._stages.fetch("newest_sealed", {"mark": MARK, "member": HEADERS}):
            with suppress(SealedError):
                self._cipher.open(row["sealed"])

    def trouble(self) -> str | None:
        """Return what the database is there for and does not do now, as far as is known."""
        return self._troubles.reason
