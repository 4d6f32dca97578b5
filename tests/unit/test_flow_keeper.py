from __future__ import annotations

from dataclasses import replace
from typing import Final

import trio

from tests.contract.timers import new_timer
from tests.unit.parts import PROMPT, Parts, open_cache
from timer_trio.domain.arming import Armed
from timer_trio.domain.flow import FlowId, FlowKey, flow_shard
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.timer import Status, due_timer
from timer_trio.storage.memory import MemoryStorage

FLOW: Final = FlowId(DEFAULT_PROJECT, FlowKey("a"))
SHARD: Final = flow_shard(*FLOW)


def want(parts: Parts) -> None:
    parts.agenda.gates.flows.want([FLOW])
    parts.flow_keeper.look()


async def test_wanted_flow_is_read_under_its_term(parts: Parts) -> None:
    want(parts)
    await trio.sleep(1)
    assert parts.database._terms == {SHARD: (parts.heartbeat.replica, 1)}
    assert len(parts.agenda.gates.flows) == 1


async def test_claim_that_comes_late_takes_nothing_and_costs_no_later_term(parts: Parts) -> None:
    timer = replace(new_timer(shard=SHARD), flow_key=FLOW.key)
    await parts.database.create([timer], timer.created_at)
    open_cache(parts.agenda)
    parts.agenda.add([due_timer(timer)])
    parts.agenda.slots.hold(PROMPT)
    parts.database.is_away = True
    armed = Armed(parts.agenda.cache.take(), waited=False)
    parts.nursery.start_soon(parts.claims.claim, [armed])
    await trio.sleep(1)
    terms = await MemoryStorage.take_terms(parts.database, parts.heartbeat.replica, [SHARD])
    parts.agenda.gates.flows.take_terms(terms)
    parts.database.is_away = False
    await trio.sleep(1)
    assert (await parts.database.get(timer.id)).status is Status.PENDING
    assert parts.agenda.gates.flows.terms_of([SHARD]) == terms
