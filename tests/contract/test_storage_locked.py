"""Rows that somebody's open transaction locks: each costs itself alone."""

from __future__ import annotations

import pytest

from tests.contract.conftest import Stranger
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
    failed,
    given_back,
    seconds,
)
from timer_trio.domain.errors import ContentionError
from timer_trio.domain.settlement import Settlement
from timer_trio.domain.timer import Claim, ReplicaId, Status, TimerId
from timer_trio.storage import ClaimReply, Looked, Storage, Swept


async def skip(
    storage: Storage,
    timer_ids: list[TimerId],
    replica: ReplicaId = ALICE,
    claim: Claim = FIRST,
) -> ClaimReply:
    return await storage.claim(replica, claim, timer_ids, SOON, SOON, skip_locked=True)


async def test_a_claim_of_a_locked_row_takes_nothing_of_its_batch(
    storage: Storage, stranger: Stranger
) -> None:
    await storage.join(ALICE, NOW)
    locked, free = await created(storage), await created(storage)
    stranger.lock([locked])
    with pytest.raises(ContentionError):
        await ask(storage, [locked, free])
    assert await due(storage) == sorted([locked, free])


async def test_a_claim_that_skips_takes_what_is_free_and_names_the_rest(
    storage: Storage, stranger: Stranger
) -> None:
    await storage.join(ALICE, NOW)
    locked, free, ended = [await created(storage) for _ in range(3)]
    later, locked_later = [await created(storage, execute_at=LATER) for _ in range(2)]
    await storage.cancel(ended, NOW)
    stranger.lock([locked, locked_later, ended])
    for _ in range(2):  # the same answer again
        reply = await skip(storage, [locked, free, ended, later, locked_later])
        assert [timer.id for timer in reply.claimed] == [free]
        assert [timer.id for timer in reply.moved] == [later]
        assert sorted(reply.locked) == sorted([locked, locked_later])
    stranger.unlock()
    assert [timer.id for timer in (await skip(storage, [locked])).claimed] == [locked]


async def test_a_claim_that_skips_names_what_it_took_before_it_was_locked(
    storage: Storage, stranger: Stranger
) -> None:
    await storage.join(ALICE, NOW)
    await storage.join(BOB, NOW)
    ours, bobs = await created(storage), await created(storage)
    await ask(storage, [ours])
    await ask(storage, [bobs], BOB, SECOND)
    stranger.lock([ours, bobs])
    reply = await skip(storage, [ours, bobs])
    assert (list(reply.claimed), list(reply.locked)) == ([], [ours])
    looked = await storage.look_again(ALICE, {ours: FIRST, bobs: FIRST})
    assert looked == Looked(free=[], held=[], locked=[ours])
    stranger.unlock()
    looked = await storage.look_again(ALICE, {ours: FIRST, bobs: FIRST})
    assert looked == Looked(free=[], held=[ours], locked=[])
    assert [timer.id for timer in (await skip(storage, [ours, bobs])).claimed] == [ours]


async def test_a_look_tells_what_is_free_and_takes_nothing(
    storage: Storage, stranger: Stranger
) -> None:
    await storage.join(ALICE, NOW)
    locked, free, ended, later = [await created(storage) for _ in range(4)]
    await storage.update(later, {"execute_at": LATER}, NOW)
    await storage.cancel(ended, NOW)
    stranger.lock([locked, ended])
    asked = dict.fromkeys([locked, free, ended, later], FIRST)
    looked = await storage.look_again(ALICE, asked)
    assert sorted(timer[:2] for timer in looked.free) == sorted([(NOW, free), (LATER, later)])
    assert list(looked.locked) == [locked]
    assert not looked.held
    assert (await storage.get(free)).status is Status.PENDING
    assert await storage.look_again(ALICE, {}) == Looked(free=[], held=[], locked=[])


async def test_a_settle_of_a_locked_row_writes_nothing_of_its_group(
    storage: Storage, stranger: Stranger
) -> None:
    locked, free = await created(storage), await created(storage)
    await storage.join(ALICE, NOW)
    await ask(storage, [locked, free])
    stranger.lock([locked])
    with pytest.raises(ContentionError):
        await storage.settle([completed(locked), completed(free)], SOON)
    assert (await storage.get(free)).status is Status.EXECUTING


async def test_a_settle_that_skips_writes_what_is_free_and_names_the_rest(
    storage: Storage, stranger: Stranger
) -> None:
    locked, free, superseded, back, gone = [await created(storage) for _ in range(5)]
    await storage.join(ALICE, NOW)
    await ask(storage, [locked, free, superseded, back])
    await storage.settle([given_back(back)], SOON)
    settlements: list[Settlement] = [
        completed(locked),
        completed(free),
        completed(superseded, SECOND),
        given_back(back),
        failed(back),
        completed(gone),
    ]
    stranger.lock([locked, superseded, back])
    for _ in range(2):
        answers = await storage.settle(settlements, SOON, skip_locked=True)
        assert answers == [None, True, False, None, None, False]
    assert (await storage.get(free)).status is Status.COMPLETED
    assert (await storage.get(locked)).status is Status.EXECUTING
    stranger.unlock()
    answers = await storage.settle(settlements, SOON, skip_locked=True)
    assert answers == [True, True, False, True, True, False]
    assert (await storage.get(locked)).status is Status.COMPLETED


async def test_a_sweep_frees_what_is_not_locked_and_the_rest_later(
    storage: Storage, stranger: Stranger
) -> None:
    locked, free, bobs = [await created(storage) for _ in range(3)]
    await claimed(storage, bobs, BOB, SECOND)
    await storage.join(ALICE, NOW)
    await ask(storage, [locked, free])
    stranger.lock([locked])
    assert await storage.sweep(ALICE, 0, SOON) == Swept(freed=1, left=1)
    assert ALICE not in (await storage.beat(BOB)).counters
    assert await due(storage) == [free]
    assert await storage.sweep(None, None, SOON) == Swept(freed=0, left=1)
    stranger.unlock()
    then = SOON + seconds(3)
    assert await storage.sweep(None, None, then) == Swept(freed=1)
    assert await due(storage) == [free, locked]
    assert await storage.sweep(None, None, then) == Swept(freed=0)
    assert (await storage.get(bobs)).status is Status.EXECUTING


async def test_whoever_is_swept_next_takes_along_what_an_earlier_sweep_left(
    storage: Storage, stranger: Stranger
) -> None:
    locked = await created(storage)
    await claimed(storage, locked, ALICE)
    await storage.join(BOB, NOW)
    stranger.lock([locked])
    await storage.sweep(ALICE, None, SOON)
    stranger.unlock()
    assert await storage.sweep(BOB, None, SOON) == Swept(freed=1)
    assert await due(storage) == [locked]


async def test_a_change_of_a_locked_row_is_contention_and_of_another_is_not(
    storage: Storage, stranger: Stranger
) -> None:
    locked, free = await created(storage), await created(storage)
    stranger.lock([locked])
    with pytest.raises(ContentionError):
        await storage.cancel(locked, NOW)
    with pytest.raises(ContentionError):
        await storage.update(locked, {"timeout_s": 1.0}, NOW)
    await storage.update(free, {"timeout_s": 1.0}, NOW)
    stranger.unlock()
    await storage.cancel(locked, NOW)
