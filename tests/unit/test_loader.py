from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import trio
from trio.testing import MockClock

from timer_trio.clock import Clock
from timer_trio.config import Settings
from timer_trio.delivery.loader import NEAR_EDGE_INTERVALS
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.membership import LeaseTimes
from timer_trio.domain.timer import Destination, DueTimer
from timer_trio.run.replica import Replica
from timer_trio.storage import ShardCursor
from timer_trio.storage.memory import MemoryStorage
from timer_trio.testing.receiver import Receiver

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
INTERVAL_S: Final = 30.0
LEASE: Final = LeaseTimes(fence_s=float("inf"))


class Database(MemoryStorage):
    """Notes how far each look reached, and refuses some of them."""

    def __init__(self) -> None:
        super().__init__(self.tell)
        self.reaches_s: list[float] = []
        self.refused: set[int] = set()

    def tell(self) -> datetime:
        return START + timedelta(seconds=trio.current_time())

    async def load(
        self,
        cursors: Sequence[ShardCursor],
        until: datetime,
        per_shard: int,
        cut_off: Mapping[Destination, datetime],
    ) -> Sequence[DueTimer]:
        self.reaches_s.append((until - self.tell()).total_seconds())
        if len(self.reaches_s) - 1 in self.refused:
            raise StorageUnavailableError("no connection")
        return await super().load(cursors, until, per_shard, cut_off)


def run_beside(database: Database, watch: Callable[[Replica], Awaitable[None]]) -> None:
    """Run a lone replica that has loaded a second ago, and somebody who watches it."""

    async def main() -> None:
        replica = Replica(
            Settings(loader_interval_s=INTERVAL_S),
            storage=database,
            clock=Clock(elapsed=trio.current_time),
            transport=Receiver(lambda: START, lambda _: None, lambda _: 200),
            alone=True,
            lease=LEASE,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(replica.run)
            await trio.sleep(1)
            await watch(replica)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_look_that_fails_is_made_again_as_far_as_it_was_to_go() -> None:
    database = Database()

    async def watch(_: Replica) -> None:
        looks = len(database.reaches_s)
        database.refused = {looks}
        await trio.sleep(INTERVAL_S)
        failed_s, again_s = database.reaches_s[looks:]
        assert abs(failed_s - again_s) < 1.0

    run_beside(database, watch)


def test_looks_at_some_shards_do_not_put_off_the_next_at_the_near_edge() -> None:
    database = Database()

    async def watch(replica: Replica) -> None:
        looks = len(database.reaches_s)
        for _ in range(4):
            await trio.sleep(INTERVAL_S / 4 - 0.5)
            replica._agenda.refill.ask_shards({3})
        await trio.sleep(2)
        near_edge_s = NEAR_EDGE_INTERVALS * INTERVAL_S
        near = [reach_s for reach_s in database.reaches_s[looks:] if reach_s == near_edge_s]
        assert len(near) == 1

    run_beside(database, watch)
