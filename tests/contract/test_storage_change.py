from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.contract.timers import (
    ALICE,
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
    from_the_start,
    given_back,
    new_timer,
    retried,
    seconds,
    spec,
)
from timer_trio.callback_url import read_url
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.errors import NotPendingError, RowRefusedError, TimerNotFoundError
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import Delivery, JsonText, Method, SpecChange, Status, TimerId
from timer_trio.storage import Storage
from timer_trio.storage.columns import changed

THEN = SOON + seconds(1)
CHANGES: list[SpecChange] = [
    {"execute_at": LATER},
    {"callback_url": read_url("http://example.org:81/other")},
    {"callback_method": Method.PUT},
    {"callback_headers": {"X-A": "1"}},
    {"callback_payload": JsonText("[1]")},
    {"callback_payload": None},
    {"metadata": {"a": 1}},
    {"metadata": None},
    {"timeout_s": 1.5},
    {"delivery": Delivery.AT_MOST_ONCE},
    {"misfire_grace_s": None},
    {"retry": RetryPolicy(delays=(0.5, 2.0), give_up_after_s=9.0)},
    {"retry": None},
    {"store_response": StoreResponse.ALL},
    {"signing": Signing.NONE},
]


@pytest.mark.parametrize("change", CHANGES, ids=",".join)
async def test_update_changes_what_it_names_and_nothing_else(
    storage: Storage, change: SpecChange
) -> None:
    timer_id = await created(storage, metadata={"b": 2})
    before = await storage.get(timer_id)
    summary = await storage.update(timer_id, change, SOON)
    after = await storage.get(timer_id)
    assert after.spec == changed(spec(metadata={"b": 2}), change)
    assert after.updated_at == SOON
    assert after.created_at == before.created_at
    assert after.status is summary.status is Status.PENDING
    assert summary.execute_at == after.spec.execute_at
    assert summary.callback_url == after.spec.callback.url.text


async def test_updated_time_is_when_it_is_due(storage: Storage) -> None:
    timer_id = await created(storage)
    await storage.update(timer_id, {"execute_at": LATER}, SOON)
    assert await due(storage, SOON) == []
    assert await due(storage, LATER) == [timer_id]


async def test_updated_url_changes_the_destination_too(storage: Storage) -> None:
    timer_id = await created(storage)
    await storage.update(timer_id, {"callback_url": read_url("http://example.org/x")}, SOON)
    (timer,) = await storage.load([from_the_start()], LATER, 10, {})
    assert timer.lane.destination == "http://example.org:80"


async def test_lateness_counts_anew_from_an_update(storage: Storage) -> None:
    timer_id = await created(storage)
    assert (await storage.get(timer_id)).updated_at == NOW
    await storage.update(timer_id, {"timeout_s": 1.0}, SOON)
    assert (await claimed(storage, timer_id)).requested_at == SOON


async def test_what_is_claimed_is_what_was_updated_last(storage: Storage) -> None:
    timer_id = await created(storage)
    await storage.update(timer_id, {"callback_payload": JsonText("1")}, NOW)
    await storage.update(timer_id, {"callback_payload": JsonText("2")}, NOW)
    assert (await claimed(storage, timer_id)).spec.callback.payload == "2"


async def test_a_refused_update_changes_nothing(storage: Storage) -> None:
    timer_id = await created(storage)
    before = await storage.get(timer_id)
    with pytest.raises(RowRefusedError):
        await storage.update(timer_id, {"timeout_s": 1.0, "metadata": {"a": "\0"}}, SOON)
    assert await storage.get(timer_id) == before


async def test_canceled_timer_never_fires(storage: Storage) -> None:
    timer_id = await created(storage)
    summary = await storage.cancel(timer_id, SOON)
    assert summary.status is Status.CANCELED
    assert await due(storage) == []
    await storage.join(ALICE, NOW)
    reply = await ask(storage, [timer_id])
    assert not reply.claimed
    assert not reply.moved


async def test_canceling_again_has_the_same_answer(storage: Storage) -> None:
    timer_id = await created(storage)
    first = await storage.cancel(timer_id, SOON)
    before = await storage.get(timer_id)
    assert await storage.cancel(timer_id, LATER) == first
    assert await storage.get(timer_id) == before
    assert before.updated_at == SOON


async def test_a_timer_that_is_not_there_cannot_be_changed(storage: Storage) -> None:
    nobody = new_timer().id
    with pytest.raises(TimerNotFoundError):
        await storage.update(nobody, {"timeout_s": 1.0}, NOW)
    with pytest.raises(TimerNotFoundError):
        await storage.cancel(nobody, NOW)


async def retrying(storage: Storage) -> TimerId:
    timer_id = await executing(storage)
    await storage.settle([retried(timer_id, due_at=THEN)], SOON)
    return timer_id


