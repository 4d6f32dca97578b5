"""The connections to one PostgreSQL database, which all its verbs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Self

from psycopg.rows import DictRow

from timer_trio.domain.errors import SealedError
from timer_trio.domain.sealed import HEADERS, MARK
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.postgres.connections import Connections, bounded
from timer_trio.storage.postgres.locks import LockWatch
from timer_trio.storage.postgres.troubles import Troubles

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
# After it the fence is down anyway.
_HEARTBEAT_SESSION: Final = {"statement_timeout": "3s"}


class Database:
    """The connections to one database, each opened when it is first needed.

    The heartbeat, the stages and the API have connections of their own: none can starve another.
    `listen_url` leads to the same database for whoever listens, past a pooler that forgets him.
    `cipher` seals what is written of headers, payloads and answers, and opens what is read.

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
    ) -> None:
        self._cipher = cipher or Cipher()
        self._session: DictRow = {}
        self._locks = LockWatch()
        self._troubles = Troubles()
        conninfo = bounded(database_url)
        self._heartbeat = self._connections(conninfo, 1, _HEARTBEAT_SESSION)
        self._stages = self._connections(conninfo, STAGE_CONNECTIONS, _STAGE_SESSION)
        self._api = self._connections(conninfo, pool_size, _API_SESSION)
        self._bulk = self._connections(conninfo, BULK_CONNECTIONS, _BULK_SESSION)
        self._listen_conninfo = bounded(listen_url or database_url)

    def _connections(self, conninfo: str, size: int, settings: Mapping[str, str]) -> Connections:
        return Connections(
            conninfo,
            size=size,
            settings=settings,
            on_connect=self._remember,
            search_path=lambda: self._session.get("search_path"),
            locks=self._locks,
            troubles=self._troubles,
        )

    def _remember(self, session: DictRow) -> None:
        self._session = session

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
        return [*self.durability_warnings(), *([KEY_LACKING] if self._cipher.lacks_key else [])]

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
        is_local = session.get("synchronous_commit") == "local"
        if is_local and session.get("synchronous_standby_names"):
            return [*forgetful, LOCAL_COMMIT]
        return forgetful

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
