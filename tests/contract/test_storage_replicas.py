from __future__ import annotations

from collections.abc import Sequence

import trio

from tests.contract.timers import ALICE, BOB, LATER, NOW, SOON, new_timer, seconds
from timer_trio.callback_url import read_url
from timer_trio.domain.membership import Identity, ReplicaStats
from timer_trio.domain.timer import DueTimer, Lane, shard_of
from timer_trio.storage import Hint, Storage

IDENTITY = Identity(host="machine-7", pid=4711, version="1.2.3")
VITALS = ReplicaStats(in_flight=3, cached=17, clock_offset_s=-0.25)


def due_timer(in_s: float, host: str = "example.com") -> DueTimer:
    destination = read_url(f"https://{host}/").destination
    return DueTimer(NOW + seconds(in_s), new_timer().id, Lane(destination))


class Listening:
    """All that was heard, and how to wait for it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._news = trio.Event()
        self.hints: list[Hint] = []

    async def start(self, nursery: trio.Nursery) -> None:
        listening = trio.Event()
        nursery.start_soon(self._storage.listen, listening.set, self._hear)
        with trio.fail_after(5):
            await listening.wait()

    async def wait_timers(self, count: int) -> Sequence[DueTimer]:
        with trio.fail_after(5):
            while len(self.timers) < count:
                await self._news.wait()
        return self.timers

    @property
    def timers(self) -> Sequence[DueTimer]:
        return [timer for hint in self.hints for timer in hint.timers]

    def _hear(self, hint: Hint) -> None:
        self.hints.append(hint)
        self._news.set()
        self._news = trio.Event()


async def test_a_replica_is_shown_as_it_joined_and_as_it_beat(storage: Storage) -> None:
    await storage.join(BOB, SOON)
    await storage.join(ALICE, NOW, IDENTITY)
    await storage.beat(ALICE, VITALS)
    alice, bob = await storage.replicas()
    assert (alice.id, alice.identity, alice.stats) == (ALICE, IDENTITY, VITALS)
    assert (alice.started_at, alice.is_leaving) == (NOW, False)
    assert alice.beaten_at is not None
    assert (bob.id, bob.identity, bob.stats) == (BOB, Identity(), ReplicaStats())
    assert bob.beaten_at is None


async def test_joining_again_does_not_change_who_it_is(storage: Storage) -> None:
    await storage.join(ALICE, NOW, IDENTITY)
    await storage.join(ALICE, LATER)
    (alice,) = await storage.replicas()
    assert (alice.identity, alice.started_at) == (IDENTITY, NOW)


async def test_a_replica_that_leaves_is_seen_by_all_and_goes_on_beating(
    storage: Storage,
) -> None:
    await storage.join(ALICE, NOW)
    await storage.join(BOB, NOW)
    await storage.leave(ALICE)
    seen = await storage.beat(BOB)
    assert seen.leaving == {ALICE}
    assert (await storage.beat(ALICE)).counters[ALICE] == seen.counters[ALICE] + 1
    assert {each.id: each.is_leaving for each in await storage.replicas()} == {
        ALICE: True,
        BOB: False,
    }


async def test_a_replica_that_is_gone_cannot_leave(storage: Storage) -> None:
    await storage.leave(ALICE)
    assert await storage.replicas() == []
    assert (await storage.beat(BOB)).leaving == frozenset()


async def test_a_hint_reaches_all_who_listen(storage: Storage) -> None:
    timers = [due_timer(1), due_timer(2.000001, "other.example")]
    async with trio.open_nursery() as nursery:
        listeners = [Listening(storage), Listening(storage)]
        for listener in listeners:
            await listener.start(nursery)
        await storage.hint(timers)
        for listener in listeners:
            assert list(await listener.wait_timers(2)) == timers
        nursery.cancel_scope.cancel()


async def test_what_does_not_fit_into_a_hint_is_looked_for_in_its_shard(storage: Storage) -> None:
    timers = [due_timer(1, "x" * 60 + f"{number}.example") for number in range(200)]
    async with trio.open_nursery() as nursery:
        listener = Listening(storage)
        await listener.start(nursery)
        await storage.hint(timers)
        heard = await listener.wait_timers(1)
        (hint,) = listener.hints
        assert list(heard) == timers[: len(heard)]
        assert hint.shards == {shard_of(timer.id) for timer in timers[len(heard) :]}
        assert hint.shards
        nursery.cancel_scope.cancel()


async def test_a_hint_names_the_shards_to_look_at_beside_its_timers(storage: Storage) -> None:
    timers = [due_timer(1)]
    async with trio.open_nursery() as nursery:
        listener = Listening(storage)
        await listener.start(nursery)
        await storage.hint([], frozenset({3, 250}))
        await storage.hint(timers, frozenset({7}))
        await listener.wait_timers(1)
        assert listener.hints == [Hint(timers=[], shards={3, 250}), Hint(timers=timers, shards={7})]
        nursery.cancel_scope.cancel()
