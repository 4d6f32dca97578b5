from __future__ import annotations

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import NOW, new_timer, seconds
from timer_trio.delivery.loader import next_cursors
from timer_trio.domain.timer import SHARDS, Destination, DueTimer, Lane
from timer_trio.storage import ShardCursor


def due(shard: int, due_at: datetime = NOW) -> DueTimer:
    return DueTimer(due_at, new_timer(shard=shard).id, Lane(Destination("https://example.com:443")))


def test_empty_page_ends_the_reading() -> None:
    assert next_cursors([], 2) == []


def test_shard_that_did_not_fill_its_part_is_read_to_its_end() -> None:
    assert next_cursors([due(3)], 2) == []


def test_full_shard_goes_on_behind_its_last_timer() -> None:
    first, last = due(3), due(3, NOW + seconds(1))
    assert next_cursors([first, last], 2) == [ShardCursor(3, last.due_at, last.id)]


@given(st.dictionaries(st.integers(0, SHARDS - 1), st.integers(1, 5), max_size=8))
def test_exactly_the_full_shards_go_on(counts: dict[int, int]) -> None:
    page = [due(shard, NOW + seconds(n)) for shard, count in counts.items() for n in range(count)]
    cursors = next_cursors(page, 4)
    assert {cursor.shard for cursor in cursors} == {s for s, count in counts.items() if count >= 4}
    assert all(cursor.due_at == NOW + seconds(counts[cursor.shard] - 1) for cursor in cursors)
