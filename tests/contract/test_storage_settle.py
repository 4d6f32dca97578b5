from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from tests.contract.timers import (
    ALICE,
    BOB,
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
    given_back_unknown,
    new_timer,
    record,
    retried,
    seconds,
)
from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.errors import RowRefusedError
from timer_trio.domain.settlement import Release, Settlement
from timer_trio.domain.timer import Claim, Status, TimerId
from timer_trio.storage import Storage

THEN = SOON + seconds(1)


async def claimed_after_crash(storage: Storage) -> TimerId:
    """Make a timer whose first attempt has an unknown outcome, and whose second is Bob's."""
    timer_id = await created(storage)
    await claimed(storage, timer_id, ALICE)
    await storage.sweep(ALICE, None, SOON)
    await claimed(storage, timer_id, BOB, SECOND)
    return timer_id


async def test_a_completed_timer_says_when_it_was_sent(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    assert await storage.settle([completed(timer_id, sent_at=SOON)], THEN) == [True]
    timer = await storage.get(timer_id)
    assert (timer.status, timer.executed_at) == (Status.COMPLETED, SOON)
    assert (timer.updated_at, timer.attempt, timer.last_error) == (THEN, 1, None)
    assert await due(storage) == []


async def test_a_failed_timer_says_why(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    assert await storage.settle([failed(timer_id)], THEN) == [True]
    timer = await storage.get(timer_id)
    assert (timer.status, timer.executed_at, timer.attempt) == (Status.FAILED, SOON, 1)
    assert timer.last_error == "HTTP 503 from https://example.com"


async def test_what_was_not_begun_does_not_count(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    assert await storage.settle([failed(timer_id, is_begun=False)], THEN) == [True]
    timer = await storage.get(timer_id)
    assert (timer.status, timer.executed_at, timer.attempt) == (Status.FAILED, None, 0)


@pytest.mark.parametrize("settlement", [completed, failed, given_back, retried])
async def test_a_repeated_settle_changes_nothing_more(
    storage: Storage, settlement: Callable[[TimerId], Settlement]
) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([settlement(timer_id)], SOON)
    before = await storage.get(timer_id)
    assert await storage.settle([settlement(timer_id)], THEN) == [True]
    assert await storage.get(timer_id) == before


async def test_a_settle_without_the_claim_changes_nothing(storage: Storage) -> None:
    timer_id, free = await created(storage), await created(storage)
    await claimed(storage, timer_id)
    before = await storage.get(timer_id)
    strangers = [completed(timer_id, SECOND), completed(free), completed(new_timer().id)]
    assert await storage.settle(strangers, THEN) == [False, False, False]
    assert await storage.get(timer_id) == before
    assert (await storage.get(free)).status is Status.PENDING


async def test_a_batch_is_answered_in_its_order(storage: Storage) -> None:
    ids = [await created(storage) for _ in range(4)]
    await storage.join(ALICE, NOW)
    await ask(storage, ids)
    batch: list[Settlement] = [
        completed(ids[2]),
        completed(ids[0], SECOND),
        failed(ids[1]),
        given_back(ids[3]),
    ]
    assert await storage.settle(batch, SOON) == [True, False, True, True]
    statuses = [(await storage.get(timer_id)).status for timer_id in ids]
    assert statuses == [Status.EXECUTING, Status.FAILED, Status.COMPLETED, Status.PENDING]


async def test_settling_nothing_answers_nothing(storage: Storage) -> None:
    assert await storage.settle([], SOON) == []


async def test_one_bad_row_keeps_the_whole_batch_from_being_settled(storage: Storage) -> None:
    good, bad = await created(storage), await created(storage)
    await storage.join(ALICE, NOW)
    await ask(storage, [good, bad])
    refused = replace(failed(bad), last_error="\0")
    with pytest.raises(RowRefusedError):
        await storage.settle([completed(good), refused], SOON)
    assert (await storage.get(good)).status is Status.EXECUTING
    assert await storage.settle([completed(good)], SOON) == [True]


async def test_a_timer_given_back_was_never_sent(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    assert await storage.settle([given_back(timer_id)], THEN) == [True]
    timer = await storage.get(timer_id)
    assert (timer.status, timer.attempt, timer.executed_at) == (Status.PENDING, 0, None)
    assert await due(storage, NOW) == [timer_id]
    assert (await claimed(storage, timer_id, claim=SECOND)).attempt == 1


async def test_giving_back_does_not_make_an_earlier_attempt_known(storage: Storage) -> None:
    timer_id = await claimed_after_crash(storage)
    settlement = given_back_unknown(timer_id, SECOND, THEN)
    assert await storage.settle([settlement], THEN) == [True]
    timer = await storage.get(timer_id)
    assert (timer.status, timer.attempt) == (Status.EXECUTING, 1)
    assert await due(storage, THEN - seconds(0.1)) == []
    assert await due(storage, THEN) == [timer_id]
    (again,) = (await ask(storage, [timer_id], BOB, Claim(3), THEN)).claimed
    assert (again.attempt, again.unknown_attempts) == (2, 1)


async def test_giving_back_twice_does_not_make_it_pending(storage: Storage) -> None:
    timer_id = await claimed_after_crash(storage)
    settlement = given_back_unknown(timer_id, SECOND, THEN)
    await storage.settle([settlement], THEN)
    before = await storage.get(timer_id)
    assert await storage.settle([settlement], LATER) == [True]
    assert await storage.get(timer_id) == before
    assert await due(storage, THEN) == [timer_id]


async def test_giving_back_late_leaves_alone_what_others_did_since(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([given_back(timer_id)], SOON)
    await claimed(storage, timer_id, BOB, SECOND)
    assert await storage.settle([given_back(timer_id)], THEN) == [False]
    assert await storage.settle([completed(timer_id, SECOND)], THEN) == [True]
    assert (await storage.get(timer_id)).status is Status.COMPLETED


async def test_a_timer_given_back_does_not_end_under_that_claim(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([given_back(timer_id)], SOON)
    # As after a redrive: what that claim had to write is written.
    assert await storage.settle([completed(timer_id)], THEN) == [True]
    assert (await storage.get(timer_id)).status is Status.PENDING


async def test_a_late_outcome_settles_what_nobody_has_reclaimed(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.sweep(ALICE, None, SOON)
    assert await storage.settle([completed(timer_id)], THEN) == [True]
    assert (await storage.get(timer_id)).status is Status.COMPLETED
    assert await due(storage) == []


async def test_a_late_outcome_changes_nothing_once_reclaimed(storage: Storage) -> None:
    timer_id = await claimed_after_crash(storage)
    before = await storage.get(timer_id)
    assert await storage.settle([completed(timer_id)], THEN) == [False]
    assert await storage.get(timer_id) == before
    assert await storage.settle([failed(timer_id, SECOND)], THEN) == [True]


async def test_two_claims_of_one_timer_in_a_batch_are_told_apart(storage: Storage) -> None:
    timer_id = await claimed_after_crash(storage)
    batch: list[Settlement] = [failed(timer_id), completed(timer_id, SECOND)]
    assert await storage.settle(batch, THEN) == [False, True]
    assert (await storage.get(timer_id)).status is Status.COMPLETED


async def test_a_late_owner_that_never_sent_makes_it_pending_again(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.sweep(ALICE, None, SOON)
    assert await storage.settle([given_back(timer_id)], THEN) == [True]
    timer = await storage.get(timer_id)
    assert (timer.status, timer.attempt) == (Status.PENDING, 0)
    assert await due(storage, NOW) == [timer_id]


async def test_what_an_unknown_attempt_ended_as_is_counted_right(storage: Storage) -> None:
    timer_id = await claimed_after_crash(storage)
    await storage.settle([failed(timer_id, SECOND, is_begun=False)], THEN)
    timer = await storage.get(timer_id)
    assert (timer.status, timer.attempt, timer.executed_at) == (Status.FAILED, 1, None)


# Further attempts.


async def retrying(storage: Storage, due_at: datetime = THEN) -> TimerId:
    """Make a timer whose first attempt has failed, and whose second is due."""
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.settle([retried(timer_id, due_at=due_at, attempts=[record()])], SOON)
    return timer_id


async def test_a_retrying_timer_says_when_it_is_tried_again_and_why(storage: Storage) -> None:
    timer = await storage.get(await retrying(storage))
    assert (timer.status, timer.attempt, timer.next_attempt_at) == (Status.RETRYING, 1, THEN)
    assert (timer.executed_at, timer.updated_at) == (SOON, SOON)
    assert (timer.http_status, timer.duration_ms) == (503, 7)
    assert timer.last_error == "HTTP 503 from https://example.com"
    assert await due(storage, THEN - seconds(0.1)) == []
    assert await due(storage, THEN) == [timer.id]


async def test_a_further_attempt_is_claimed_with_what_its_end_is_decided_from(
    storage: Storage,
) -> None:
    timer_id = await retrying(storage)
    (again,) = (await ask(storage, [timer_id], claim=SECOND, now=THEN)).claimed
    assert (again.attempt, again.unknown_attempts, again.failures) == (2, 0, 1)
    assert (again.next_attempt_at, again.due_at, again.first_due_at) == (THEN, THEN, NOW)
    timer = await storage.get(timer_id)
    assert (timer.status, timer.next_attempt_at) == (Status.EXECUTING, None)


async def test_a_retry_that_comes_again_takes_nothing_of_what_came_since(storage: Storage) -> None:
    timer_id = await retrying(storage)
    first = retried(timer_id, due_at=THEN, attempts=[record()])
    assert await storage.settle([first], THEN) == [True]
    assert await storage.attempts(timer_id) == [record()]
    await ask(storage, [timer_id], claim=SECOND, now=THEN)
    before = await storage.get(timer_id)
    assert await storage.settle([first, failed(timer_id)], LATER) == [False, False]
    assert await storage.get(timer_id) == before
    assert await storage.attempts(timer_id) == [record()]


async def test_a_claim_that_comes_late_does_not_take_the_retry_of_its_attempt(
    storage: Storage,
) -> None:
    timer_id = await retrying(storage)
    reply = await ask(storage, [timer_id], now=LATER)
    assert not reply.claimed
    assert (await storage.get(timer_id)).status is Status.RETRYING
    assert await due(storage, THEN) == [timer_id]


async def test_a_retry_that_was_not_sent_is_retrying_again(storage: Storage) -> None:
    timer_id = await retrying(storage)
    before = await storage.get(timer_id)
    await ask(storage, [timer_id], claim=SECOND, now=THEN)
    back = Release(timer_id=timer_id, claim=SECOND, status=Status.RETRYING, due_at=THEN)
    assert await storage.settle([back], THEN) == [True]
    after = await storage.get(timer_id)
    assert after == replace(before, updated_at=THEN)
    assert await due(storage, THEN) == [timer_id]
    assert await storage.settle([back], LATER) == [True]
    assert await storage.get(timer_id) == after
    (again,) = (await ask(storage, [timer_id], claim=Claim(3), now=THEN)).claimed
    assert (again.attempt, again.failures, again.next_attempt_at) == (2, 1, THEN)


async def test_a_retry_whose_replica_died_is_of_unknown_outcome(storage: Storage) -> None:
    timer_id = await retrying(storage)
    await ask(storage, [timer_id], claim=SECOND, now=THEN)
    await storage.sweep(ALICE, None, LATER)
    assert (await storage.get(timer_id)).status is Status.EXECUTING
    await storage.join(BOB, NOW)
    (again,) = (await ask(storage, [timer_id], BOB, Claim(3), LATER)).claimed
    assert (again.attempt, again.unknown_attempts, again.failures) == (3, 1, 1)
    assert (again.next_attempt_at, again.first_due_at) == (THEN, NOW)
    await storage.settle([given_back_unknown(timer_id, Claim(3), LATER)], LATER)
    (again,) = (await ask(storage, [timer_id], BOB, Claim(4), LATER)).claimed
    assert (again.attempt, again.unknown_attempts, again.next_attempt_at) == (3, 1, THEN)


async def test_a_late_retry_settles_what_nobody_has_reclaimed(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    await storage.sweep(ALICE, None, SOON)
    assert await storage.settle([retried(timer_id, due_at=LATER)], THEN) == [True]
    assert (await storage.get(timer_id)).status is Status.RETRYING
    assert await due(storage, THEN) == []
    assert await due(storage, LATER) == [timer_id]


async def test_attempts_are_listed_newest_first(storage: Storage) -> None:
    timer_id = await retrying(storage)
    await ask(storage, [timer_id], claim=SECOND, now=THEN)
    unknown = AttemptRecord(attempt=2, started_at=None, ended_at=LATER, outcome="unknown")
    told = (unknown, record(3)._replace(outcome="delivered", http_status=200, error=None))
    assert await storage.settle([replace(completed(timer_id, SECOND), attempts=told)], LATER)
    assert await storage.attempts(timer_id) == [*reversed(told), record()]
    assert await storage.attempts(new_timer().id) == []


@pytest.mark.parametrize(
    "answer",
    [
        KeptAnswer(headers=(), body=b"", is_truncated=False),
        KeptAnswer(headers=(), body=b"\0", is_truncated=True),
        KeptAnswer(headers=(), body=b"caf\xc3\xa9 \xff\xfe \xed\xa0\x80 \xc3", is_truncated=False),
        KeptAnswer(headers=(), body=bytes(range(256)) * 16, is_truncated=True),
        KeptAnswer(
            headers=(("Server", "caf\xe9 \x80\xff"), ("X-Quote", '"\\\t'), ("X-Quote", "")),
            body=b'{"a": "\\u0000"}',
            is_truncated=False,
        ),
    ],
)
async def test_an_answer_is_kept_as_it_came(storage: Storage, answer: KeptAnswer) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    kept = record(answer=answer)
    assert await storage.settle([retried(timer_id, attempts=[kept])], SOON) == [True]
    assert await storage.attempts(timer_id) == [kept]


async def test_words_are_kept_as_they_are(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    words = 'HTTP 503 from "sch\xf6n\\\u65e5 \U0001f642"'
    kept = record()._replace(error=words)
    settlement = replace(retried(timer_id, attempts=[kept]), last_error=words)
    assert await storage.settle([settlement], SOON) == [True]
    assert (await storage.get(timer_id)).last_error == words
    assert await storage.attempts(timer_id) == [kept]


async def test_what_was_refused_leaves_no_attempts_behind(storage: Storage) -> None:
    timer_id = await created(storage)
    await claimed(storage, timer_id)
    refused = replace(retried(timer_id, attempts=[record()]), last_error="\0")
    with pytest.raises(RowRefusedError):
        await storage.settle([refused], SOON)
    assert await storage.attempts(timer_id) == []
    assert (await storage.get(timer_id)).status is Status.EXECUTING
