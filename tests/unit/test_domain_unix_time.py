from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from timer_trio.domain.unix_time import EPOCH, MICROSECOND, unix_us


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_lose_nothing_of_an_instant(instant: datetime) -> None:
    assert EPOCH + unix_us(instant) * MICROSECOND == instant
