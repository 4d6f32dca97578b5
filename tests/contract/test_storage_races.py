"""Several callers on one row at once: each sees the others' work whole or not at all."""

from __future__ import annotations

import trio

from tests.contract.timers import (
    ALICE,
    BOB,
    FIRST,
    LATER,
    NOW,
    SECOND,
    SOON,
    ask,
    claimed,
    completed,
    created,
    due,
)
from timer_trio.domain.errors import NotPendingError, ReplicaGoneError
from timer_trio.domain.timer import Claim, ClaimedTimer, JsonText, ReplicaId, Status, TimerId
from timer_trio.storage import Storage

ROUNDS = 40


class Race:
    """What each of the callers was told."""

    def __init__(self, storage: Storage, timer_id: TimerId) -> None:
        self._storage = storage
        self._timer_id = timer_id
        self.claims: list[ClaimedTimer] = []
        self.is_canceled = False
        self.payload = '{"n": 1}'

    async def claim(self, replica: ReplicaId, claim: Claim) -> None:
        self.claims += (await ask(self._storage, [self._timer_id], replica, claim)).claimed

    async def update(self) -> None:
        try:
            await self._storage.update(self._timer_id, {"callback_payload": JsonText("2")}, NOW)
        except NotPendingError:
            return
        self.payload = "2"

    async def cancel(self) -> None:
        try:
            await self._storage.cancel(self._timer_id, NOW)
        except NotPendingError:
            return
        self.is_canceled = True


async def test_an_acknowledged_cancel_or_update_holds_against_any_claim(storage: Storage) -> None:
    await storage.join(ALICE, NOW)
    await storage.join(BOB, NOW)
    for index in range(ROUNDS):
        timer_id = await created(storage)
        race = Race(storage, timer_id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(race.claim, ALICE, FIRST)
            nursery.start_soon(race.claim, BOB, SECOND)
            nursery.start_soon(race.update)
            if index % 2:
                nursery.start_soon(race.cancel)
        assert len(race.claims) == (0 if race.is_canceled else 1)
        assert all(timer.spec.callback.payload == race.payload for timer in race.claims)
        after = await storage.get(timer_id)
        assert after.status is (Status.CANCELED if race.is_canceled else Status.EXECUTING)
        assert after.spec.callback.payload == race.payload


async def test_each_of_many_is_claimed_once(storage: Storage) -> None:
    ids = [await created(storage) for _ in range(30)]
    replicas = [ALICE, BOB] * 3
    for replica in replicas:
        await storage.join(replica, NOW)
    got: list[TimerId] = []

    async def grab(number: int, replica: ReplicaId) -> None:
        order = ids if number % 2 else ids[::-1]
        reply = await ask(storage, order, replica, Claim(number + 1))
        got.extend(timer.id for timer in reply.claimed)

    async with trio.open_nursery() as nursery:
        for number, replica in enumerate(replicas):
            nursery.start_soon(grab, number, replica)
    assert sorted(got) == sorted(ids)


async def test_a_sweep_leaves_nothing_with_a_dead_replica(storage: Storage) -> None:
    for _ in range(ROUNDS):
        timer_id = await created(storage)
        await storage.join(ALICE, NOW)
        got: list[ClaimedTimer] = []

        async def claim(timer_id: TimerId = timer_id, got: list[ClaimedTimer] = got) -> None:
            try:
                got += (await ask(storage, [timer_id])).claimed
            except ReplicaGoneError:
                return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim)
            nursery.start_soon(storage.sweep, ALICE, None, SOON)
        status = (await storage.get(timer_id)).status
        assert status is (Status.EXECUTING if got else Status.PENDING)
        assert await due(storage) == [timer_id]
        await storage.cancel(timer_id, NOW) if not got else await retire(storage, timer_id)


async def retire(storage: Storage, timer_id: TimerId) -> None:
    await claimed(storage, timer_id, BOB, SECOND)
    await storage.settle([completed(timer_id, SECOND)], LATER)


async def test_settles_and_sweeps_of_many_never_stand_in_each_others_way(
    storage: Storage,
) -> None:
    for _ in range(10):
        ids = [await created(storage) for _ in range(20)]
        await storage.join(ALICE, NOW)
        await ask(storage, ids)

        async def settle(part: list[TimerId]) -> None:
            assert all(await storage.settle([completed(timer_id) for timer_id in part], SOON))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(settle, ids[::-1])
            nursery.start_soon(storage.sweep, ALICE, None, SOON)
            nursery.start_soon(settle, ids)
        assert await due(storage) == []
