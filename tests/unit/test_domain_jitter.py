from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from timer_trio.domain.jitter import jittered

AT: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE: Final = UUID("01890000-0000-8000-8000-000000000001")


@given(st.uuids(), st.floats(0, 86_400))
def test_jitter_is_between_nothing_and_its_limit(occurrence_id: UUID, jitter_s: float) -> None:
    at = jittered(AT, occurrence_id, jitter_s)
    assert AT <= at <= AT + timedelta(seconds=jitter_s)
    assert at == jittered(AT, occurrence_id, jitter_s)


def test_all_versions_draw_the_same() -> None:
    moved = jittered(AT, ONE, 86_400)
    assert moved == datetime(2026, 3, 2, 1, 15, 48, 709_140, tzinfo=UTC)


def test_no_jitter_moves_nothing() -> None:
    assert jittered(AT, ONE, 0) == AT


def test_jitter_is_spread_evenly() -> None:
    tenths = [0] * 10
    for number in range(10_000):
        moved = jittered(AT, UUID(int=number), 10) - AT
        tenths[int(moved.total_seconds())] += 1
    assert all(850 < tenth < 1_150 for tenth in tenths)


def test_nothing_is_moved_past_the_last_instant() -> None:
    end = datetime.max.replace(tzinfo=UTC)
    assert jittered(end, ONE, 86_400) == end
