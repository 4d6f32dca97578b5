"""What replicas of older releases cannot live with waits until none of them is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from timer_trio.domain.cells import CellNumber
from timer_trio.domain.errors import OlderReplicasError
from timer_trio.domain.membership import ReplicaRecord
from timer_trio.domain.releases import is_older
from timer_trio.storage import ReplicaStorage

OLDEST: Final = "0.2.0"
"""The first release that reads and writes all columns of a timer."""


class Releases:
    """Knows whether all replicas are new enough for timers that need more than the first release.

    Once those of a database are they stay so: no older one starts on this schema. So it is asked
    until then, and never again. `storages` are those of all cells; one that is not connected takes
    no timers, and is not asked.
    """

    def __init__(
        self, *storages: ReplicaStorage, is_connected: Callable[[CellNumber], bool] = lambda _: True
    ) -> None:
        self._unknown = {CellNumber(n): storage for n, storage in enumerate(storages)}
        self._is_connected = is_connected

    async def require_all_new(self) -> None:
        """Return if no replica is of an older release.

        Raises:
            OlderReplicasError: some are; nothing was done, and the words say which.
            StorageUnavailableError, ContentionError: the database does not tell.
        """
        for number, storage in [*self._unknown.items()]:
            if not self._is_connected(number):
                continue
            records = await storage.replicas()
            older = [_named(each) for each in records if is_older(each.identity.version, OLDEST)]
            if older:
                raise OlderReplicasError(older)
            self._unknown.pop(number, None)


def _named(record: ReplicaRecord) -> str:
    identity = record.identity
    return f"{identity.version or 'an unknown version'} on {identity.host}:{identity.pid}"
