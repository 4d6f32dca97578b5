from __future__ import annotations

import pytest

from tests.contract.timers import new_timer
from tests.schedules import FIRST_ID
from timer_trio.domain.errors import (
    CellAwayError,
    CreatesUnknownError,
    CreateUnknownError,
    IsResultError,
    KeyedCreateUnknownError,
    NameTakenError,
    NotPendingError,
    OlderReplicasError,
    ScheduleCreateUnknownError,
    ScheduleNameTakenError,
    StorageError,
    StorageUnavailableError,
    TimerNotFoundError,
    TooManyPausesError,
)
from timer_trio.domain.timer import Status


def test_missing_timer_is_named() -> None:
    timer_id = new_timer().id
    assert str(TimerNotFoundError(timer_id)) == f"no timer has the id {timer_id}"


def test_a_result_is_named_as_such() -> None:
    assert str(IsResultError()) == "the timer is a result"


def test_timer_that_has_a_name_is_known_by_its_id() -> None:
    timer_id = new_timer().id
    error = NameTakenError(timer_id, "lives already")
    assert (str(error), error.timer_id) == ("a timer with this key lives already", timer_id)


@pytest.mark.parametrize("status", list(Status))
def test_status_that_forbids_is_named(status: Status) -> None:
    error = NotPendingError(status)
    assert (str(error), error.status) == (f"the timer is {status}", status)


def test_unknown_create_says_what_to_look_for() -> None:
    timer_id = new_timer().id
    error = CreateUnknownError(timer_id)
    assert str(timer_id) in str(error)
    assert error.timer_id == timer_id


def test_many_unknown_creates_are_counted_and_known_by_their_ids() -> None:
    timer_ids = [new_timer().id, new_timer().id]
    error = CreatesUnknownError(timer_ids)
    assert "2 timers" in str(error)
    assert error.timer_ids == timer_ids


def test_schedule_whose_creation_is_unknown_or_whose_name_is_taken_is_known_by_its_id() -> None:
    unknown, taken = ScheduleCreateUnknownError(FIRST_ID), ScheduleNameTakenError(FIRST_ID)
    assert unknown.schedule_id == taken.schedule_id == FIRST_ID
    assert str(FIRST_ID) in str(unknown)
    assert str(FIRST_ID) in str(taken)


def test_older_replicas_are_named() -> None:
    assert "(a, b)" in str(OlderReplicasError(["a", "b"]))


def test_unknown_create_counts_as_a_database_that_is_away() -> None:
    assert issubclass(CreateUnknownError, StorageUnavailableError)
    assert issubclass(CreatesUnknownError, StorageUnavailableError)
    assert isinstance(KeyedCreateUnknownError(), StorageUnavailableError)
    assert issubclass(StorageUnavailableError, StorageError)


def test_too_many_pauses_say_what_to_do() -> None:
    assert "1,000 destinations" in str(TooManyPausesError(1_000))


def test_cell_that_is_away_is_named_without_the_reason_to_consumers() -> None:
    error = CellAwayError("cell 0-127 is away", "connection refused")
    assert isinstance(error, StorageUnavailableError)
    assert (str(error), error.words) == (
        "cell 0-127 is away: connection refused",
        "cell 0-127 is away",
    )
