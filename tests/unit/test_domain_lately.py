from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from tests.contract.timers import (
    ANSWER,
    FIRST,
    LATER,
    NOW,
    SECOND,
    SOON,
    completed,
    failed,
    given_back,
    new_timer,
    record,
    retried,
    seconds,
    spec,
)
from timer_trio.domain.lately import GAP_S, KEPT_S, MAX_KEPT, RECALLED_S, UNIT_BYTES, Lately
from timer_trio.domain.settlement import Failed, Settlement, Skipped, WhyFailed
from timer_trio.domain.timer import ClaimedTimer, JsonText, TimerId

TIMER: Final = new_timer().id
NOTED_S: Final = 100.0


def lately(*settlements: Settlement) -> Lately:
    """What has kept these, and is recalled."""
    kept = Lately()
    kept.note(settlements, NOTED_S)
    kept.recall(NOTED_S)
    return kept


def claimed(attempt: int = 1) -> ClaimedTimer:
    """The timer claimed anew, by the number of an attempt that has ended."""
    return ClaimedTimer(
        id=TIMER, claim=SECOND, attempt=attempt, requested_at=NOW, spec=spec(), unknown_attempts=0
    )


def never_sent(timer_id: TimerId) -> Failed:
    """What becomes of a timer that must not be fired."""
    return Failed(
        timer_id=timer_id,
        claim=FIRST,
        is_begun=False,
        executed_at=None,
        last_error="missed",
        why=WhyFailed.MISSED,
    )


def test_nothing_is_found_until_it_is_recalled() -> None:
    kept = Lately()
    kept.note([completed(TIMER)], NOTED_S)
    assert not kept.is_recalled
    assert kept.written(TIMER, FIRST) is None
    kept.recall(NOTED_S)
    assert kept.is_recalled
    assert kept.written(TIMER, FIRST) == completed(TIMER)
    assert kept.written(TIMER, SECOND) is None
    assert kept.written(new_timer().id, FIRST) is None


def test_what_is_written_while_it_is_recalled_is_found_as_well() -> None:
    kept = lately()
    kept.note([completed(TIMER)], NOTED_S + 1)
    assert kept.written(TIMER, FIRST) == completed(TIMER)


def test_the_last_outcome_of_a_timer_counts() -> None:
    kept = lately(retried(TIMER, FIRST), completed(TIMER, SECOND))
    assert kept.written(TIMER, FIRST) is None
    assert kept.written(TIMER, SECOND) == completed(TIMER, SECOND)


def test_it_is_recalled_for_a_minute_after_it_was_asked_for_last() -> None:
    kept = lately(completed(TIMER))
    kept.recall(NOTED_S + RECALLED_S)
    kept.note([], NOTED_S + 2 * RECALLED_S)
    assert kept.written(TIMER, FIRST) is not None
    kept.note([], NOTED_S + 2 * RECALLED_S + 1)
    assert not kept.is_recalled
    assert kept.written(TIMER, FIRST) is None
    kept.recall(NOTED_S + 2 * RECALLED_S + 2)
    assert kept.is_recalled


def test_it_is_kept_for_some_seconds_in_which_others_are_written() -> None:
    kept = Lately()
    kept.note([completed(TIMER)], NOTED_S)
    for count in range(int(KEPT_S / GAP_S)):
        kept.note([], NOTED_S + count * GAP_S)
    kept.recall(NOTED_S + KEPT_S)
    assert kept.written(TIMER, FIRST) is not None
    gone = Lately()
    gone.note([completed(TIMER)], NOTED_S)
    for count in range(int(KEPT_S / GAP_S) + 3):
        gone.note([], NOTED_S + count * GAP_S)
    gone.recall(NOTED_S + KEPT_S + 2)
    assert gone.written(TIMER, FIRST) is None


def test_what_was_written_before_an_outage_outlives_it() -> None:
    kept = Lately()
    kept.note([completed(TIMER)], NOTED_S)
    kept.note([], NOTED_S + 3_600)
    kept.recall(NOTED_S + 3_600)
    assert kept.written(TIMER, FIRST) is not None


def test_no_more_is_kept_than_memory_should_hold() -> None:
    kept = Lately()
    kept.note([completed(TIMER)], NOTED_S)
    kept.note([completed(new_timer().id)] * MAX_KEPT, NOTED_S)
    kept.recall(NOTED_S)
    assert kept.written(TIMER, FIRST) is None


@pytest.mark.parametrize("part", ["answer", "result"])
def test_what_is_great_counts_for_many(part: str) -> None:
    words = "x" * UNIT_BYTES * MAX_KEPT
    great: Settlement = replace(
        completed(TIMER), result=new_timer(callback_payload=JsonText(f'"{words}"'))
    )
    if part == "answer":
        answer = ANSWER._replace(body=words.encode())
        great = replace(failed(TIMER), attempts=[record(answer=answer)])
    kept = lately(great)
    assert kept.written(TIMER, FIRST) is None
    kept.note([completed(TIMER)], NOTED_S)
    assert kept.written(TIMER, FIRST) is not None


def test_no_more_is_recalled_than_memory_should_hold() -> None:
    kept = lately()
    for _ in range(2):
        kept.note([completed(new_timer().id)] * MAX_KEPT, NOTED_S)
    kept.note([completed(TIMER)], NOTED_S)
    assert kept.written(TIMER, FIRST) is None


@pytest.mark.parametrize(
    ("outcome", "attempt"),
    [
        (completed(TIMER), 1),
        (replace(completed(TIMER), attempts=[record(2)]), 2),
        (replace(failed(TIMER), attempts=[record(1), record(2)]), 2),
        (replace(retried(TIMER), attempts=[record(1)]), 1),
    ],
)
def test_an_attempt_whose_claim_was_undone_ends_as_it_did(
    outcome: Settlement, attempt: int
) -> None:
    kept = lately(outcome)
    assert kept.outcome_of(claimed(attempt)) == replace(outcome, claim=SECOND)
    assert kept.outcome_of(claimed(attempt + 1)) is None


def test_an_attempt_before_the_last_one_ends_as_that_did() -> None:
    outcome = replace(completed(TIMER), attempts=[record(2), record(3)])
    told = lately(outcome).outcome_of(claimed(1))
    assert told == replace(outcome, claim=SECOND, attempts=[record(1)])


@pytest.mark.parametrize(
    "outcome",
    [
        given_back(TIMER),
        Skipped(timer_id=TIMER, claim=FIRST, last_error="skipped"),
        never_sent(TIMER),
        replace(never_sent(TIMER), executed_at=SOON),
    ],
)
def test_an_attempt_that_has_sent_nothing_is_made(outcome: Settlement) -> None:
    assert lately(outcome).outcome_of(claimed()) is None


def test_nothing_is_known_of_other_timers() -> None:
    assert lately(completed(new_timer().id)).outcome_of(claimed()) is None


def test_what_was_asked_for_since_is_sent() -> None:
    kept = lately(completed(TIMER, sent_at=SOON))
    assert kept.outcome_of(replace(claimed(), requested_at=SOON + seconds(0.001))) is None
    assert kept.outcome_of(replace(claimed(), requested_at=LATER)) is None
    assert kept.outcome_of(replace(claimed(), requested_at=SOON)) is not None
