from __future__ import annotations

from typing import Final

import trio

from tests.contract.timers import new_timer
from tests.unit.parts import PROMPT, Parts, open_cache
from timer_trio.domain.arming import Armed
from timer_trio.domain.flow import FlowId, FlowKey, flow_shard
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.timer import DueTimer

FLOW: Final = FlowId(DEFAULT_PROJECT, FlowKey("a"))
SHARD: Final = flow_shard(*FLOW)


def want(parts: Parts) -> None:
    parts.agenda.gates.flows.want([FLOW])
    parts.flow_keeper.look()


async def test_wanted_flow_is_read_under_its_term(parts: Parts) -> None:
    want(parts)
    await trio.sleep(1)
    assert parts.database._terms == {SHARD: parts.heartbeat.replica}
    assert len(parts.agenda.gates.flows) == 1


async def test_no_term_is_taken_before_claims_of_flows_are_answered(parts: Parts) -> None:
    due = DueTimer(parts.clock.now(), new_timer(shard=SHARD).id, PROMPT, FLOW.key)
    open_cache(parts.agenda)
    parts.agenda.add([due])
    parts.agenda.slots.hold(PROMPT)
    parts.database.is_away = True
    parts.nursery.start_soon(parts.claims.claim, [Armed(parts.agenda.cache.take(), waited=False)])
    await trio.sleep(1)
    want(parts)
    await trio.sleep(1)
    assert not parts.database._terms
    parts.database.is_away = False
    await trio.sleep(1)
    assert parts.database._terms == {SHARD: parts.heartbeat.replica}
