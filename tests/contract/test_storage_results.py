"""The result of a timer is written with its ending: one for each, and none twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

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
    created,
    due,
    new_timer,
    seconds,
    spec,
)
from timer_trio.callback_url import read_url
from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.errors import IsResultError, RowRefusedError
from timer_trio.domain.outcome import CallbackOutcome, Delivered, Rejected, Unreachable
from timer_trio.domain.query import TimerQuery
from timer_trio.domain.result import result_id
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.settlement import (
    Completed,
    Failed,
    Settlement,
    given_back,
    judge,
    settlement_of,
)
from timer_trio.domain.timer import (
    Claim,
    ClaimedTimer,
    Delivery,
    Earlier,
    JsonText,
    ResultTarget,
    SpecChange,
    Status,
    Timer,
    TimerId,
    shard_of,
)
from timer_trio.storage import Storage

COMPLETED: Final = ResultTarget(url=read_url("https://example.org/done?a=1"), headers={"A": "b"})
FAILED: Final = ResultTarget(url=read_url("http://[2001:db8::1]:81/"), headers={})
THEN: Final = SOON + seconds(1)
ENDED_AT: Final = SOON + seconds(0.25)


async def told(storage: Storage, **changes: Any) -> TimerId:
    return await created(storage, on_completed=COMPLETED, on_failed=FAILED, **changes)


def ended(timer: ClaimedTimer, outcome: CallbackOutcome = Delivered(200)) -> Settlement:  # noqa: B008
    settlement = settlement_of(timer, outcome, SOON, ENDED_AT)
    assert settlement is not None
    return settlement


def missed(timer: ClaimedTimer) -> Failed:
    refused = judge(timer, timer.expected_at + seconds(301), waited_for_slot=False)
    assert isinstance(refused, Failed)
    return refused


async def results_of(storage: Storage, timer_id: TimerId) -> list[Timer]:
    page = await storage.list(TimerQuery())
    found = [summary.id for summary in page.timers if summary.parent_id == timer_id]
    return [await storage.get(each) for each in found]


def read(result: Timer) -> Any:
    assert result.spec.callback.payload is not None
    return json.loads(result.spec.callback.payload)


@pytest.mark.parametrize(
    ("outcome", "status", "target"),
    [
        (Delivered(204), Status.COMPLETED, COMPLETED),
        (Rejected(503), Status.FAILED, FAILED),
        (Unreachable("no such host"), Status.FAILED, FAILED),
    ],
)
async def test_a_result_is_a_timer_that_tells_how_another_has_ended(
    storage: Storage, outcome: CallbackOutcome, status: Status, target: ResultTarget
) -> None:
    timer_id = await told(storage, shard=77)
    settlement = ended(await claimed(storage, timer_id), outcome)
    assert await storage.settle([settlement], THEN) == [True]
    (result,) = await results_of(storage, timer_id)
    assert (result.status, result.parent_id, shard_of(result.id)) == (Status.PENDING, timer_id, 77)
    assert (result.created_at, result.updated_at, result.attempt) == (ENDED_AT, THEN, 0)
    assert (result.spec.execute_at, result.spec.retry) == (ENDED_AT, RetryPolicy())
    assert (result.spec.callback.url, result.spec.callback.headers) == (target.url, target.headers)
    assert result.spec.callback.delivery is Delivery.AT_LEAST_ONCE
    assert not result.spec.has_results
    assert await due(storage, shard=77) == [result.id]
    told_of = read(result)
    assert told_of["type"] == f"timer.{status}"
    assert (told_of["timer"]["id"], told_of["timer"]["status"]) == (str(timer_id), status)
    assert told_of["last_attempt"]["outcome"] == outcome.name


async def test_a_result_can_be_claimed_and_settled_like_any_timer(storage: Storage) -> None:
    timer_id = await told(storage)
    await storage.settle([ended(await claimed(storage, timer_id))], SOON)
    (result,) = await results_of(storage, timer_id)
    (timer,) = (await ask(storage, [result.id], claim=SECOND, now=LATER)).claimed
    assert timer.earlier is None
    await storage.settle([ended(timer)], THEN)
    assert (await storage.get(result.id)).status is Status.COMPLETED
    assert not await results_of(storage, result.id)


async def test_a_repeated_settle_writes_no_second_result(storage: Storage) -> None:
    timer_id = await told(storage)
    settlement = ended(await claimed(storage, timer_id))
    for now in (SOON, THEN, LATER):
        assert await storage.settle([settlement], now) == [True]
        assert await storage.settle([settlement], now, skip_locked=True) == [True]
    (result,) = await results_of(storage, timer_id)
    assert result.updated_at == SOON


async def test_a_result_that_is_there_already_stays_as_it_is(storage: Storage) -> None:
    timer_id = await told(storage)
    settlement = ended(await claimed(storage, timer_id))
    assert settlement.result is not None
    there = replace(settlement.result, spec=spec(callback_payload=JsonText("1")))
    await storage.create([there], NOW)
    assert await storage.settle([settlement], SOON) == [True]
    assert (await storage.get(timer_id)).status is Status.COMPLETED
    assert (await storage.get(there.id)).spec.callback.payload == "1"


async def test_an_ending_under_another_claim_writes_another_result(storage: Storage) -> None:
    timer_id = await told(storage)
    first = await claimed(storage, timer_id)
    await storage.sweep(ALICE, None, SOON)
    second = await claimed(storage, timer_id, BOB, SECOND)
    assert await storage.settle([ended(first)], SOON) == [False]
    assert not await results_of(storage, timer_id)
    assert await storage.settle([ended(second)], THEN) == [True]
    (result,) = await results_of(storage, timer_id)
    assert result.id == result_id(timer_id, SECOND) != result_id(timer_id, FIRST)


async def test_what_is_missed_is_told_as_well(storage: Storage) -> None:
    timer_id = await told(storage)
    await storage.settle([missed(await claimed(storage, timer_id))], LATER)
    (result,) = await results_of(storage, timer_id)
    told_of = read(result)
    assert told_of["type"] == "timer.failed"
    assert told_of["timer"]["last_error"].startswith("missed: ")
    assert (told_of["timer"]["attempt"], told_of["last_attempt"]) == (0, None)


async def test_an_unknown_outcome_is_told_as_well(storage: Storage) -> None:
    timer_id = await told(storage, delivery=Delivery.AT_MOST_ONCE)
    await claimed(storage, timer_id, ALICE)
    await storage.sweep(ALICE, None, SOON)
    refused = judge(await claimed(storage, timer_id, BOB, SECOND), SOON, waited_for_slot=False)
    assert refused is not None
    await storage.settle([refused], THEN)
    (result,) = await results_of(storage, timer_id)
    told_of = read(result)
    assert told_of["timer"]["last_error"].startswith("outcome unknown: ")
    assert (told_of["last_attempt"]["outcome"], told_of["timer"]["attempt"]) == ("unknown", 1)


async def test_nobody_is_told_of_a_failure_that_is_tried_again(storage: Storage) -> None:
    policy = RetryPolicy(max_attempts=2, delays=(0.5,), jitter=0)
    timer_id = await told(storage, retry=policy)
    await storage.settle([ended(await claimed(storage, timer_id), Rejected(503))], SOON)
    assert not await results_of(storage, timer_id)
    (again,) = (await ask(storage, [timer_id], claim=SECOND, now=LATER)).claimed
    assert again.earlier == Earlier(
        created_at=NOW, executed_at=SOON, http_status=503, duration_ms=250
    )
    await storage.settle([ended(again, Rejected(500))], LATER)
    (result,) = await results_of(storage, timer_id)
    told_of = read(result)
    assert (told_of["timer"]["http_status"], told_of["last_attempt"]["attempt"]) == (500, 2)


async def test_what_is_missed_after_a_failure_shows_what_is_known_of_that(storage: Storage) -> None:
    policy = RetryPolicy(max_attempts=2, delays=(0.5,), jitter=0)
    timer_id = await told(storage, retry=policy)
    await storage.settle([ended(await claimed(storage, timer_id), Rejected(503))], SOON)
    (again,) = (await ask(storage, [timer_id], claim=SECOND, now=LATER)).claimed
    await storage.settle([missed(again)], LATER)
    (result,) = await results_of(storage, timer_id)
    told_of = read(result)["timer"]
    assert (told_of["http_status"], told_of["duration_ms"]) == (503, 250)
    assert (told_of["attempt"], told_of["executed_at"]) == (1, "2030-01-01T00:00:01Z")


async def test_nobody_is_told_of_what_is_given_back_or_canceled(storage: Storage) -> None:
    timer_id = await told(storage)
    timer = await claimed(storage, timer_id)
    await storage.settle([given_back(timer)], SOON)
    await storage.cancel(timer_id, THEN)
    assert not await results_of(storage, timer_id)


async def test_a_claim_tells_of_earlier_only_where_results_are_wanted(storage: Storage) -> None:
    plain, both = await created(storage), await told(storage)
    failed = await created(storage, on_failed=FAILED)
    done = await created(storage, on_completed=COMPLETED)
    assert (await claimed(storage, plain)).earlier is None
    for timer_id, claim in ((both, Claim(5)), (failed, Claim(6)), (done, Claim(7))):
        for _ in range(2):  # the same claim again has the same answer
            timer = await claimed(storage, timer_id, claim=claim)
            assert timer.earlier == Earlier(
                created_at=NOW, executed_at=None, http_status=None, duration_ms=None
            )


@pytest.mark.parametrize("target", [COMPLETED, None])
async def test_who_is_told_can_be_changed_until_it_fires(
    storage: Storage, target: ResultTarget | None
) -> None:
    timer_id = await created(storage, on_completed=FAILED)
    await storage.update(timer_id, {"on_completed": target}, SOON)
    assert (await storage.get(timer_id)).spec.on_completed == target
    await storage.settle([ended(await claimed(storage, timer_id))], SOON)
    urls = [result.spec.callback.url for result in await results_of(storage, timer_id)]
    assert urls == ([] if target is None else [target.url])


@pytest.mark.parametrize("payload", ['["\\u0000", "\\ud800"]', '"\u65e5\\\\"', "1e3", None])
async def test_whatever_a_timer_holds_its_result_can_be_written(
    storage: Storage, payload: JsonText | None
) -> None:
    answer = KeptAnswer(headers=(("A", "\xff"),), body=b"\0\xc3\xa9", is_truncated=False)
    timer_id = await told(storage, callback_payload=payload, metadata={"\u65e5": "\u2028"})
    settlement = ended(await claimed(storage, timer_id), Delivered(200, answer))
    assert await storage.settle([settlement], THEN) == [True]
    (result,) = await results_of(storage, timer_id)
    told_of = read(result)
    assert told_of["timer"]["callback_payload"] == json.loads(payload or "null")
    assert told_of["timer"]["metadata"] == {"\u65e5": "\u2028"}
    assert told_of["last_attempt"]["response"]["body"] == "\0\u00e9"


async def test_a_result_has_no_results_of_its_own(storage: Storage) -> None:
    timer_id = await told(storage)
    await storage.settle([ended(await claimed(storage, timer_id))], SOON)
    (result,) = await results_of(storage, timer_id)
    for change in (SpecChange(on_completed=FAILED), SpecChange(on_failed=FAILED, metadata={})):
        with pytest.raises(IsResultError):
            await storage.update(result.id, change, THEN)
    assert await storage.get(result.id) == result
    summary = await storage.update(result.id, {"on_failed": None, "metadata": {"a": 1}}, THEN)
    assert summary.parent_id == timer_id
    assert (await storage.cancel(result.id, THEN)).parent_id == timer_id


@pytest.mark.parametrize("verb", ["create", "create_many"])
async def test_who_is_told_is_read_as_it_was_written(storage: Storage, verb: str) -> None:
    headers = {"X-A": 'q"\\\\\t\\N', "X-B": ""}
    odd = ResultTarget(url=read_url("https://example.org/N?q='%00\""), headers=headers)
    timers = [new_timer(on_completed=odd), new_timer(on_failed=odd), new_timer()]
    write: Callable[..., Any] = getattr(storage, verb)
    await write(timers, NOW)
    for timer in timers:
        assert (await storage.get(timer.id)).spec == timer.spec


async def test_a_result_that_the_database_refuses_is_the_settlements_fault(
    storage: Storage,
) -> None:
    timer_id = await told(storage)
    settlement = ended(await claimed(storage, timer_id))
    assert isinstance(settlement, Completed)
    assert settlement.result is not None
    broken = replace(settlement.result, spec=spec(callback_payload=JsonText('"\0"')))
    with pytest.raises(RowRefusedError):
        await storage.settle([replace(settlement, result=broken)], SOON)
    assert (await storage.get(timer_id)).status is Status.EXECUTING
    assert not await results_of(storage, timer_id)
