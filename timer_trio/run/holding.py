"""Which shards the database of a cell has, and which of them are worked on there."""

from __future__ import annotations

from math import inf
from typing import Final

import structlog
import trio

from timer_trio.cluster.membership import Membership
from timer_trio.config import StartRefusedError
from timer_trio.domain.cells import UNTOLD, CellMap, CellNumber, KeptMap, difference
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.storage import CellMapStorage

LOOK_S: Final = 0.25
"""Between looks while shards are to be moved out of a database: a part of how long they rest."""

_ELSEWHERE: Final = "another database has its timers until `timer-trio cells split` has moved them"

CLOSED_S: Final = 90.0
"""So long shards may be about to move. Nobody moves them any more then: `cells split` has died."""

log = structlog.get_logger()


class Holding:
    """Knows what the database of a cell has been told, and has `cells` and the stages follow.

    A database may have the shards of the cells behind its own as well, until `timer-trio cells
    split` moves these. Until then all of them are worked on where they are, and the databases that
    they go to wait. What is about to move is left alone: it begins with that, and is done once
    nothing of it is claimed.
    """

    def __init__(
        self,
        *,
        storage: CellMapStorage,
        cells: CellMap,
        number: CellNumber,
        membership: Membership,
    ) -> None:
        self._storage = storage
        self._cells = cells
        self._number = number
        self._cell = cells.cells[number]
        self._told = KeptMap(str(cells), str(self._cell))
        self._membership = membership
        self._closed_s = inf
        """Since when some are about to move."""

    async def begin(self) -> None:
        """Read what the database has, and have a new one keep what it is told.

        Raises:
            StartRefusedError: it has been told otherwise.
            StorageUnavailableError, ContentionError: call it again; so it is as long as its shards
                are in another database, or may be.
        """
        kept = await self._storage.kept_map()
        if kept is None and not self._cells.is_single:
            self._require_elsewhere_nothing()
            await self._storage.keep_map(self._told)
            kept = await self._storage.kept_map()
        if words := difference(kept, self._told):
            raise StartRefusedError(words)
        self._note(kept or UNTOLD)

    async def follow(self) -> None:
        """Take note of what is moved out of the database, until all have their own shards alone.

        What has left it is taken back if it does not arrive.
        """
        while self._cells.has_more(self._number) or not self._cells.are_all_known:
            await trio.sleep(LOOK_S)
            try:
                self._note(await self._storage.kept_map() or UNTOLD)
            except (StorageUnavailableError, ContentionError) as error:
                log.debug("shards_not_looked_at", cell=str(self._cell), reason=str(error))

    def _require_elsewhere_nothing(self) -> None:
        """Check that no other database can have its shards: those before it alone could.

        Raises:
            StorageUnavailableError: one has, or may have.
        """
        if not self._cells.is_known_up_to(self._number):
            reason = "it is not known yet whether a cell before it has its timers"
        elif self._cells.of_shard(self._cell.first) != self._number:
            reason = _ELSEWHERE
        else:
            return
        raise StorageUnavailableError(f"cell {self._cell} is new: {reason}")

    def _note(self, kept: KeptMap) -> None:
        at_rest = kept.at_rest
        if at_rest is None:
            raise StorageUnavailableError(f"cell {self._cell} is being filled: {_ELSEWHERE}")
        if kept.held != self._cells.held(self._number):
            log.info("shards_held", cell=str(self._cell), held=kept.own)
        self._cells.hold(self._number, kept.held)
        if at_rest == kept.held:
            self._closed_s = inf
        else:
            self._closed_s = min(self._closed_s, trio.current_time())
        is_over = trio.current_time() > self._closed_s + CLOSED_S
        # Where they are moved after all, what is claimed then prevents it.
        open_shards = kept.held.shards if is_over else at_rest.shards
        self._membership.keep(open_shards, kept.held.shards)
