"""What is in one project is not there for another."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from tests.contract.timers import ALICE, NOW, keyed, new_timer, seconds
from tests.schedules import schedule_of, schedule_spec
from timer_trio.callback_url import read_url
from timer_trio.domain.bulk import Bulk, BulkAction, BulkPage
from timer_trio.domain.errors import (
    ScheduleNameTakenError,
    ScheduleNotFoundError,
    TimerNotFoundError,
)
from timer_trio.domain.keys import KeyedCreate
from timer_trio.domain.planning import paused
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import TimerFilter, TimerQuery
from timer_trio.domain.schedule import NewOccurrence, Schedule, ScheduleId, ScheduleQuery
from timer_trio.domain.settlement import Completed
from timer_trio.domain.timer import Claim, NewTimer, ResultTarget, Status, TimerId
from timer_trio.storage import Storage

MINE: Final = ProjectId(1)
OTHER: Final = ProjectId(2)


def timer_in(project: ProjectId, key: str | None = None) -> NewTimer:
    return replace(new_timer(), project=project, key=key)


def keyed_in(project: ProjectId, key: str) -> KeyedCreate:
    return replace(keyed(key, timer_in(project)), project=project)


async def listed(storage: Storage, project: ProjectId) -> list[TimerId]:
    return [timer.id for timer in (await storage.list(TimerQuery(project=project))).timers]


@pytest.fixture
async def mine(storage: Storage) -> NewTimer:
    timer = timer_in(MINE)
    await storage.create([timer], NOW)
    return timer


async def test_timer_is_seen_in_its_project_alone(storage: Storage, mine: NewTimer) -> None:
    assert (await storage.get(mine.id, MINE)).id == mine.id
    for project in (DEFAULT_PROJECT, OTHER):
        with pytest.raises(TimerNotFoundError):
            await storage.get(mine.id, project)
        assert await listed(storage, project) == []
        assert (await storage.list(TimerQuery(project=project))).total == 0
    assert await listed(storage, MINE) == [mine.id]


async def test_timer_of_another_project_cannot_be_changed(storage: Storage, mine: NewTimer) -> None:
    with pytest.raises(TimerNotFoundError):
        await storage.update(mine.id, {"execute_at": NOW + seconds(9)}, NOW, OTHER)
    with pytest.raises(TimerNotFoundError):
        await storage.cancel(mine.id, NOW, OTHER)
    assert (await storage.get(mine.id, MINE)).status is Status.PENDING
    await storage.cancel(mine.id, NOW, MINE)
    with pytest.raises(TimerNotFoundError):
        await storage.redrive(mine.id, NOW, NOW, None, OTHER)
    assert (await storage.get(mine.id, MINE)).status is Status.CANCELED


async def test_attempts_of_another_project_are_none(storage: Storage, mine: NewTimer) -> None:
    await storage.cancel(mine.id, NOW, MINE)
    completed = timer_in(MINE)
    await storage.create([completed], NOW)
    await storage.join(ALICE, NOW)
    await storage.claim(ALICE, Claim(1), [completed.id], NOW + seconds(60), NOW)
    done = Completed(
        timer_id=completed.id, claim=Claim(1), executed_at=NOW, http_status=200, duration_ms=1
    )
    await storage.settle([done], NOW)
    await storage.redrive(completed.id, NOW, NOW, None, MINE)
    assert len(await storage.attempts(completed.id, MINE)) == 1
    assert await storage.attempts(completed.id, OTHER) == []


async def test_bulk_action_leaves_other_projects_alone(storage: Storage, mine: NewTimer) -> None:
    theirs = timer_in(OTHER)
    await storage.create([theirs], NOW)
    wanted = TimerFilter(project=OTHER, status=Status.PENDING)
    bulk = Bulk(action=BulkAction.CANCEL, wanted=wanted, as_of=NOW)
    reply = await storage.bulk(BulkPage(bulk=bulk, after=None, size=10, due_at=NOW), NOW)
    assert (reply.matched, reply.done) == (1, 1)
    assert (await storage.get(mine.id, MINE)).status is Status.PENDING
    assert (await storage.get(theirs.id, OTHER)).status is Status.CANCELED


async def test_timers_written_together_keep_their_projects(storage: Storage) -> None:
    many = [timer_in(project) for project in (MINE, OTHER, MINE)]
    await storage.create_many(many, NOW)
    assert set(await listed(storage, MINE)) == {many[0].id, many[2].id}
    assert await listed(storage, OTHER) == [many[1].id]


async def test_same_idempotency_key_stands_for_one_request_of_each(storage: Storage) -> None:
    creates = [keyed_in(project, "k") for project in (MINE, OTHER)]
    answers = await storage.create_keyed(creates, NOW)
    assert answers == [create.answer for create in creates]
    for create in creates:
        assert await storage.first_answer("k", NOW, create.project) == create.answer
        assert await listed(storage, create.project) == [create.timers[0].id]
    assert await storage.first_answer("k", NOW) is None
    again = [keyed_in(project, "k") for project in (OTHER, MINE)]
    assert await storage.create_keyed(again, NOW) == answers[::-1]


async def test_same_name_stands_for_one_timer_of_each(storage: Storage) -> None:
    timers = [timer_in(project, "n") for project in (MINE, OTHER)]
    for timer in timers:
        assert await storage.create_named([timer], {}, NOW)
    for timer in timers:
        holder = await storage.name_holder("n", timer.project)
        assert holder is not None
        assert holder.timer_id == timer.id
        assert (await storage.held_names(["n"], timer.project))["n"].timer_id == timer.id
    assert await storage.name_holder("n") is None
    assert await storage.held_names(["n"]) == {}


async def test_name_is_not_taken_from_a_timer_of_another_project(storage: Storage) -> None:
    mine = timer_in(MINE, "n")
    assert await storage.create_named([mine], {}, NOW)
    await storage.cancel(mine.id, NOW, MINE)
    theirs = timer_in(OTHER, "n")
    assert await storage.create_named([theirs], {}, NOW)
    assert (await storage.redrive(mine.id, NOW, NOW, mine.id, MINE)) is not None
    holder = await storage.name_holder("n", OTHER)
    assert holder is not None
    assert holder.timer_id == theirs.id


async def test_deleted_timer_gives_back_its_own_name_alone(storage: Storage) -> None:
    timers = [timer_in(project, "n") for project in (MINE, OTHER)]
    for timer in timers:
        await storage.create_named([timer], {}, NOW)
    await storage.cancel(timers[0].id, NOW, MINE)
    bulk = Bulk(
        action=BulkAction.DELETE,
        wanted=TimerFilter(project=MINE, status=Status.CANCELED),
        as_of=NOW,
    )
    await storage.bulk(BulkPage(bulk=bulk, after=None, size=10, due_at=NOW), NOW)
    assert await storage.name_holder("n", MINE) is None
    assert await storage.name_holder("n", OTHER) is not None


async def test_prune_goes_through_all_projects(storage: Storage) -> None:
    timers = [timer_in(project, "n") for project in (DEFAULT_PROJECT, MINE, OTHER)]
    for timer in timers:
        await storage.create_named([timer], {}, NOW)
        await storage.cancel(timer.id, NOW, timer.project)
    later, after, count = NOW + seconds(1), None, 0
    while True:
        pruned = await storage.prune(later, after, 10)
        count += pruned.count
        if (after := pruned.next) is None:
            break
    assert count == 3
    for timer in timers:
        assert await storage.name_holder("n", timer.project) is None


async def test_result_is_in_the_project_of_its_parent(storage: Storage, mine: NewTimer) -> None:
    target = ResultTarget(url=read_url("http://a.example/done"), headers={})
    await storage.update(mine.id, {"on_completed": target}, NOW, MINE)
    await storage.join(ALICE, NOW)
    await storage.claim(ALICE, Claim(1), [mine.id], NOW + seconds(60), NOW)
    result = new_timer()
    done = Completed(
        timer_id=mine.id,
        claim=Claim(1),
        executed_at=NOW,
        http_status=200,
        duration_ms=1,
        result=result,
    )
    await storage.settle([done], NOW)
    assert (await storage.get(result.id, MINE)).parent_id == mine.id
    with pytest.raises(TimerNotFoundError):
        await storage.get(result.id)


def schedule_in(project: ProjectId, name: str) -> Schedule:
    schedule = schedule_of(schedule_spec(name=name))
    return replace(schedule, id=ScheduleId(new_timer().id), project=project)


async def test_schedule_is_seen_in_its_project_alone(storage: Storage) -> None:
    schedules = [schedule_in(project, "n") for project in (MINE, OTHER)]
    for schedule in schedules:
        await storage.create_schedule(schedule, (), NOW)
    for schedule in schedules:
        assert (await storage.schedule(schedule.id, schedule.project)) == schedule
        assert await storage.schedule_named("n", schedule.project) == schedule.id
        page = await storage.schedules(ScheduleQuery(project=schedule.project))
        assert page.schedules == [schedule]
    assert await storage.schedule_named("n") is None
    with pytest.raises(ScheduleNotFoundError):
        await storage.schedule(schedules[0].id, OTHER)
    with pytest.raises(ScheduleNotFoundError):
        await storage.change_schedule(
            schedules[0].id, lambda known, standing: paused(known, standing, NOW), NOW, OTHER
        )
    with pytest.raises(ScheduleNotFoundError):
        await storage.add_occurrences(schedules[0].id, (), NOW, OTHER)
    with pytest.raises(ScheduleNameTakenError):
        await storage.create_schedule(schedule_in(MINE, "n"), (), NOW)


async def test_occurrence_is_in_the_project_of_its_schedule(storage: Storage) -> None:
    schedule = schedule_in(MINE, "n")
    await storage.create_schedule(schedule, (), NOW)
    timer = timer_in(MINE)
    occurrence = NewOccurrence(
        timer=timer, schedule_id=ScheduleId(schedule.id), version=1, instant=NOW
    )
    await storage.add_occurrences(schedule.id, [occurrence], NOW, MINE)
    assert (await storage.get(timer.id, MINE)).schedule_id == schedule.id
    assert (await storage.schedule_facts(schedule.id, MINE)).pending == 1
    assert (await storage.schedule_facts(schedule.id, OTHER)).pending == 0
