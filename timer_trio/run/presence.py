"""A replica's place among the others: taken at its start, handed over and given up at its stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from timer_trio.cluster.heartbeat import RETRY_INTERVAL_S, Heartbeat
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.shards import Shards
from timer_trio.run.database_wait import wait_for_database
from timer_trio.storage.group_commit import repeat_until_answered

LEAVE_POLL_S: Final = 0.05


class Presence:
    """A row of the table `replicas`, by which the others know of this one.

    `prepare` and `alone` are as for a `Replica`; `shards` are those that come with the place.
    `begin` is called once the place is taken, and what it raises of the database is tried again.
    """

    def __init__(
        self,
        *,
        heartbeat: Heartbeat,
        shards: Shards,
        prepare: Callable[[], Awaitable[None]],
        alone: bool,
        begin: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        self._heartbeat = heartbeat
        self.shards = shards
        self._prepare = prepare
        self._alone = alone
        self._begin = begin
        self.has_joined = False

    async def join(self) -> None:
        """Prepare the database and take a place, however long the database is away."""
        await wait_for_database(self._take_place)

    async def _take_place(self) -> None:
        await self._prepare()
        await self._heartbeat.join(alone=self._alone)
        self.has_joined = True
        # What excludes it may have been taken until its row was there to stop that.
        await self._prepare()
        await self._begin()

    async def keep(self) -> NoReturn:
        """Beat for ever, so that the others see that it lives."""
        await self._heartbeat.run()

    async def hand_over(self) -> None:
        """Own no shard any more, and stay as long as others are there to take them over.

        To be cancelled when they have had enough time.
        """
        await self._leave()
        while self._can_be_replaced:  # noqa: ASYNC110 - as each heartbeat tells
            await trio.sleep(LEAVE_POLL_S)

    async def end(self) -> None:
        """Give the place up, however long the database is away; what is claimed becomes claimable.

        Cancelled, it leaves that to the others' sweep.
        """
        await repeat_until_answered(self._heartbeat.end)

    async def _leave(self) -> None:
        """Own no shard, and read whether others are there, unless the database is away."""
        while self._heartbeat.is_connected:
            try:
                await self._heartbeat.leave()
            except (StorageUnavailableError, ContentionError):
                await trio.sleep(RETRY_INTERVAL_S)
            else:
                return

    @property
    def _can_be_replaced(self) -> bool:
        """Whether others are there that do not leave as well, as far as the database tells."""
        return self.shards.has_others and self._heartbeat.is_connected
