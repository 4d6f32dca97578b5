"""An ended timer lives again, and nothing of what it was before gets in the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.contract.conftest import Stranger
from tests.contract.timers import (
    ALICE,
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
from timer_trio.domain.answer import KeptAnswer, StoreResponse
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.errors import ContentionError, NotEndedError, TimerNotFoundError
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.settlement import Retry
from timer_trio.domain.timer import Claim, Status, TimerId
from timer_trio.storage import Storage

AGAIN = SOON + seconds(60)
THIRD = Claim(2**62 + 3)

Ending = Callable[[Storage, TimerId], Awaitable[None]]


async def ends_completed(storage: Storage, timer_id: TimerId) -> None:
    await claimed(storage, timer_id)
    await storage.settle([completed(timer_id)], SOON)


async def ends_failed(storage: Storage, timer_id: TimerId) -> None:
    await claimed(storage, timer_id)
    await storage.settle([replace(failed(timer_id), failures=3)], SOON)


async def ends_canceled(storage: Storage, timer_id: TimerId) -> None:
    await storage.cancel(timer_id, SOON)


async def ends_canceled_after_it_was_given_back(storage: Storage, timer_id: TimerId) -> None:
    await claimed(storage, timer_id)
    await storage.settle([given_back(timer_id)], SOON)
    await storage.cancel(timer_id, SOON)


async def retries(storage: Storage, timer_id: TimerId) -> None:
    retry = Retry(
        timer_id=timer_id,
        claim=FIRST,
        due_at=LATER,
        executed_at=SOON,
        last_error="HTTP 503 from https://example.com",
        http_status=503,
        duration_ms=1,
        failures=1,
        first_due_at=NOW,
        attempts=(),
    )
    await claimed(storage, timer_id)
    await storage.settle([retry], SOON)


async def ends_canceled_between_attempts(storage: Storage, timer_id: TimerId) -> None:
    await retries(storage, timer_id)
    await storage.cancel(timer_id, SOON)


async def ends_unknown(storage: Storage, timer_id: TimerId) -> None:
    """It has killed a replica twice, and is not sent a third time."""
    for claim in (SECOND, Claim(2**62 + 4)):
        await claimed(storage, timer_id, claim=claim)
        await storage.sweep(ALICE, None, NOW)
    await claimed(storage, timer_id)
    await storage.settle([failed(timer_id, is_begun=False)], SOON)


ENDS = pytest.mark.parametrize(
    "end",
    [
        ends_completed,
        ends_failed,
        ends_canceled,
        ends_canceled_after_it_was_given_back,
        ends_canceled_between_attempts,
        ends_unknown,
    ],
)


@ENDS
async def test_each_kind_of_end_becomes_pending_and_due(storage: Storage, end: Ending) -> None:
    timer_id = await created(storage, metadata={"a": 1})
    await end(storage, timer_id)
    ended = await storage.get(timer_id)
    summary = await storage.redrive(timer_id, AGAIN, LATER)
    timer = await storage.get(timer_id)
    assert timer == replace(
        ended,
        status=Status.PENDING,
        spec=replace(ended.spec, execute_at=AGAIN),
        updated_at=LATER,
    )
    assert summary is not None
    assert (summary.id, summary.status, summary.execute_at) == (timer_id, Status.PENDING, AGAIN)
    assert await due(storage, AGAIN - seconds(1)) == []
    assert await due(storage, AGAIN) == [timer_id]


@ENDS
async def test_redriven_one_has_a_fresh_budget_and_its_numbers_go_on(
    storage: Storage, end: Ending
) -> None:
    timer_id = await created(storage, retry=RetryPolicy(give_up_after_s=60.0))
    await end(storage, timer_id)
    before = (await storage.get(timer_id)).attempt
    await storage.join(ALICE, NOW)
    await storage.redrive(timer_id, AGAIN, LATER)
    (timer,) = (await ask(storage, [timer_id], claim=THIRD, now=LATER)).claimed
    assert (timer.attempt, timer.unknown_attempts) == (before + 1, 0)
    assert (timer.failures, timer.next_attempt_at, timer.first_due_at) == (0, None, None)
    assert timer.requested_at == timer.expected_at == LATER


@ENDS
async def test_late_copies_of_the_last_claim_and_its_settlement_change_nothing(
    storage: Storage, end: Ending
) -> None:
    timer_id = await created(storage)
    await storage.join(ALICE, NOW)
    await end(storage, timer_id)
    has_claim = end is not ends_canceled
    await storage.redrive(timer_id, AGAIN, LATER)
    redriven = await storage.get(timer_id)
    if has_claim:
        assert (await ask(storage, [timer_id], claim=FIRST, now=AGAIN)).claimed == []
    assert await storage.settle([completed(timer_id)], LATER) == [has_claim]
    assert await storage.settle([failed(timer_id)], LATER) == [has_claim]
    assert await storage.settle([given_back(timer_id)], LATER) == [has_claim]
    assert await storage.get(timer_id) == redriven
    assert await due(storage, AGAIN) == [timer_id]


async def test_what_has_not_ended_is_left_alone(storage: Storage) -> None:
    pending, executing, retrying = [await created(storage) for _ in range(3)]
    await claimed(storage, executing)
    await retries(storage, retrying)
    for timer_id, status in (
        (pending, Status.PENDING),
        (executing, Status.EXECUTING),
        (retrying, Status.RETRYING),
    ):
        before = await storage.get(timer_id)
        with pytest.raises(NotEndedError) as refused:
            await storage.redrive(timer_id, AGAIN, LATER)
        assert refused.value.status is status
        assert await storage.get(timer_id) == before


async def test_redriven_one_is_not_redriven_again(storage: Storage) -> None:
    timer_id = await created(storage)
    await ends_completed(storage, timer_id)
    await storage.redrive(timer_id, AGAIN, LATER)
    with pytest.raises(NotEndedError):
        await storage.redrive(timer_id, AGAIN, LATER)
    assert len(await storage.attempts(timer_id)) == 1


async def test_nothing_is_redriven_that_is_not_there(storage: Storage) -> None:
    timer_id = await created(storage)
    await storage.cancel(timer_id, NOW)
    await storage.prune(LATER, None, 10)
    with pytest.raises(TimerNotFoundError):
        await storage.redrive(timer_id, AGAIN, LATER)


async def test_delivered_first_attempt_gets_a_row_of_its_own(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([replace(completed(timer_id), http_status=204, duration_ms=7)], SOON)
    assert await storage.attempts(timer_id) == []
    await storage.redrive(timer_id, AGAIN, LATER)
    (record,) = await storage.attempts(timer_id)
    assert record == AttemptRecord(
        attempt=1,
        started_at=SOON,
        ended_at=SOON + seconds(0.007),
        outcome="delivered",
        http_status=204,
    )
    assert record.duration_ms == 7


async def test_attempt_whose_answer_is_kept_gets_no_second_row(storage: Storage) -> None:
    timer_id = await created(storage, store_response=StoreResponse.ALL)
    answer = KeptAnswer(headers=(("a", "b"),), body=b"ok", is_truncated=False)
    kept = AttemptRecord(
        attempt=1,
        started_at=SOON,
        ended_at=SOON,
        outcome="delivered",
        http_status=200,
        answer=answer,
    )
    await claimed(storage, timer_id)
    await storage.settle([replace(completed(timer_id), attempts=(kept,))], SOON)
    await storage.redrive(timer_id, AGAIN, LATER)
    assert await storage.attempts(timer_id) == [kept]


@pytest.mark.parametrize("end", [ends_failed, ends_canceled, ends_canceled_between_attempts])
async def test_what_was_not_delivered_leaves_no_row(storage: Storage, end: Ending) -> None:
    timer_id = await created(storage)
    await end(storage, timer_id)
    await storage.redrive(timer_id, AGAIN, LATER)
    assert await storage.attempts(timer_id) == []


async def test_redrive_of_a_later_delivered_attempt_leaves_no_row(storage: Storage) -> None:
    timer_id = await created(storage)
    await ends_completed(storage, timer_id)
    await storage.redrive(timer_id, AGAIN, LATER)
    await ask(storage, [timer_id], claim=SECOND, now=AGAIN)
    await storage.settle([completed(timer_id, SECOND)], LATER)
    await storage.redrive(timer_id, AGAIN, LATER)
    assert [record.attempt for record in await storage.attempts(timer_id)] == [1]


async def test_locked_row_is_not_waited_for_long(storage: Storage, stranger: Stranger) -> None:
    timer_id = await created(storage)
    await storage.cancel(timer_id, NOW)
    stranger.lock([timer_id])
    with pytest.raises(ContentionError):
        await storage.redrive(timer_id, AGAIN, LATER)
    stranger.unlock()
    await storage.redrive(timer_id, AGAIN, LATER)
