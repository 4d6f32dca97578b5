from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import FIRST, LATER, NOW, SECOND, SOON, spec
from timer_trio.callback_url import read_url
from timer_trio.domain.answer import KeptAnswer
from timer_trio.domain.masking import MASK, sensitive_headers
from timer_trio.domain.outcome import (
    Broken,
    CallbackOutcome,
    Delivered,
    Interrupted,
    Rejected,
    TimedOut,
    Unreachable,
    Withheld,
)
from timer_trio.domain.result import TIMEOUT_S, result_id
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.settlement import (
    Retry,
    Settlement,
    judge,
    plainer,
    settlement_of,
    unstorable,
)
from timer_trio.domain.timer import (
    Claim,
    ClaimedTimer,
    Delivery,
    Earlier,
    JsonText,
    Method,
    ResultTarget,
    Status,
    TimerId,
    shard_of,
)

DONE: Final = ResultTarget(url=read_url("https://example.org/done"), headers={"A": "b"})
LOST: Final = ResultTarget(url=read_url("https://example.org/lost"), headers={})
EARLIER: Final = Earlier(created_at=NOW, executed_at=None, http_status=None, duration_ms=None)
DURATION_MS: Final = 3_599_000
"""From SOON to LATER."""

timer_ids = st.uuids().map(TimerId)
claims = st.integers(1, 2**63 - 1).map(Claim)


def claimed_timer(
    *,
    on_completed: ResultTarget | None = DONE,
    on_failed: ResultTarget | None = LOST,
    retry: RetryPolicy | None = None,
    delivery: Delivery = Delivery.AT_LEAST_ONCE,
    payload: JsonText | None = JsonText('{"n":  1}'),  # noqa: B008 - a text
    attempt: int = 1,
    unknown_attempts: int = 0,
    earlier: Earlier | None = EARLIER,
) -> ClaimedTimer:
    return ClaimedTimer(
        id=TimerId(UUID(int=7)),
        claim=FIRST,
        attempt=attempt,
        unknown_attempts=unknown_attempts,
        requested_at=NOW,
        spec=spec(
            on_completed=on_completed,
            on_failed=on_failed,
            retry=retry,
            delivery=delivery,
            callback_payload=payload,
            metadata={"order": "\u00e9"},
        ),
        earlier=earlier,
    )


def ended(timer: ClaimedTimer, outcome: CallbackOutcome) -> Settlement:
    settlement = settlement_of(timer, outcome, SOON, LATER)
    assert settlement is not None
    return settlement


def missed(timer: ClaimedTimer) -> Settlement:
    refused = judge(timer, LATER, waited_for_slot=False)
    assert refused is not None
    return refused


def told(settlement: Settlement) -> Any:
    assert settlement.result is not None
    payload = settlement.result.spec.callback.payload
    assert payload is not None
    return json.loads(payload)


# Ids.


@given(timer_ids, claims)
def test_a_results_id_is_a_uuid_of_its_own_in_the_timers_shard(
    timer_id: TimerId, claim: Claim
) -> None:
    made = result_id(timer_id, claim)
    assert (made.version, made.variant) == (8, UUID(int=0x8 << 60).variant)
    assert shard_of(made) == shard_of(timer_id)
    assert made == result_id(timer_id, claim) != timer_id


@given(timer_ids, timer_ids, claims, claims)
def test_two_endings_have_two_ids(one: TimerId, other: TimerId, a: Claim, b: Claim) -> None:
    assert (result_id(one, a) == result_id(other, b)) == ((one, a) == (other, b))


def test_replicas_of_all_versions_make_the_same_id() -> None:
    assert result_id(TimerId(UUID(int=0x1FF)), Claim(1)) == UUID(
        "6c276d34-1e90-8048-b50e-4208305b72ff"
    )


# Who is told of what.

FAILURES: Final = [Rejected(503), Unreachable("x"), TimedOut(), Broken("Bug")]


