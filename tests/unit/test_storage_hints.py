from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import NOW, new_timer, seconds
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import SHARDS, Destination, DueTimer, Lane, shard_of
from timer_trio.storage import Hint
from timer_trio.storage.hints import EVERYWHERE, MAX_BYTES, hint_of, payload_of

destinations = st.text(max_size=2_000).map(Destination)
timers = st.builds(
    lambda in_s, shard, destination, project, flow_key: DueTimer(
        NOW + seconds(in_s), new_timer(shard=shard).id, Lane(destination, project), flow_key
    ),
    st.integers(-1_000_000, 1_000_000).map(lambda number: number / 1e6),
    st.integers(0, SHARDS - 1),
    destinations,
    st.integers(0, 3).map(ProjectId),
    st.none() | st.text(max_size=300).map(FlowKey),
)


@given(st.lists(timers, max_size=30), st.sets(st.integers(0, SHARDS - 1)))
def test_every_timer_is_named_or_its_shard_is_and_it_fits(
    sent: list[DueTimer], look_at: set[int]
) -> None:
    payload = payload_of(sent, look_at)
    assert len(payload.encode()) <= MAX_BYTES
    hint = hint_of(payload)
    named = set(hint.timers)
    assert named <= set(sent)
    assert all(timer in named or shard_of(timer.id) in hint.shards for timer in sent)
    assert look_at <= hint.shards


def test_hint_about_every_shard_fits() -> None:
    sent = [
        DueTimer(NOW, new_timer(shard=shard).id, Lane(Destination("https://x" * 200)))
        for shard in range(SHARDS)
    ]
    assert len(payload_of(sent).encode()) <= MAX_BYTES


def test_few_timers_are_named_and_nothing_else_is_to_be_looked_for() -> None:
    timer = DueTimer(NOW, new_timer().id, Lane(Destination("https://example.com:443")))
    assert hint_of(payload_of([timer])) == Hint(timers=[timer])


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"timers": []}',
        '{"timers": [], "shards": ["x"]}',
        '{"timers": [["no-id", 0, "x"]], "shards": []}',
        '{"timers": [["00000000000000000000000000000000", 1e300, "x"]], "shards": []}',
        '{"timers": [[1, 2]], "shards": []}',
    ],
)
def test_who_is_not_understood_makes_us_look_everywhere(payload: str) -> None:
    assert hint_of(payload) == EVERYWHERE


def test_shards_that_do_not_exist_are_left_out() -> None:
    assert hint_of('{"timers": [], "shards": [3, 256, -1]}').shards == {3}
