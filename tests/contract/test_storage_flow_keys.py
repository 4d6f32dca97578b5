"""A timer stays in the flow that it was written in, whoever writes it and whatever happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from tests.contract.timers import (
    ALICE,
    FIRST,
    LATER,
    NOW,
    SECOND,
    SOON,
    claimed,
    claimed_in_flow,
    completed,
    keyed,
    new_timer,
    seconds,
    spec,
)
from tests.schedules import CALENDAR, EVERY_MINUTE, FIRST_ID, SECOND_ID, schedule_of, schedule_spec
from timer_trio.callback_url import read_url
from timer_trio.domain.bulk import Bulk, BulkAction, BulkPage
from timer_trio.domain.errors import QuotaUsedUpError, RowRefusedError
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.outcome import Delivered
from timer_trio.domain.planning import changed, plan
from timer_trio.domain.project import ProjectId
from timer_trio.domain.query import TimerFilter, TimerQuery
from timer_trio.domain.schedule import NewOccurrence, Overlap, Plan, ScheduleId, ScheduleQuery
from timer_trio.domain.settlement import settlement_of
from timer_trio.domain.timer import NewTimer, ResultTarget, Status, TimerId, shard_of
from timer_trio.storage import Storage

FLOW: Final = FlowKey("customer \t\\N ü")
OTHER: Final = FlowKey("other")
TARGET: Final = ResultTarget(url=read_url("https://example.org/told"), headers={})
THEN: Final = SOON + seconds(1)
MINUTE: Final = timedelta(minutes=1)

Write = Callable[[Storage, Sequence[NewTimer]], Awaitable[object]]
WAYS: Final[dict[str, Write]] = {
    "create": lambda storage, timers: storage.create(timers, NOW),
    "create_many": lambda storage, timers: storage.create_many(timers, NOW),
    "create_keyed": lambda storage, timers: storage.create_keyed([keyed("k", *timers)], NOW),
    "create_named": lambda storage, timers: storage.create_named(
        [replace(each, key=f"name {place}") for place, each in enumerate(timers)], {}, NOW
    ),
}


def in_flow(flow_key: FlowKey | None = FLOW, **changes: object) -> NewTimer:
    return replace(new_timer(), flow_key=flow_key, **changes)  # type: ignore[arg-type]  # of any field


async def created(storage: Storage, flow_key: FlowKey | None = FLOW) -> TimerId:
    timer = in_flow(flow_key)
    await storage.create([timer], NOW)
    return timer.id


async def planned(
    storage: Storage,
    *,
    flow_key: FlowKey | None = FLOW,
    overlap: Overlap = Overlap.ALLOW,
    schedule_id: ScheduleId = FIRST_ID,
) -> Plan:
    wanted = schedule_spec(EVERY_MINUTE, overlap=overlap, on_failed=TARGET, max_occurrences=3)
    made = plan(replace(schedule_of(wanted, schedule_id), flow_key=flow_key), CALENDAR, NOW)
    await storage.create_schedule(made.schedule, made.occurrences, NOW)
    return made


async def listed(storage: Storage, **asked: object) -> set[TimerId]:
    query = TimerQuery(**asked)  # type: ignore[arg-type]  # of any filter
    return {timer.id for timer in (await storage.list(query)).timers}


@pytest.mark.parametrize("max_live", [None, 3])
@pytest.mark.parametrize("way", WAYS)
async def test_flow_is_read_as_it_was_written(
    storage: Storage, way: str, max_live: int | None
) -> None:
    timers = [in_flow(each, max_live=max_live) for each in (FLOW, None, OTHER)]
    await WAYS[way](storage, timers)
    assert [(await storage.get(each.id)).flow_key for each in timers] == [FLOW, None, OTHER]
    shown = {each.id: each.flow_key for each in (await storage.list(TimerQuery())).timers}
    assert shown == {each.id: each.flow_key for each in timers}


async def test_timers_in_flows_are_counted(storage: Storage) -> None:
    for number, write in enumerate(WAYS.values(), 1):
        await write(storage, [in_flow(max_live=number)])
        with pytest.raises(QuotaUsedUpError):
            await storage.create([in_flow(max_live=number)], NOW)


async def test_holder_of_a_name_tells_its_flow(storage: Storage) -> None:
    await storage.create_named([in_flow(key="cart")], {}, NOW)
    holder = await storage.name_holder("cart")
    assert holder is not None
    assert holder.timer is not None
    assert holder.timer.flow_key == FLOW


@pytest.mark.parametrize("flow_key", ["", "x" * 256, "a\0b", "\ud800"])
@pytest.mark.parametrize("way", WAYS)
async def test_flow_that_cannot_be_stored_is_refused(
    storage: Storage, way: str, flow_key: str
) -> None:
    with pytest.raises(RowRefusedError):
        await WAYS[way](storage, [in_flow(None), in_flow(FlowKey(flow_key))])
    assert (await storage.list(TimerQuery())).total == 0


@pytest.mark.parametrize("flow_key", ["x", "\U0001f388" * 255])
async def test_flow_may_have_255_characters(storage: Storage, flow_key: str) -> None:
    timer_id = await created(storage, FlowKey(flow_key))
    assert (await storage.get(timer_id)).flow_key == flow_key


async def test_timer_stays_in_its_flow_through_all_that_happens(storage: Storage) -> None:
    timer_id = await created(storage)
    await storage.update(timer_id, {"metadata": {"a": 1}}, SOON)
    assert (await storage.get(timer_id)).flow_key == FLOW
    await claimed_in_flow(storage, timer_id)
    await storage.settle([completed(timer_id)], SOON)
    assert (await storage.get(timer_id)).flow_key == FLOW
    await storage.redrive(timer_id, LATER, THEN)
    await storage.cancel(timer_id, THEN)
    timer = await storage.get(timer_id)
    assert (timer.status, timer.flow_key) == (Status.CANCELED, FLOW)


async def test_list_finds_what_is_in_a_flow_whatever_its_status(storage: Storage) -> None:
    pending, done, other = await created(storage), await created(storage), await created(storage)
    await created(storage, OTHER)
    await created(storage, None)
    await claimed_in_flow(storage, done)
    await storage.settle([completed(done)], SOON)
    await storage.cancel(other, SOON)
    assert await listed(storage, flow_key=FLOW) == {pending, done, other}
    assert await listed(storage, flow_key=FLOW, status=Status.CANCELED) == {other}
    assert await listed(storage, flow_key=FlowKey("nothing")) == set()


async def test_flows_of_one_name_in_two_projects_are_two(storage: Storage) -> None:
    own, foreign = in_flow(), in_flow(project=ProjectId(7))
    await storage.create([own, foreign], NOW)
    assert await listed(storage, flow_key=FLOW) == {own.id}
    assert await listed(storage, flow_key=FLOW, project=ProjectId(7)) == {foreign.id}


async def test_bulk_action_takes_a_flow_and_leaves_its_timers_in_it(storage: Storage) -> None:
    ours, other = await created(storage), await created(storage, OTHER)
    for timer_id in (ours, other):
        await storage.cancel(timer_id, NOW)
    wanted = TimerFilter(flow_key=FLOW)
    bulk = Bulk(action=BulkAction.REDRIVE, wanted=wanted, as_of=SOON)
    reply = await storage.bulk(BulkPage(bulk=bulk, after=None, size=10, due_at=LATER), THEN)
    assert (reply.matched, reply.done) == (1, 1)
    timer = await storage.get(ours)
    assert (timer.status, timer.flow_key) == (Status.PENDING, FLOW)
    assert (await storage.get(other)).status is Status.CANCELED


async def test_claim_tells_the_flow_where_results_are_wanted_alone(storage: Storage) -> None:
    plain = await created(storage)
    told, apart = in_flow(spec=spec(on_failed=TARGET)), in_flow(None, spec=spec(on_failed=TARGET))
    await storage.create([told, apart], NOW)
    assert (await claimed_in_flow(storage, plain)).earlier is None
    for timer, claim in ((told, claimed_in_flow), (apart, claimed)):
        earlier = (await claim(storage, timer.id)).earlier
        assert earlier is not None
        assert earlier.flow_key == timer.flow_key


@pytest.mark.parametrize("overlap", Overlap)
async def test_claim_of_occurrences_tells_the_flow(storage: Storage, overlap: Overlap) -> None:
    first, *_ = (await planned(storage, overlap=overlap)).occurrences
    await storage.join(ALICE, NOW)
    terms = await storage.take_terms(ALICE, [shard_of(first.timer.id)])
    claim = storage.claim_exclusive if overlap is Overlap.SKIP else storage.claim_occurrences
    (timer,) = (
        await claim(ALICE, FIRST, [first.timer.id], LATER, NOW + MINUTE, terms=terms)
    ).claimed
    assert timer.earlier is not None
    assert (timer.earlier.flow_key, timer.project) == (FLOW, 0)
    assert timer.occurrence is not None
    assert timer.occurrence.schedule_id == FIRST_ID


async def test_result_is_in_no_flow_and_tells_that_of_its_timer(storage: Storage) -> None:
    timer = in_flow(spec=spec(on_completed=TARGET))
    await storage.create([timer], NOW)
    taken = await claimed_in_flow(storage, timer.id)
    settlement = settlement_of(taken, Delivered(200), SOON, SOON)
    assert settlement is not None
    await storage.settle([settlement], SOON)
    (result,) = await listed(storage) - {timer.id}
    told = await storage.get(result)
    assert told.flow_key is None
    assert '"flow_key": "customer \\t\\\\N ü"' in (told.spec.callback.payload or "")


async def test_occurrences_are_in_the_flow_of_their_schedule(storage: Storage) -> None:
    made = await planned(storage)
    schedule = await storage.schedule(FIRST_ID)
    assert (schedule, schedule.flow_key) == (made.schedule, FLOW)
    beside = NewOccurrence(
        timer=schedule.new_timer(in_flow().id, NOW, NOW),
        schedule_id=FIRST_ID,
        version=None,
        instant=NOW,
    )
    await storage.add_occurrences(FIRST_ID, [beside], NOW)
    planned_ids = {each.timer.id for each in made.occurrences}
    assert await listed(storage, flow_key=FLOW) == planned_ids | {beside.timer.id}


async def test_changed_schedule_stays_in_its_flow(storage: Storage) -> None:
    await planned(storage)
    for wanted in (schedule_spec(EVERY_MINUTE, start_at=NOW), schedule_spec(metadata={"a": 1})):
        await storage.change_schedule(
            FIRST_ID,
            lambda known, standing, wanted=wanted: changed(  # type: ignore[misc]  # bound now
                known, standing, wanted, SOON, CALENDAR
            ),
            SOON,
        )
        assert (await storage.schedule(FIRST_ID)).flow_key == FLOW
        occurrences = await listed(storage, schedule_id=FIRST_ID, status=Status.PENDING)
        assert occurrences
        assert occurrences == await listed(storage, flow_key=FLOW, status=Status.PENDING)


async def test_planner_writes_occurrences_into_the_flow(storage: Storage) -> None:
    wanted = schedule_spec(EVERY_MINUTE)
    schedule = replace(schedule_of(wanted), flow_key=FLOW)
    await storage.create_schedule(schedule, [], NOW)
    (known,) = await storage.due_schedules(range(256), NOW, 10)
    assert known == schedule
    assert await storage.plan([plan(schedule, CALENDAR, NOW)], NOW) == [True]
    assert len(await listed(storage, flow_key=FLOW)) == 10


async def test_list_of_schedules_finds_those_of_a_flow(storage: Storage) -> None:
    await planned(storage)
    await planned(storage, flow_key=None, schedule_id=SECOND_ID)
    for flow_key, found in ((FLOW, [FIRST_ID]), (OTHER, [])):
        page = await storage.schedules(ScheduleQuery(flow_key=flow_key))
        assert [each.id for each in page.schedules] == found


async def test_flow_of_a_schedule_that_cannot_be_stored_is_refused(storage: Storage) -> None:
    for flow_key in ("", "x" * 256, "a\0b"):
        with pytest.raises(RowRefusedError):
            await planned(storage, flow_key=FlowKey(flow_key))
    assert not (await storage.schedules(ScheduleQuery())).schedules


async def test_claim_after_a_failure_tells_the_flow_again(storage: Storage) -> None:
    timer = in_flow(spec=spec(on_failed=TARGET))
    await storage.create([timer], NOW)
    await claimed_in_flow(storage, timer.id)
    await storage.sweep(ALICE, None, SOON)
    again = await claimed_in_flow(storage, timer.id, claim=SECOND)
    assert again.earlier is not None
    assert again.earlier.flow_key == FLOW


async def test_who_changes_a_timer_is_told_its_flow(storage: Storage) -> None:
    ours, other = await created(storage), await created(storage, None)
    for timer_id, flow_key in ((ours, FLOW), (other, None)):
        moved = await storage.update(timer_id, {"execute_at": LATER}, NOW)
        assert moved.flow_key == flow_key
        assert (await storage.cancel(timer_id, NOW)).flow_key == flow_key
        again = await storage.redrive(timer_id, LATER, NOW)
        assert again is not None
        assert again.flow_key == flow_key
