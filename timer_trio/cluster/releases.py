"""What replicas of older releases cannot live with waits until none of them is left."""

from __future__ import annotations

from typing import Final

from timer_trio.domain.errors import OlderReplicasError
from timer_trio.domain.membership import ReplicaRecord
from timer_trio.domain.releases import is_older
from timer_trio.storage import ReplicaStorage

OLDEST: Final = "0.2.0"
"""The first release that reads and writes all columns of a timer."""


class Releases:
    """Knows whether all replicas are new enough for timers that need more than the first release.

    Once they are they stay so: no older one starts on this schema. So the database is asked until
    then, and never again.
    """

    def __init__(self, storage: ReplicaStorage) -> None:
        self._storage = storage
        self._are_new = False

    async def require_all_new(self) -> None:
        """Return if no replica is of an older release.

        Raises:
            OlderReplicasError: some are; nothing was done, and the words say which.
            StorageUnavailableError, ContentionError: the database does not tell.
        """
        if self._are_new:
            return
        records = await self._storage.replicas()
        older = [_named(each) for each in records if is_older(each.identity.version, OLDEST)]
        if older:
            raise OlderReplicasError(older)
        self._are_new = True


def _named(record: ReplicaRecord) -> str:
    identity = record.identity
    return f"{identity.version or 'an unknown version'} on {identity.host}:{identity.pid}"