async def test_updated_time_of_a_retrying_timer_is_that_of_its_next_attempt(
    storage: Storage,
) -> None:
    timer_id = await retrying(storage)
    summary = await storage.update(timer_id, {"execute_at": LATER}, THEN)
    assert (summary.status, summary.execute_at) == (Status.RETRYING, LATER)
    timer = await storage.get(timer_id)
    assert (timer.status, timer.next_attempt_at) == (Status.RETRYING, LATER)
    assert await due(storage, LATER - seconds(0.1)) == []
    (again,) = (await ask(storage, [timer_id], claim=SECOND, now=LATER)).claimed
    assert (again.due_at, again.expected_at) == (LATER, LATER)
    assert (again.attempt, again.failures, again.first_due_at) == (2, 1, NOW)


@pytest.mark.parametrize("change", CHANGES[1:], ids=",".join)
async def test_other_changes_of_a_retrying_timer_leave_its_next_attempt_when_it_was(
    storage: Storage, change: SpecChange
) -> None:
    timer_id = await retrying(storage)
    before = await storage.get(timer_id)
    await storage.update(timer_id, change, LATER)
    after = await storage.get(timer_id)
    assert after == replace(before, spec=changed(before.spec, change), updated_at=LATER)
    assert await due(storage, THEN) == [timer_id]
    (again,) = (await ask(storage, [timer_id], claim=SECOND, now=THEN)).claimed
    assert (again.due_at, again.requested_at, again.spec) == (THEN, LATER, after.spec)


async def test_canceled_retrying_timer_is_not_tried_again(storage: Storage) -> None:
    timer_id = await retrying(storage)
    before = await storage.get(timer_id)
    assert (await storage.cancel(timer_id, THEN)).status is Status.CANCELED
    after = await storage.get(timer_id)
    assert after == replace(before, status=Status.CANCELED, updated_at=THEN, next_attempt_at=None)
    assert await due(storage) == []
    reply = await ask(storage, [timer_id], claim=SECOND, now=LATER)
    assert not reply.claimed
    assert not reply.moved
    assert await storage.settle([retried(timer_id, due_at=THEN)], LATER) == [True]
    assert await storage.get(timer_id) == after
    assert (await storage.cancel(timer_id, LATER)).status is Status.CANCELED


async def test_retry_that_comes_again_does_not_undo_an_update(storage: Storage) -> None:
    timer_id = await retrying(storage)
    await storage.update(timer_id, {"execute_at": LATER}, THEN)
    before = await storage.get(timer_id)
    assert await storage.settle([retried(timer_id, due_at=THEN)], LATER) == [True]
    assert await storage.get(timer_id) == before


async def test_time_of_a_timer_that_was_given_back_is_no_further_attempt(storage: Storage) -> None:
    timer_id = await executing(storage)
    await storage.settle([given_back(timer_id)], SOON)
    await storage.update(timer_id, {"execute_at": LATER}, SOON)
    (again,) = (await ask(storage, [timer_id], claim=SECOND, now=LATER)).claimed
    assert (again.next_attempt_at, again.due_at) == (None, LATER)


async def executing(storage: Storage) -> TimerId:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    return timer_id


async def swept(storage: Storage) -> TimerId:
    timer_id = await executing(storage)
    await storage.sweep(ALICE, None, SOON)
    return timer_id


async def ended_well(storage: Storage) -> TimerId:
    timer_id = await executing(storage)
    await storage.settle([completed(timer_id)], SOON)
    return timer_id


async def ended_badly(storage: Storage) -> TimerId:
    timer_id = await executing(storage)
    await storage.settle([failed(timer_id)], SOON)
    return timer_id


@pytest.mark.parametrize(
    ("history", "status"),
    [
        (executing, Status.EXECUTING),
        (swept, Status.EXECUTING),
        (ended_well, Status.COMPLETED),
        (ended_badly, Status.FAILED),
    ],
)
async def test_only_a_pending_timer_can_be_changed(
    storage: Storage, history: Callable[[Storage], Awaitable[TimerId]], status: Status
) -> None:
    timer_id = await history(storage)
    before = await storage.get(timer_id)
    with pytest.raises(NotPendingError) as update:
        await storage.update(timer_id, {"timeout_s": 1.0}, LATER)
    with pytest.raises(NotPendingError) as cancel:
        await storage.cancel(timer_id, LATER)
    assert update.value.status is cancel.value.status is status
    assert await storage.get(timer_id) == before


async def test_what_forbids_a_change_is_the_status_whatever_it_holds(storage: Storage) -> None:
    timer_id = await created(storage)
    await storage.cancel(timer_id, NOW)
    with pytest.raises(NotPendingError):
        await storage.update(timer_id, {"callback_payload": JsonText('"\0"')}, LATER)


async def test_a_canceled_timer_cannot_be_updated(storage: Storage) -> None:
    timer_id = await created(storage)
    await storage.cancel(timer_id, NOW)
    with pytest.raises(NotPendingError) as refusal:
        await storage.update(timer_id, {"timeout_s": 1.0}, NOW)
    assert refusal.value.status is Status.CANCELED


async def test_a_timer_given_back_can_be_changed_again(storage: Storage) -> None:
    timer_id = await executing(storage)
    await storage.settle([given_back(timer_id)], SOON)
    await storage.update(timer_id, {"execute_at": LATER}, SOON)
    assert await due(storage) == [timer_id]
    assert (await storage.cancel(timer_id, SOON)).status is Status.CANCELED
