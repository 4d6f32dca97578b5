"""Who claims of a flow, and what he learns of it before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from math import inf
from typing import Final

import pytest

from tests.contract.timers import (
    ALICE,
    BOB,
    FIRST,
    LATER,
    NOW,
    SECOND,
    SOON,
    claimed_in_flow,
    due,
    new_timer,
    seconds,
)
from timer_trio.domain.errors import ReplicaGoneError
from timer_trio.domain.flow import NO_TERM, FlowId, FlowKey, Terms, flow_shard
from timer_trio.domain.flows import FlowNow
from timer_trio.domain.outcome import Delivered, Rejected
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.rules import NO_FLOW_RULES, FlowRules, Rate
from timer_trio.domain.settlement import given_back, settlement_of
from timer_trio.domain.timer import DueTimer, Lane, NewTimer, ReplicaId, Status, due_timer
from timer_trio.storage import ClaimReply, Storage

KEY: Final = FlowKey("customer flow 7")
FLOW: Final = FlowId(DEFAULT_PROJECT, KEY)
SHARD: Final = flow_shard(*FLOW)
LIMITED: Final = FlowRules(max_in_flight=1, rate=Rate(2, 60))


def in_flow(flow: FlowId = FLOW, **changes: object) -> NewTimer:
    timer = new_timer(shard=flow_shard(*flow), **changes)  # type: ignore[arg-type]
    return replace(timer, project=flow.project, flow_key=flow.key)


async def created(storage: Storage, count: int = 1) -> list[NewTimer]:
    timers = [in_flow() for _ in range(count)]
    await storage.create(timers, NOW)
    return timers


async def ask(
    storage: Storage,
    timers: Sequence[NewTimer],
    terms: Terms | None,
    replica: ReplicaId = ALICE,
    *,
    skip_locked: bool = False,
) -> ClaimReply:
    return await storage.claim(
        replica,
        FIRST,
        [timer.id for timer in timers],
        SOON,
        SOON,
        terms=terms,
        skip_locked=skip_locked,
    )


async def limit(storage: Storage) -> None:
    await storage.put_flow(FLOW, {"max_in_flight": 1, "rate": Rate(2, 60)}, NOW)


@pytest.mark.parametrize("skip_locked", [False, True])
async def test_who_has_the_term_claims_and_nobody_else(
    storage: Storage, *, skip_locked: bool
) -> None:
    timers = await created(storage, 2)
    for replica in (ALICE, BOB):
        await storage.join(replica, NOW)
    terms = await storage.take_terms(ALICE, [SHARD])
    refused = await ask(storage, timers, terms, BOB, skip_locked=skip_locked)
    assert not refused.claimed
    assert set(refused.moved) == {due_timer(timer) for timer in timers}
    assert set(refused.foreign) == {timer.id for timer in timers}
    terms = await storage.take_terms(BOB, [SHARD])
    reply = await ask(storage, timers, terms, BOB, skip_locked=skip_locked)
    assert len(reply.claimed) == 2
    assert (reply.moved, reply.foreign) == ([], [])


@pytest.mark.parametrize("skip_locked", [False, True])
async def test_claim_that_was_asked_for_in_an_earlier_term_takes_nothing(
    storage: Storage, *, skip_locked: bool
) -> None:
    timers = await created(storage)
    await storage.join(ALICE, NOW)
    earlier = await storage.take_terms(ALICE, [SHARD])
    later = await storage.take_terms(ALICE, [SHARD])
    assert later[SHARD] > earlier[SHARD] > NO_TERM
    late = await ask(storage, timers, earlier, skip_locked=skip_locked)
    assert (len(late.claimed), len(late.foreign)) == (0, 1)
    assert len((await ask(storage, timers, later)).claimed) == 1


@pytest.mark.parametrize("terms", [{SHARD: NO_TERM}, {SHARD: 1}])
async def test_flow_of_which_nobody_has_the_term_is_not_claimed(
    storage: Storage, terms: Terms
) -> None:
    timers = await created(storage)
    await storage.join(ALICE, NOW)
    reply = await ask(storage, timers, terms)
    assert (len(reply.claimed), len(reply.foreign)) == (0, 1)


async def test_timer_in_a_flow_is_not_claimed_as_if_it_were_in_none(storage: Storage) -> None:
    (timer,) = await created(storage)
    await storage.join(ALICE, NOW)
    await storage.take_terms(ALICE, [SHARD])
    reply = await ask(storage, [timer], terms=None)
    assert not reply.claimed
    assert reply.moved == [due_timer(timer)]
    assert (await storage.get(timer.id)).status is Status.PENDING


async def test_claim_asked_again_has_the_same_answer_though_the_term_has_gone(
    storage: Storage,
) -> None:
    timers = await created(storage)
    await storage.join(ALICE, NOW)
    terms = await storage.take_terms(ALICE, [SHARD])
    first = await ask(storage, timers, terms)
    await storage.join(BOB, NOW)
    await storage.take_terms(BOB, [SHARD])
    again = await ask(storage, timers, terms)
    assert [timer.id for timer in again.claimed] == [timer.id for timer in first.claimed]


async def test_who_is_gone_takes_no_term(storage: Storage) -> None:
    timers = await created(storage)
    await storage.join(ALICE, NOW)
    terms = await storage.take_terms(ALICE, [SHARD])
    with pytest.raises(ReplicaGoneError):
        await storage.take_terms(BOB, [SHARD])
    assert len((await ask(storage, timers, terms)).claimed) == 1


async def test_load_names_flow_and_project(storage: Storage) -> None:
    flow = FlowId(ProjectId(7), KEY)
    timer = in_flow(flow)
    await storage.create([timer], NOW)
    await storage.join(ALICE, NOW)
    moved = (await ask(storage, [timer], {})).moved
    lane = Lane(timer.spec.callback.url.destination, ProjectId(7))
    assert moved == [DueTimer(timer.spec.execute_at, timer.id, lane, KEY)]


async def test_flow_without_limits_is_told_by_its_rules_alone(storage: Storage) -> None:
    (timer,) = await created(storage)
    await claimed_in_flow(storage, timer.id)
    readings = await storage.flow_readings([FLOW, FlowId(ProjectId(3), KEY)], SOON)
    for reading in readings.flows.values():
        assert (reading.rules, set(reading.now.executing)) == (NO_FLOW_RULES, set())
        assert (reading.ends_s, reading.last_end_s) == ((), -inf)
    assert readings.flows.keys() == {FLOW, FlowId(ProjectId(3), KEY)}


async def test_reading_is_as_of_a_version_of_the_rules(storage: Storage) -> None:
    await limit(storage)
    before = await storage.flow_readings([FLOW], SOON)
    assert before.version == (await storage.rules_since(0)).version
    assert before.flows[FLOW].rules == LIMITED
    await storage.put_flow(FLOW, {"paused": True}, SOON)
    after = await storage.flow_readings([FLOW], SOON)
    assert after.version > before.version
    assert after.flows[FLOW].rules == replace(LIMITED, paused_at=SOON)


async def test_what_is_executing_is_told_until_it_is_settled_or_swept(storage: Storage) -> None:
    await limit(storage)
    timers = await created(storage, 2)
    first, second = timers
    taken = await claimed_in_flow(storage, first.id)
    await claimed_in_flow(storage, second.id, BOB, SECOND)
    reading = (await storage.flow_readings([FLOW], SOON)).flows[FLOW]
    assert set(reading.now.executing) == {first.id, second.id}
    settlement = settlement_of(taken, Delivered(200), SOON, SOON)
    assert settlement is not None
    await storage.settle([settlement], SOON)
    assert set((await storage.flows_now([FLOW]))[FLOW].executing) == {second.id}
    await storage.sweep(BOB, None, SOON)
    assert not (await storage.flows_now([FLOW]))[FLOW].executing


@pytest.mark.parametrize("is_swept", [True, False])
async def test_what_others_have_given_back_is_told_if_it_is_due_first(
    storage: Storage, *, is_swept: bool
) -> None:
    await limit(storage)
    assert (await storage.flows_now([FLOW]))[FLOW] == FlowNow(frozenset(), None)
    first, second = in_flow(), in_flow(execute_at=NOW + seconds(1))
    await storage.create([first, second], NOW)
    taken = await claimed_in_flow(storage, first.id)
    now = (await storage.flows_now([FLOW]))[FLOW]
    assert now == FlowNow(frozenset({first.id}), due_timer(second))
    if is_swept:
        await storage.sweep(ALICE, None, LATER)
    else:
        await storage.settle([given_back(taken)], SOON)
    now = (await storage.flows_now([FLOW]))[FLOW]
    assert now == FlowNow(frozenset(), due_timer(first))
    assert (await storage.flow_readings([FLOW], SOON)).flows[FLOW].now == now


async def test_what_is_swept_of_a_flow_keeps_its_place_in_it(storage: Storage) -> None:
    (timer,) = await created(storage)
    retried = in_flow(retry=RetryPolicy(delays=(1.0,), jitter=0.0))
    await storage.create([retried], NOW)
    await claimed_in_flow(storage, timer.id)
    failed = settlement_of(
        await claimed_in_flow(storage, retried.id), Rejected(503, ()), SOON, SOON
    )
    assert failed is not None
    await storage.settle([failed], SOON)
    again_at = SOON + seconds(1)
    terms = await storage.take_terms(ALICE, [SHARD])
    await storage.claim(ALICE, SECOND, [retried.id], again_at, again_at, terms=terms)
    await storage.sweep(ALICE, None, LATER)
    assert await due(storage, timer.spec.execute_at, SHARD) == [timer.id]
    assert await due(storage, again_at, SHARD) == [timer.id, retried.id]


async def test_what_has_ended_within_the_window_is_told(storage: Storage) -> None:
    await limit(storage)
    instants = [SOON, SOON + seconds(10), SOON + seconds(20)]
    for instant in instants:
        (timer,) = await created(storage)
        taken = await claimed_in_flow(storage, timer.id)
        end = instant + timedelta(milliseconds=250)
        settlement = settlement_of(taken, Delivered(200), instant, end)
        assert settlement is not None
        await storage.settle([settlement], end)
    now = SOON + seconds(69)
    reading = (await storage.flow_readings([FLOW], now)).flows[FLOW]
    assert list(reading.ends_s) == [(at.timestamp() + 0.25) for at in instants[1:]]
    assert reading.last_end_s == instants[-1].timestamp() + 0.25
    later = (await storage.flow_readings([FLOW], now + seconds(60))).flows[FLOW]
    assert later.ends_s == ()
    assert later.last_end_s == instants[-1].timestamp() + 0.25


async def test_what_was_swept_may_have_been_sent_until_now(storage: Storage) -> None:
    await limit(storage)
    (timer,) = await created(storage)
    await claimed_in_flow(storage, timer.id)
    await storage.sweep(ALICE, None, SOON + seconds(5))
    now = SOON + seconds(6)
    reading = (await storage.flow_readings([FLOW], now)).flows[FLOW]
    assert list(reading.ends_s) == [now.timestamp()]
    assert reading.last_end_s == now.timestamp()


async def test_each_attempt_of_a_timer_counts_once(storage: Storage) -> None:
    await limit(storage)
    timer = in_flow(retry=RetryPolicy(delays=(1.0,), jitter=0.0))
    await storage.create([timer], NOW)
    taken = await claimed_in_flow(storage, timer.id)
    failed = settlement_of(taken, Rejected(503, ()), SOON, SOON + seconds(1))
    assert failed is not None
    await storage.settle([failed], SOON + seconds(1))
    begun, end = SOON + seconds(3), SOON + seconds(4)
    terms = await storage.take_terms(ALICE, [SHARD])
    (again,) = (await storage.claim(ALICE, SECOND, [timer.id], begun, begun, terms=terms)).claimed
    done = settlement_of(again, Delivered(200), begun, end)
    assert done is not None
    await storage.settle([done], end)
    reading = (await storage.flow_readings([FLOW], end)).flows[FLOW]
    ends = (SOON + seconds(1), end)
    assert list(reading.ends_s) == [at.timestamp() for at in ends]


async def test_flow_of_the_same_name_in_another_project_is_another(storage: Storage) -> None:
    await limit(storage)
    other = FlowId(ProjectId(7), KEY)
    timer = in_flow(other)
    await storage.create([timer], NOW)
    await claimed_in_flow(storage, timer.id)
    assert not (await storage.flows_now([FLOW]))[FLOW].executing
    assert set((await storage.flows_now([other]))[other].executing) == {timer.id}
