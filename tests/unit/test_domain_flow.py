from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.timers import new_timer
from timer_trio.domain.errors import FlowFixedError
from timer_trio.domain.flow import FlowKey, flow_shard, refuse_other_flow
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import SHARDS


@pytest.mark.parametrize(
    ("project", "key", "shard"),
    [(0, "orders", 92), (7, "orders", 192), (0, "Größe", 83)],
)
def test_flow_is_in_the_shard_that_earlier_releases_chose(
    project: int, key: str, shard: int
) -> None:
    assert flow_shard(ProjectId(project), FlowKey(key)) == shard


@given(st.text(st.characters(), min_size=1, max_size=255))
def test_any_text_has_a_shard(key: str) -> None:
    assert 0 <= flow_shard(DEFAULT_PROJECT, FlowKey(key)) < SHARDS


def test_flows_are_spread_over_all_shards() -> None:
    keys = [FlowKey(f"customer-{n}") for n in range(20 * SHARDS)]
    assert {flow_shard(DEFAULT_PROJECT, key) for key in keys} == set(range(SHARDS))


def test_flows_of_one_name_in_several_projects_are_not_all_in_one_shard() -> None:
    shards = {flow_shard(ProjectId(project), FlowKey("orders")) for project in range(20)}
    assert len(shards) > 10


@pytest.mark.parametrize("known", ["orders", None])
def test_change_may_name_no_other_flow(known: FlowKey | None) -> None:
    for same in (known, None):
        refuse_other_flow(known, same)
    with pytest.raises(FlowFixedError):
        refuse_other_flow(known, FlowKey("other"))


def test_timer_in_a_flow_is_not_plain() -> None:
    timer = new_timer()
    assert timer.is_plain
    assert not replace(timer, flow_key=FlowKey("orders")).is_plain
    assert not new_timer(signing=Signing.NONE).is_plain
