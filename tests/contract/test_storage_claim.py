from __future__ import annotations

import pytest

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
    given_back,
    new_timer,
    retried,
    seconds,
)
from timer_trio.domain.errors import ReplicaGoneError
from timer_trio.domain.timer import Claim, ClaimedTimer, DueTimer, Status
from timer_trio.storage import Storage


async def test_a_claim_answers_with_what_to_send(storage: Storage) -> None:
    timer = new_timer(callback_headers={"A": "b"}, metadata={"c": 1}, misfire_grace_s=None)
    await storage.create([timer], NOW)
    assert await claimed(storage, timer.id) == ClaimedTimer(
        id=timer.id, claim=FIRST, attempt=1, requested_at=NOW, spec=timer.spec
    )
    shown = await storage.get(timer.id)
    assert (shown.status, shown.attempt, shown.updated_at) == (Status.EXECUTING, 1, SOON)
    assert await due(storage) == []


async def test_nobody_else_gets_a_claimed_timer(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.join(BOB, NOW)
    for replica, claim in ((ALICE, SECOND), (BOB, SECOND), (BOB, FIRST)):
        reply = await ask(storage, [timer_id], replica, claim)
        assert not reply.claimed
        assert not reply.moved


async def test_a_repeated_claim_has_the_same_answer(storage: Storage) -> None:
    ids = [await created(storage) for _ in range(3)]
    ids.append(await created(storage, execute_at=LATER))
    await storage.join(ALICE, NOW)
    first = await ask(storage, ids)
    before = [await storage.get(timer_id) for timer_id in ids]
    again = await ask(storage, ids, now=SOON + seconds(0.5))
    assert {timer.id: timer for timer in again.claimed} == {
        timer.id: timer for timer in first.claimed
    }
    assert again.moved == first.moved
    assert [await storage.get(timer_id) for timer_id in ids] == before


async def test_a_repeated_claim_of_a_further_attempt_has_the_same_answer(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([retried(timer_id, due_at=SOON)], SOON)
    first = await ask(storage, [timer_id], claim=SECOND)
    (timer,) = first.claimed
    assert (timer.attempt, timer.failures, timer.next_attempt_at) == (2, 1, SOON)
    assert await ask(storage, [timer_id], claim=SECOND) == first


async def test_a_further_attempt_that_is_due_later_is_named_with_its_time(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([retried(timer_id, due_at=LATER)], SOON)
    (moved,) = (await ask(storage, [timer_id], claim=SECOND)).moved
    assert (moved.id, moved.due_at) == (timer_id, LATER)
    assert (await storage.get(timer_id)).status is Status.RETRYING


async def test_a_repeated_claim_does_not_bring_back_what_has_ended(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([completed(timer_id)], SOON)
    assert not (await ask(storage, [timer_id])).claimed


async def test_a_claim_that_comes_late_does_not_take_what_it_gave_back(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([given_back(timer_id)], SOON)
    assert not (await ask(storage, [timer_id])).claimed
    assert await due(storage) == [timer_id]
    assert len((await ask(storage, [timer_id], claim=SECOND)).claimed) == 1


async def test_what_is_due_later_is_named_with_its_time(storage: Storage) -> None:
    timer_id = await created(storage, execute_at=LATER)
    await storage.join(ALICE, NOW)
    reply = await ask(storage, [timer_id])
    assert reply.moved == [DueTimer(LATER, timer_id, reply.moved[0].lane)]
    assert reply.moved[0].lane == ("https://example.com:443", 0)
    assert not reply.claimed
    assert (await storage.get(timer_id)).status is Status.PENDING


async def test_what_is_due_just_then_is_claimed(storage: Storage) -> None:
    timer_id = await created(storage, execute_at=SOON)
    await storage.join(ALICE, NOW)
    assert len((await ask(storage, [timer_id], now=SOON)).claimed) == 1


async def test_a_claim_may_reach_ahead_of_now(storage: Storage) -> None:
    timer_id = await created(storage, execute_at=SOON)
    await storage.join(ALICE, NOW)
    reply = await storage.claim(ALICE, FIRST, [timer_id], SOON, NOW)
    assert len(reply.claimed) == 1
    assert (await storage.get(timer_id)).updated_at == NOW


async def test_a_batch_comes_back_as_far_as_it_can(storage: Storage) -> None:
    good = [await created(storage) for _ in range(5)]
    canceled, moved = await created(storage), await created(storage, execute_at=LATER)
    await storage.cancel(canceled, NOW)
    await storage.join(ALICE, NOW)
    reply = await ask(storage, [*good, canceled, moved, new_timer().id, good[0]])
    assert sorted(timer.id for timer in reply.claimed) == sorted(good)
    assert [timer.id for timer in reply.moved] == [moved]
    assert not reply.unreadable


async def test_a_claim_of_nothing_takes_nothing(storage: Storage) -> None:
    await storage.join(ALICE, NOW)
    reply = await ask(storage, [])
    assert not reply.claimed
    assert not reply.moved


async def test_a_replica_without_a_row_claims_nothing(storage: Storage) -> None:
    timer_id = await created(storage)
    with pytest.raises(ReplicaGoneError):
        await ask(storage, [timer_id])
    with pytest.raises(ReplicaGoneError):
        await ask(storage, [])
    assert await due(storage) == [timer_id]


async def test_a_swept_replica_claims_nothing(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.sweep(ALICE, None, SOON)
    with pytest.raises(ReplicaGoneError):
        await ask(storage, [timer_id])
    assert await due(storage) == [timer_id]


async def test_each_reclaim_counts_an_attempt(storage: Storage) -> None:
    timer_id = await created(storage)
    for attempt in (1, 2, 3, 4):
        timer = await claimed(storage, timer_id, claim=Claim(attempt))
        assert (timer.attempt, timer.unknown_attempts) == (attempt, attempt - 1)
        await storage.sweep(ALICE, None, SOON)


async def test_a_small_and_the_greatest_claim_number_both_work(storage: Storage) -> None:
    for number in (1, 2**63 - 1):
        timer_id = await created(storage)
        assert (await claimed(storage, timer_id, claim=Claim(number))).claim == number
        assert await storage.settle([completed(timer_id, Claim(number))], SOON) == [True]