def test_who_wants_to_know_of_a_success_is_told() -> None:
    result = ended(claimed_timer(), Delivered(204)).result
    assert result is not None
    callback = result.spec.callback
    assert (callback.url, callback.headers) == (DONE.url, DONE.headers)
    assert (callback.method, callback.timeout_s) == (Method.POST, TIMEOUT_S)
    assert callback.delivery is Delivery.AT_LEAST_ONCE
    assert (result.created_at, result.spec.execute_at) == (LATER, LATER)
    assert (result.spec.retry, result.spec.misfire_grace_s) == (RetryPolicy(), None)
    assert not result.spec.has_results
    assert result.id == result_id(TimerId(UUID(int=7)), FIRST)


@pytest.mark.parametrize("outcome", FAILURES)
def test_who_wants_to_know_of_a_failure_is_told(outcome: CallbackOutcome) -> None:
    result = ended(claimed_timer(), outcome).result
    assert result is not None
    assert result.spec.callback.url == LOST.url


@pytest.mark.parametrize("outcome", [Delivered(200), *FAILURES])
def test_nobody_is_told_who_has_not_asked(outcome: CallbackOutcome) -> None:
    is_delivered = isinstance(outcome, Delivered)
    other = claimed_timer(
        on_completed=None if is_delivered else DONE, on_failed=LOST if is_delivered else None
    )
    plain = claimed_timer(on_completed=None, on_failed=None, earlier=None)
    assert ended(other, outcome).result is ended(plain, outcome).result is None


def test_nobody_is_told_of_what_goes_on() -> None:
    assert ended(claimed_timer(), Withheld()).result is None
    again = ended(claimed_timer(retry=RetryPolicy()), Rejected(503))
    assert isinstance(again, Retry)
    assert again.result is None


def test_what_ends_without_being_fired_is_told() -> None:
    settlement = missed(claimed_timer())
    told_of = told(settlement)
    assert told_of["type"] == "timer.failed"
    assert told_of["last_attempt"] is None
    assert told_of["timer"]["last_error"] == settlement.last_error
    assert (told_of["timer"]["attempt"], told_of["timer"]["executed_at"]) == (0, None)


def test_an_outcome_that_nobody_knows_is_told_as_such() -> None:
    once = Delivery.AT_MOST_ONCE
    told_of = told(missed(claimed_timer(delivery=once, attempt=2, unknown_attempts=1)))
    assert told_of["last_attempt"] == {
        "attempt": 1,
        "started_at": None,
        "duration_ms": None,
        "outcome": "unknown",
        "http_status": None,
        "error": None,
        "response": None,
    }
    told_of = told(ended(claimed_timer(delivery=once), Interrupted()))
    assert told_of["last_attempt"]["outcome"] == "interrupted"


# What is told.


def test_a_first_attempt_that_was_delivered_is_told() -> None:
    told_of = told(ended(claimed_timer(), Delivered(204)))
    assert list(told_of) == ["type", "timer", "last_attempt"]
    assert told_of["type"] == "timer.completed"
    assert told_of["last_attempt"] == {
        "attempt": 1,
        "started_at": "2030-01-01T00:00:01Z",
        "duration_ms": DURATION_MS,
        "outcome": "delivered",
        "http_status": 204,
        "error": None,
        "response": None,
    }
    timer = told_of["timer"]
    assert (timer["status"], timer["http_status"]) == (Status.COMPLETED, 204)
    assert (timer["duration_ms"], timer["attempt"]) == (DURATION_MS, 1)
    assert (timer["updated_at"], timer["callback_payload"]) == ("2030-01-01T01:00:00Z", {"n": 1})
    assert timer["on_completed"] == {"url": DONE.url.text, "headers": {"A": "b"}}
    assert timer["metadata"] == {"order": "\u00e9"}
    assert timer["parent_id"] is None


