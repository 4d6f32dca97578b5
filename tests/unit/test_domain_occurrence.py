from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import NOW, seconds
from tests.schedules import FIRST_ID
from timer_trio.domain.occurrence import (
    extra_occurrence_id,
    is_exclusive,
    is_occurrence,
    occurrence_id,
)
from timer_trio.domain.result import result_id
from timer_trio.domain.schedule import Overlap, ScheduleId
from timer_trio.domain.timer import Claim, TimerId, new_timer_id, shard_of

schedule_ids = st.uuids().map(ScheduleId)
instants = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)).map(  # noqa: DTZ001
    lambda naive: naive.replace(tzinfo=UTC)
)
overlaps = st.sampled_from(Overlap)


@given(schedule_ids, st.integers(0, 2**31 - 1), instants, overlaps)
def test_an_id_says_what_it_is(
    schedule_id: ScheduleId, version: int, instant: datetime, overlap: Overlap
) -> None:
    timer_id = occurrence_id(schedule_id, version, instant, overlap)
    assert is_occurrence(timer_id)
    assert is_exclusive(timer_id) == (overlap is Overlap.SKIP)
    assert shard_of(timer_id) == schedule_id.int & 0xFF
    assert (timer_id.version, timer_id.variant) == (8, "specified in RFC 4122")
    assert timer_id.int >> 80 == (instant - datetime(1970, 1, 1, tzinfo=UTC)) // seconds(0.001)


def test_ids_are_the_same_in_all_releases() -> None:
    timer_id = occurrence_id(FIRST_ID, 1, NOW, Overlap.ALLOW)
    assert timer_id == UUID("01b8dac5-b400-8b9a-ae45-d5c7e9079607")


@given(schedule_ids, instants)
def test_each_of_schedule_version_instant_and_overlap_makes_another_id(
    schedule_id: ScheduleId, instant: datetime
) -> None:
    ids = {
        occurrence_id(schedule_id, 1, instant, Overlap.ALLOW),
        occurrence_id(schedule_id, 2, instant, Overlap.ALLOW),
        occurrence_id(schedule_id, 1, instant + seconds(0.000001), Overlap.ALLOW),
        occurrence_id(schedule_id, 1, instant, Overlap.SKIP),
        occurrence_id(ScheduleId(UUID(int=schedule_id.int ^ 1 << 70)), 1, instant, Overlap.ALLOW),
    }
    assert len(ids) == 5


def test_occurrences_beside_the_rule_are_all_different() -> None:
    draw = Random(7).getrandbits
    ids = {extra_occurrence_id(FIRST_ID, NOW, Overlap.SKIP, draw) for _ in range(100)}
    assert len(ids) == 100
    assert all(map(is_exclusive, ids))


@given(st.uuids().map(TimerId), st.integers(1, 2**63 - 1).map(Claim))
def test_a_result_does_not_look_like_an_occurrence(timer_id: TimerId, claim: Claim) -> None:
    assert not is_occurrence(result_id(timer_id, claim))


def test_a_plain_timer_does_not_look_like_an_occurrence() -> None:
    draw = Random(7).getrandbits
    ids = [new_timer_id(NOW, shard, draw) for shard in range(256)]
    assert not any(map(is_occurrence, ids))
