"""Schedules are written with their occurrences, and changed as one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
import trio

from tests.contract.timers import (
    ALICE,
    FIRST,
    LATER,
    NOW,
    completed,
    due,
    new_timer,
    retrying,
    seconds,
    spec,
)
from tests.schedules import (
    CALENDAR,
    DAILY,
    EVERY_MINUTE,
    FIRST_ID,
    SECOND_ID,
    schedule_of,
    schedule_spec,
)
from timer_trio.callback_url import read_url
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.errors import (
    RowRefusedError,
    ScheduleEndedError,
    ScheduleNameTakenError,
    ScheduleNotFoundError,
)
from timer_trio.domain.keys import FirstAnswer
from timer_trio.domain.occurrence import extra_occurrence_id
from timer_trio.domain.planning import changed, ended, paused, plan, resumed
from timer_trio.domain.query import Position, TimerQuery
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.schedule import (
    CatchUp,
    NewOccurrence,
    Overlap,
    PendingFate,
    Plan,
    Schedule,
    ScheduleChange,
    ScheduleId,
    ScheduleQuery,
    ScheduleSpec,
    ScheduleStatus,
    Standing,
)
from timer_trio.domain.schedule_rule import EveryRule, RecurrenceRule
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import JsonText, NewTimer, ResultTarget, Status, TimerId, shard_of
from timer_trio.storage import Storage

SHARD = shard_of(TimerId(FIRST_ID))
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


async def create(
    storage: Storage,
    wanted: ScheduleSpec,
    schedule_id: ScheduleId = FIRST_ID,
    now: datetime = NOW,
) -> Plan:
    planned = plan(schedule_of(wanted, schedule_id, now), CALENDAR, now)
    await storage.create_schedule(planned.schedule, planned.occurrences, now)
    return planned


async def pending(storage: Storage, schedule_id: ScheduleId = FIRST_ID) -> list[datetime]:
    query = TimerQuery(schedule_id=schedule_id, status=Status.PENDING, limit=200)
    return sorted(timer.execute_at for timer in (await storage.list(query)).timers)


async def begin(storage: Storage, timer_id: TimerId, now: datetime) -> None:
    await storage.join(ALICE, NOW)
    reply = await storage.claim_occurrences(ALICE, FIRST, [timer_id], now, now)
    assert [timer.id for timer in reply.claimed] == [timer_id]


def minutes(first: int, last: int) -> list[datetime]:
    return [NOW + minute * MINUTE for minute in range(first, last + 1)]


FULL = schedule_spec(
    RecurrenceRule(text="FREQ=MONTHLY;BYMONTHDAY=-1", timezone="Europe/Berlin"),
    name="last of the month",
    start_at=NOW - HOUR,
    end_at=NOW + timedelta(days=4_000),
    max_occurrences=12,
    catch_up=CatchUp.ALL,
    overlap=Overlap.SKIP,
    jitter_s=90.5,
    callback_url=read_url("https://example.org/ü?q=1"),
    callback_headers={"B": "2", "A": "1"},
    callback_payload=JsonText('{"b": 1, "a": [null, 1e400]}'),
    metadata={"team": "billing", "n": 1},
    timeout_s=3.5,
    misfire_grace_s=None,
    retry=RetryPolicy(delays=(1.0, 2.5)),
    store_response=StoreResponse.ALL,
    on_failed=ResultTarget(url=read_url("https://example.org/lost"), headers={"X": "y"}),
    signing=Signing.NONE,
)


@pytest.mark.parametrize(
    "wanted", [FULL, schedule_spec(EVERY_MINUTE), schedule_spec(DAILY, metadata=None)]
)
async def test_a_schedule_comes_back_as_it_was_written(
    storage: Storage, wanted: ScheduleSpec
) -> None:
    planned = await create(storage, wanted)
    known = await storage.schedule(FIRST_ID)
    template = replace(known.spec.template, execute_at=wanted.template.execute_at)
    assert replace(known, spec=replace(known.spec, template=template)) == planned.schedule


async def test_occurrences_are_timers(storage: Storage) -> None:
    planned = await create(storage, FULL)
    (first,) = planned.occurrences
    timer = await storage.get(first.timer.id)
    assert timer.spec == first.timer.spec
    assert (timer.status, timer.schedule_id) == (Status.PENDING, FIRST_ID)
    assert await due(storage, datetime.max.replace(tzinfo=NOW.tzinfo), SHARD) == [timer.id]


async def test_the_same_create_again_changes_nothing(storage: Storage) -> None:
    planned = await create(storage, schedule_spec(EVERY_MINUTE, name="m"))
    await storage.cancel(planned.occurrences[0].timer.id, NOW)
    await storage.create_schedule(planned.schedule, planned.occurrences, NOW)
    assert await pending(storage) == minutes(2, 10)


async def test_there_is_no_schedule_of_another_id(storage: Storage) -> None:
    with pytest.raises(ScheduleNotFoundError):
        await storage.schedule(FIRST_ID)
    with pytest.raises(ScheduleNotFoundError):
        await storage.change_schedule(FIRST_ID, lambda s, _: ended(s, NOW), NOW)
    with pytest.raises(ScheduleNotFoundError):
        await storage.add_occurrences(FIRST_ID, [], NOW)
    facts = await storage.schedule_facts(FIRST_ID)
    assert (facts.last_occurrence, facts.pending, facts.skipped) == (None, 0, 0)


async def test_what_cannot_be_stored_is_refused_and_nothing_is_written(storage: Storage) -> None:
    with pytest.raises(RowRefusedError):
        await create(storage, schedule_spec(EVERY_MINUTE, metadata={"a": "\0"}))
    with pytest.raises(ScheduleNotFoundError):
        await storage.schedule(FIRST_ID)
    assert await pending(storage) == []


# --- names and keys ---------------------------------------------------------------------------


async def test_a_name_is_of_one_schedule_that_has_not_ended(storage: Storage) -> None:
    await create(storage, schedule_spec(EVERY_MINUTE, name="n"))
    with pytest.raises(ScheduleNameTakenError) as caught:
        await create(storage, schedule_spec(DAILY, name="n"), SECOND_ID)
    assert caught.value.schedule_id == FIRST_ID
    assert await pending(storage, SECOND_ID) == []
    assert await storage.schedule_named("n") == FIRST_ID
    await storage.change_schedule(FIRST_ID, lambda s, _: ended(s, NOW), NOW)
    assert await storage.schedule_named("n") is None
    await create(storage, schedule_spec(DAILY, name="n"), SECOND_ID)
    assert await storage.schedule_named("n") == SECOND_ID


async def test_a_change_takes_no_name_of_another(storage: Storage) -> None:
    await create(storage, schedule_spec(EVERY_MINUTE, name="n"))
    await create(storage, schedule_spec(DAILY), SECOND_ID)
    wanted = schedule_spec(EVERY_MINUTE, name="n")
    with pytest.raises(ScheduleNameTakenError):
        await storage.change_schedule(
            SECOND_ID, lambda s, at: changed(s, at, wanted, NOW, CALENDAR), NOW
        )
    assert (await storage.schedule(SECOND_ID)).spec.name is None


def keyed_answer(schedule_id: ScheduleId, fingerprint: bytes = b"one") -> FirstAnswer:
    return FirstAnswer(
        fingerprint=fingerprint,
        timer_ids=(TimerId(schedule_id),),
        status=201,
        data=JsonText("{}"),
    )


async def test_an_idempotency_key_stands_for_the_first_schedule(storage: Storage) -> None:
    first = plan(schedule_of(schedule_spec(EVERY_MINUTE)), CALENDAR, NOW)
    other = plan(schedule_of(schedule_spec(DAILY), SECOND_ID), CALENDAR, NOW)
    answer, late = keyed_answer(FIRST_ID), keyed_answer(SECOND_ID, b"other")
    for _ in range(2):
        written = await storage.create_schedule(
            first.schedule, first.occurrences, NOW, ("k", answer)
        )
        assert written == answer
    written = await storage.create_schedule(other.schedule, other.occurrences, NOW, ("k", late))
    assert written == answer
    with pytest.raises(ScheduleNotFoundError):
        await storage.schedule(SECOND_ID)
    assert await storage.first_answer("k", NOW) == answer


async def test_a_key_whose_name_is_taken_stays_free(storage: Storage) -> None:
    await create(storage, schedule_spec(EVERY_MINUTE, name="n"))
    other = plan(schedule_of(schedule_spec(DAILY, name="n"), SECOND_ID), CALENDAR, NOW)
    keyed = ("k", keyed_answer(SECOND_ID))
    with pytest.raises(ScheduleNameTakenError):
        await storage.create_schedule(other.schedule, other.occurrences, NOW, keyed)
    assert await storage.first_answer("k", NOW) is None


# --- changes ----------------------------------------------------------------------------------


async def test_standing_tells_what_has_begun_is_late_and_is_pending(storage: Storage) -> None:
    planned = await create(storage, schedule_spec(EVERY_MINUTE))
    first, second, _, fourth, *_ = (each.timer.id for each in planned.occurrences)
    await begin(storage, first, NOW + MINUTE)
    await storage.cancel(second, NOW)
    await storage.cancel(fourth, NOW)
    seen: list[Standing] = []

    def decide(schedule: Schedule, standing: Standing) -> ScheduleChange:
        seen.append(standing)
        return ScheduleChange(schedule=schedule, pending=PendingFate.KEPT)

    await storage.change_schedule(FIRST_ID, decide, NOW + 3.5 * MINUTE)
    assert seen == [
        Standing(
            last_begun=NOW + 2 * MINUTE,
            first_overdue=NOW + 3 * MINUTE,
            pending=7,
            canceled=frozenset({NOW + 4 * MINUTE}),
        )
    ]
    assert len(await pending(storage)) == 7


async def test_after_a_change_nothing_of_the_old_rule_is_pending(storage: Storage) -> None:
    planned = await create(storage, schedule_spec(EVERY_MINUTE))
    first = planned.occurrences[0].timer.id
    await begin(storage, first, NOW + MINUTE)
    wanted = schedule_spec(EveryRule(seconds=150))
    now = NOW + 1.5 * MINUTE
    decide = partial(changed, spec=wanted, now=now, calendar=CALENDAR)
    change, removed = await storage.change_schedule(FIRST_ID, decide, now)
    assert removed == 9
    assert await pending(storage) == [each.instant for each in change.occurrences]
    assert (await storage.schedule(FIRST_ID)).version == 2
    assert (await storage.get(first)).status is Status.EXECUTING


async def test_other_values_change_what_is_pending_in_place(storage: Storage) -> None:
    planned = await create(storage, schedule_spec(EVERY_MINUTE, metadata={"a": 1}))
    first, second, *_ = (each.timer.id for each in planned.occurrences)
    await begin(storage, first, NOW + MINUTE)
    url = read_url("https://elsewhere.example/hook")
    wanted = schedule_spec(EVERY_MINUTE, callback_url=url, metadata=None, timeout_s=1.5)
    decide = partial(changed, spec=wanted, now=LATER, calendar=CALENDAR)
    await storage.change_schedule(FIRST_ID, decide, LATER)
    timer = await storage.get(second)
    assert timer.spec == replace(wanted.template, execute_at=NOW + 2 * MINUTE)
    assert timer.updated_at == LATER
    assert (await storage.get(first)).spec.metadata == {"a": 1}


async def test_a_pause_takes_away_what_is_pending_and_a_resumption_plans_anew(
    storage: Storage,
) -> None:
    planned = await create(storage, schedule_spec(EVERY_MINUTE))
    await storage.change_schedule(FIRST_ID, partial(paused, now=NOW), NOW)
    assert await pending(storage) == []
    assert (await storage.schedule(FIRST_ID)).status is ScheduleStatus.PAUSED
    assert await storage.due_schedules(range(256), LATER, 10) == []
    now = NOW + 30 * seconds(1)
    await storage.change_schedule(FIRST_ID, partial(resumed, now=now, calendar=CALENDAR), now)
    assert await pending(storage) == [each.instant for each in planned.occurrences]


async def test_an_end_cancels_what_waits_beside_the_rule_and_between_attempts_too(
    storage: Storage,
) -> None:
    planned = await create(storage, schedule_spec(EVERY_MINUTE))
    first, second, *_ = (each.timer.id for each in planned.occurrences)
    await begin(storage, first, NOW + MINUTE)
    await storage.settle([retrying(first)], NOW + MINUTE)
    extra = beside_the_rule(NOW)
    await storage.add_occurrences(FIRST_ID, [extra], NOW)
    await storage.change_schedule(FIRST_ID, lambda s, _: ended(s, LATER), LATER)
    for timer_id in (first, second, extra.timer.id):
        assert (await storage.get(timer_id)).status is Status.CANCELED
    assert (await storage.schedule(FIRST_ID)).status is ScheduleStatus.ENDED


async def test_a_change_that_is_refused_changes_nothing(storage: Storage) -> None:
    await create(storage, schedule_spec(EVERY_MINUTE))

    def refuse(_schedule: Schedule, _standing: Standing) -> ScheduleChange:
        raise ScheduleEndedError

    with pytest.raises(ScheduleEndedError):
        await storage.change_schedule(FIRST_ID, refuse, NOW)
    wanted = schedule_spec(DAILY, metadata={"a": "\0"})
    decide = partial(changed, spec=wanted, now=NOW, calendar=CALENDAR)
    with pytest.raises(RowRefusedError):
        await storage.change_schedule(FIRST_ID, decide, NOW)
    assert await pending(storage) == minutes(1, 10)
    assert (await storage.schedule(FIRST_ID)).version == 1


async def test_changes_at_once_come_one_after_the_other(storage: Storage) -> None:
    await create(storage, schedule_spec(EVERY_MINUTE))

    async def change(seconds_apart: float) -> None:
        wanted = schedule_spec(EveryRule(seconds=seconds_apart))
        decide = partial(changed, spec=wanted, now=NOW, calendar=CALENDAR)
        await storage.change_schedule(FIRST_ID, decide, NOW)

    async with trio.open_nursery() as nursery:
        for apart in range(61, 65):
            nursery.start_soon(change, apart)
    known = await storage.schedule(FIRST_ID)
    assert known.version == 5
    assert isinstance(known.spec.timing.rule, EveryRule)
    step = seconds(known.spec.timing.rule.seconds)
    instants = await pending(storage)
    assert instants == [NOW + place * step for place in range(1, len(instants) + 1)]


# --- planning ---------------------------------------------------------------------------------


async def test_what_must_be_planned_is_found_in_its_shards_the_most_overdue_first(
    storage: Storage,
) -> None:
    later = replace(schedule_of(schedule_spec(EVERY_MINUTE)), plan_at=NOW + MINUTE)
    sooner = schedule_of(schedule_spec(EVERY_MINUTE), SECOND_ID)
    for each in (later, sooner):
        await storage.create_schedule(each, (), NOW)

    async def found(shards: range, until: datetime, limit: int = 10) -> list[UUID]:
        return [each.id for each in await storage.due_schedules(shards, until, limit)]

    assert await found(range(256), NOW + MINUTE) == [SECOND_ID, FIRST_ID]
    assert await found(range(256), NOW + MINUTE, 1) == [SECOND_ID]
    assert await found(range(256), NOW) == [SECOND_ID]
    assert await found(range(7), NOW + MINUTE) == []
    assert await storage.next_plan_at(range(256)) == NOW
    assert await storage.next_plan_at(range(7)) is None


async def test_a_plan_is_written_once(storage: Storage) -> None:
    schedule = schedule_of(schedule_spec(EVERY_MINUTE))
    await storage.create_schedule(schedule, (), NOW)
    planned = plan(schedule, CALENDAR, NOW)
    assert await storage.plan([planned], NOW) == [True]
    assert await storage.plan([planned], NOW) == [False]
    assert await pending(storage) == minutes(1, 10)
    known = await storage.schedule(FIRST_ID)
    assert (known.planned_to, known.instants) == (NOW + 10 * MINUTE, 10)
    assert await storage.plan([], NOW) == []


async def test_a_plan_of_an_older_version_writes_nothing(storage: Storage) -> None:
    schedule = schedule_of(schedule_spec(EVERY_MINUTE))
    other = schedule_of(schedule_spec(EVERY_MINUTE), SECOND_ID)
    for each in (schedule, other):
        await storage.create_schedule(each, (), NOW)
    plans = [plan(each, CALENDAR, NOW) for each in (schedule, other)]
    wanted = schedule_spec(EveryRule(seconds=86_400))
    decide = partial(changed, spec=wanted, now=NOW, calendar=CALENDAR)
    await storage.change_schedule(FIRST_ID, decide, NOW)
    assert await storage.plan(plans, NOW) == [False, True]
    assert await pending(storage) == [NOW + timedelta(days=1)]
    await storage.change_schedule(SECOND_ID, partial(paused, now=NOW), NOW)
    assert await storage.plan(plans, NOW) == [False, False]


async def test_what_a_plan_skips_is_canceled_in_words(storage: Storage) -> None:
    schedule = schedule_of(schedule_spec(EVERY_MINUTE, misfire_grace_s=60.0))
    await storage.create_schedule(schedule, (), NOW)
    now = NOW + 5 * MINUTE
    planned = plan(schedule, CALENDAR, now)
    assert await storage.plan([planned], now) == [True]
    skipped = planned.occurrences[0]
    timer = await storage.get(skipped.timer.id)
    assert (timer.status, timer.last_error) == (Status.CANCELED, skipped.skipped)
    facts = await storage.schedule_facts(FIRST_ID)
    assert (facts.skipped, facts.pending) == (1, 11)
    assert facts.last_occurrence == timer


async def test_a_broken_schedule_is_paused_in_words_if_it_is_the_same_still(
    storage: Storage,
) -> None:
    await create(storage, schedule_spec(EVERY_MINUTE))
    assert not await storage.break_schedule(FIRST_ID, 2, "no such zone", NOW)
    assert await storage.break_schedule(FIRST_ID, 1, "no such zone", LATER)
    known = await storage.schedule(FIRST_ID)
    assert (known.status, known.last_error) == (ScheduleStatus.PAUSED, "no such zone")
    assert (known.plan_at, known.updated_at) == (None, LATER)
    assert not await storage.break_schedule(FIRST_ID, 1, "no such zone", NOW)
    # What was planned rightly stays.
    assert len(await pending(storage)) == 10
    counts = await storage.count_schedules()
    assert counts == {"active": 0, "paused": 0, "ended": 0, "broken": 1}


async def test_schedules_of_older_zone_data_are_found(storage: Storage) -> None:
    await create(storage, schedule_spec(DAILY))
    await create(storage, schedule_spec(EVERY_MINUTE), SECOND_ID)

    async def found(zone_data: str) -> list[UUID]:
        return [each.id for each in await storage.outdated_schedules(range(256), zone_data, 10)]

    assert await found("2026b") == [FIRST_ID]
    assert await found("2026a") == []
    assert await storage.outdated_schedules([], "2026b", 10) == []


# --- beside the rule, lists, the end ----------------------------------------------------------


def beside_the_rule(instant: datetime, version: int | None = None) -> NewOccurrence:
    timer_id = extra_occurrence_id(FIRST_ID, instant, Overlap.ALLOW, lambda _: 7)
    timer = NewTimer(id=timer_id, created_at=NOW, spec=spec(execute_at=instant))
    return NewOccurrence(timer=timer, schedule_id=FIRST_ID, version=version, instant=instant)


async def test_occurrences_beside_the_rule_are_written_once(storage: Storage) -> None:
    await create(storage, schedule_spec(DAILY))
    extra = [beside_the_rule(NOW + seconds(count)) for count in range(3)]
    new = await storage.add_occurrences(FIRST_ID, extra[:2], NOW)
    assert set(new) == {each.timer.id for each in extra[:2]}
    assert await storage.add_occurrences(FIRST_ID, extra, NOW) == [extra[2].timer.id]
    assert (await storage.schedule_facts(FIRST_ID)).pending == 1
    await storage.change_schedule(FIRST_ID, partial(paused, now=NOW), NOW)
    assert len(await pending(storage)) == 3
    await storage.change_schedule(FIRST_ID, lambda s, _: ended(s, NOW), NOW)
    with pytest.raises(ScheduleEndedError):
        await storage.add_occurrences(FIRST_ID, extra, NOW)


async def test_facts_tell_of_the_latest_that_has_begun(storage: Storage) -> None:
    planned = await create(storage, schedule_spec(EVERY_MINUTE))
    first, second, *_ = (each.timer.id for each in planned.occurrences)
    assert (await storage.schedule_facts(FIRST_ID)).last_occurrence is None
    await begin(storage, first, NOW + MINUTE)
    await storage.settle([completed(first)], NOW + MINUTE)
    facts = await storage.schedule_facts(FIRST_ID)
    assert facts.last_occurrence == await storage.get(first)
    await begin(storage, second, NOW + 2 * MINUTE)
    facts = await storage.schedule_facts(FIRST_ID)
    assert facts.last_occurrence == await storage.get(second)
    assert facts.pending == 8


async def test_lists_show_the_newest_first_and_what_is_asked_for(storage: Storage) -> None:
    ids = [ScheduleId(UUID(int=FIRST_ID.int + (count << 70))) for count in range(3)]
    for count, each in enumerate(ids):
        wanted = schedule_spec(DAILY, name=f"n{count}", metadata={"n": count, "of": "us"})
        await create(storage, wanted, each, NOW + seconds(count))
    await storage.change_schedule(ids[1], partial(paused, now=NOW), NOW)

    async def listed(query: ScheduleQuery) -> list[UUID]:
        return [each.id for each in (await storage.schedules(query)).schedules]

    assert await listed(ScheduleQuery()) == ids[::-1]
    assert await listed(ScheduleQuery(status=ScheduleStatus.PAUSED)) == [ids[1]]
    assert await listed(ScheduleQuery(name="n2")) == [ids[2]]
    assert await listed(ScheduleQuery(metadata={"of": ["us"], "n": [0, 2.0]})) == [ids[2], ids[0]]
    assert await listed(ScheduleQuery(metadata={"of": ["them"]})) == []
    page = await storage.schedules(ScheduleQuery(limit=2))
    assert page.next == Position(NOW + seconds(1), TimerId(ids[1]))
    rest = await storage.schedules(ScheduleQuery(limit=2, after=page.next))
    assert ([each.id for each in rest.schedules], rest.next) == ([ids[0]], None)


async def test_schedules_that_ended_long_ago_are_deleted(storage: Storage) -> None:
    await create(storage, schedule_spec(DAILY))
    await create(storage, schedule_spec(DAILY), SECOND_ID)
    await storage.change_schedule(FIRST_ID, lambda s, _: ended(s, NOW), NOW)
    assert await storage.prune_schedules(NOW, 10) == 0
    assert await storage.prune_schedules(LATER, 10) == 1
    with pytest.raises(ScheduleNotFoundError):
        await storage.schedule(FIRST_ID)
    await storage.schedule(SECOND_ID)


async def test_timers_are_listed_by_their_schedule(storage: Storage) -> None:
    await create(storage, schedule_spec(EVERY_MINUTE))
    await create(storage, schedule_spec(DAILY), SECOND_ID)
    await storage.create([new_timer()], NOW)
    page = await storage.list(TimerQuery(schedule_id=SECOND_ID))
    assert page.total == 1
    assert [timer.schedule_id for timer in page.timers] == [SECOND_ID]