def test_the_answer_that_is_kept_is_told() -> None:
    answer = KeptAnswer(headers=(("A", "b"),), body=b"\xff", is_truncated=True)
    told_of = told(ended(claimed_timer(), Rejected(503, (), answer)))
    assert told_of["last_attempt"]["response"] == {
        "headers": [["A", "b"]],
        "body": "/w==",
        "body_encoding": "base64",
        "truncated": True,
    }


def test_the_payload_is_told_as_it_arrived() -> None:
    settlement = ended(claimed_timer(), Delivered(200))
    assert settlement.result is not None
    assert '"callback_payload": {"n":  1}}' in (settlement.result.spec.callback.payload or "")
    assert (
        told(ended(claimed_timer(payload=None), Delivered(200)))["timer"]["callback_payload"]
        is None
    )


def test_what_was_known_before_stays_where_nothing_was_sent() -> None:
    earlier = replace(EARLIER, executed_at=NOW, http_status=503, duration_ms=9)
    timer = claimed_timer(attempt=2, earlier=earlier)
    seen = told(missed(timer))["timer"]
    assert (seen["executed_at"], seen["http_status"]) == ("2030-01-01T00:00:00Z", 503)
    assert (seen["duration_ms"], seen["attempt"]) == (9, 1)
    seen = told(ended(timer, Unreachable("x")))["timer"]
    assert (seen["executed_at"], seen["http_status"]) == ("2030-01-01T00:00:01Z", None)
    assert (seen["duration_ms"], seen["attempt"]) == (DURATION_MS, 2)


def test_another_claim_makes_another_result() -> None:
    one, other = claimed_timer(), replace(claimed_timer(), claim=SECOND)
    first, second, third = (ended(timer, Delivered(200)).result for timer in (one, other, one))
    assert first is not None
    assert second is not None
    assert first == third
    assert first.id != second.id


# What the database refuses.


def test_a_result_is_left_out_after_the_answers() -> None:
    answer = KeptAnswer(headers=(), body=b"", is_truncated=False)
    settlement = ended(claimed_timer(), Rejected(503, (), answer))
    bare = plainer(settlement)
    assert bare is not None
    assert bare.result == settlement.result
    alone = plainer(bare)
    assert alone is not None
    assert (alone.result, alone.last_error) == (None, settlement.last_error)
    assert plainer(alone) is None
    assert unstorable(settlement, "x").result is None
    again = ended(claimed_timer(retry=RetryPolicy()), Rejected(503, (), answer))
    without_answer = plainer(again)
    assert without_answer is not None
    assert plainer(without_answer) is None


def test_a_result_shows_no_credentials() -> None:
    sensitive = sensitive_headers(["X-Own"])
    target = ResultTarget(url=LOST.url, headers={"Cookie": "s3cret"})
    headers = {"Authorization": "s3cret", "X-Own": "s3cret", "A": "shown"}
    timer = claimed_timer(on_completed=target, on_failed=target)
    callback = replace(timer.spec.callback, headers=headers)
    timer = replace(timer, spec=replace(timer.spec, callback=callback))
    pairs = (("Set-Cookie", "s3cret"), ("B", "shown"))
    answer = KeptAnswer(headers=pairs, body=b"", is_truncated=False)
    rejected = Rejected(410, answer=answer)
    for settlement in (
        settlement_of(timer, rejected, SOON, LATER, sensitive),
        settlement_of(timer, Delivered(200, answer), SOON, LATER, sensitive),
        settlement_of(timer, Broken("x"), SOON, LATER, sensitive),
        judge(timer, NOW.replace(year=2040), waited_for_slot=False, sensitive=sensitive),
    ):
        assert settlement is not None
        result = settlement.result
        assert result is not None
        payload = result.spec.callback.payload or ""
        assert "s3cret" not in payload
        assert json.loads(payload)["timer"]["callback_headers"]["Authorization"] == MASK
        # What is sent to the receiver of the result is its consumer's own.
        assert result.spec.callback.headers == {"Cookie": "s3cret"}
