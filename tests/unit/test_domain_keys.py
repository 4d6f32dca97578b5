from __future__ import annotations

import pytest

from tests.contract.timers import new_timer
from timer_trio.domain.flow import FlowKey, flow_shard
from timer_trio.domain.keys import HeldName, key_shard
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.timer import ENDED, Status


def test_key_leads_to_the_shard_of_a_flow_that_is_called_like_it() -> None:
    assert key_shard(DEFAULT_PROJECT, "a") == flow_shard(DEFAULT_PROJECT, FlowKey("a"))


@pytest.mark.parametrize("status", [*Status, None])
def test_name_is_held_by_a_timer_that_has_not_ended(status: Status | None) -> None:
    held = HeldName(new_timer().id, status)
    assert held.is_live is (status is not None and status not in ENDED)
