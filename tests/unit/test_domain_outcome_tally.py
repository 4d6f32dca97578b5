from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from timer_trio.domain.destination import SPAN, Counted, Ends, class_of
from timer_trio.domain.outcome import CallbackOutcome, Delivered, Interrupted, Rejected, TimedOut
from timer_trio.domain.outcome_tally import OutcomeTally
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import Destination, Lane

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
A, B, C = (Destination(f"https://{letter}.example:443") for letter in "abc")
OTHER = ProjectId(7)
MANY = 1_000


def add(
    tally: OutcomeTally,
    destination: Destination,
    outcome: CallbackOutcome = Delivered(200),  # noqa: B008 - frozen
    *,
    project: ProjectId = DEFAULT_PROJECT,
    duration_s: float = 0.01,
    at: datetime = NOON,
) -> None:
    tally.add([(destination, project, outcome, duration_s)], at)


def delivered(taken: Iterable[Counted]) -> dict[tuple[Destination, datetime], int]:
    return {(each.lane.destination, each.since): each.ends.delivered for each in taken}


def test_ends_and_durations_are_added_up_by_lane() -> None:
    tally = OutcomeTally()
    for outcome in (Delivered(200), Delivered(204), Rejected(500), TimedOut(), Interrupted()):
        add(tally, A, outcome, duration_s=0.01)
    add(tally, A, project=OTHER, duration_s=5)
    ours, theirs = tally.take(MANY)
    assert (ours.lane, ours.since) == (Lane(A), NOON)
    assert ours.ends == Ends(delivered=2, rejected=1, timed_out=1, other=1)
    assert ours.durations[class_of(0.01)] == sum(ours.durations) == 4
    assert (theirs.lane, theirs.ends) == (Lane(A, OTHER), Ends(delivered=1))
    assert theirs.durations[class_of(5)] == 1


def test_what_was_taken_comes_again_only_if_it_has_changed_and_then_whole() -> None:
    tally = OutcomeTally()
    assert tally.take(MANY) == []
    add(tally, A)
    add(tally, B)
    assert len(tally.take(MANY)) == 2
    assert tally.take(MANY) == []
    add(tally, A)
    assert delivered(tally.take(MANY)) == {(A, NOON): 2}


def test_only_so_much_is_taken_at_once() -> None:
    tally = OutcomeTally()
    for destination in (A, B, C):
        add(tally, destination)
    assert delivered(tally.take(2)) == {(A, NOON): 1, (B, NOON): 1}
    assert delivered(tally.take(2)) == {(C, NOON): 1}


def test_what_is_given_back_comes_again_with_what_has_come_since() -> None:
    tally = OutcomeTally()
    add(tally, A)
    taken = tally.take(MANY)
    add(tally, A)
    tally.give_back(taken)
    assert delivered(tally.take(MANY)) == {(A, NOON): 2}
    assert tally.take(MANY) == []


def test_each_span_is_counted_by_itself() -> None:
    tally = OutcomeTally()
    add(tally, A)
    add(tally, A, at=NOON + SPAN)
    add(tally, A, at=NOON + SPAN)
    assert delivered(tally.take(1)) == {(A, NOON): 1}
    assert delivered(tally.take(1)) == {(A, NOON + SPAN): 2}


def test_what_was_taken_and_has_not_changed_does_not_come_at_the_end_of_its_span() -> None:
    tally = OutcomeTally()
    add(tally, A)
    tally.take(MANY)
    add(tally, B, at=NOON + SPAN)
    assert delivered(tally.take(MANY)) == {(B, NOON + SPAN): 1}


def test_what_is_given_back_of_a_span_that_is_over_comes_again() -> None:
    tally = OutcomeTally()
    add(tally, A)
    taken = tally.take(MANY)
    add(tally, B, at=NOON + SPAN)
    tally.give_back(taken)
    assert delivered(tally.take(MANY)) == {(A, NOON): 1, (B, NOON + SPAN): 1}


def test_what_is_given_back_does_not_take_the_place_of_later_numbers() -> None:
    tally = OutcomeTally()
    add(tally, A)
    taken = tally.take(MANY)
    add(tally, A)
    add(tally, B, at=NOON + SPAN)
    tally.give_back(taken)
    assert delivered(tally.take(MANY)) == {(A, NOON): 2, (B, NOON + SPAN): 1}


def test_one_that_ends_just_before_the_last_is_counted_with_it() -> None:
    tally = OutcomeTally()
    add(tally, A, at=NOON)
    add(tally, A, at=NOON - timedelta(milliseconds=1))
    assert delivered(tally.take(MANY)) == {(A, NOON): 2}


def test_clock_that_is_set_back_begins_an_earlier_span() -> None:
    tally = OutcomeTally()
    add(tally, A)
    taken = tally.take(MANY)
    add(tally, A, at=NOON - 3 * SPAN)
    add(tally, B, at=NOON)
    tally.give_back(taken)
    add(tally, A, at=NOON)
    assert delivered(tally.take(MANY)) == {
        (A, NOON - 3 * SPAN): 1,
        (A, NOON): 2,
        (B, NOON): 1,
    }


def test_span_that_begins_again_goes_on_where_it_was_unless_it_was_told() -> None:
    tally = OutcomeTally()
    add(tally, A)
    add(tally, B, at=NOON - 3 * SPAN)
    add(tally, A)
    assert delivered(tally.take(MANY)) == {(B, NOON - 3 * SPAN): 1, (A, NOON): 2}


def test_memory_of_a_span_is_bounded_and_what_is_counted_is_counted_whole() -> None:
    tally = OutcomeTally(most=2)
    for destination in (A, B, C, A):
        add(tally, destination)
    assert delivered(tally.take(MANY)) == {(A, NOON): 2, (B, NOON): 1}
    add(tally, C, at=NOON + SPAN)
    assert delivered(tally.take(MANY)) == {(C, NOON + SPAN): 1}


def test_memory_of_spans_that_are_over_is_bounded_and_the_latest_are_kept() -> None:
    tally = OutcomeTally(most=2)
    for number in range(4):
        add(tally, A, at=NOON + number * SPAN)
    assert [each.since for each in tally.take(MANY)] == [NOON + each * SPAN for each in (1, 2, 3)]
