"""What consumers do with schedules, over a storage in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

import pytest
import trio

from tests.contract.timers import ALICE, NOW, seconds
from tests.schedules import CALENDAR, DAILY, EVERY_MINUTE, schedule_spec
from tests.unit.fakes import Database
from timer_trio.calendar import RuleError
from timer_trio.clock import Clock
from timer_trio.cluster.releases import Releases
from timer_trio.domain.errors import (
    CreateUnknownError,
    OlderReplicasError,
    ScheduleCreateUnknownError,
    ScheduleEndedError,
    ScheduleNameTakenError,
    ScheduleNotFoundError,
    StorageUnavailableError,
)
from timer_trio.domain.flow import FlowKey, flow_shard
from timer_trio.domain.keys import FirstAnswer
from timer_trio.domain.membership import Identity
from timer_trio.domain.occurrence import is_exclusive, is_occurrence
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.schedule import (
    NewOccurrence,
    Overlap,
    Schedule,
    ScheduleId,
    ScheduleSpec,
    ScheduleStatus,
)
from timer_trio.domain.schedule_rule import CronRule, EveryRule
from timer_trio.domain.shards import Shards
from timer_trio.domain.timer import DueTimer, TimerId, shard_of
from timer_trio.intake.places import Places
from timer_trio.intake.schedules import Backfill, Schedules

NEVER: Final = CronRule(text="0 0 30 2 *", timezone="UTC")


class FailingDatabase(Database):
    """Storage in memory that fails on demand for schedules as well."""

    async def create_schedule(
        self,
        schedule: Schedule,
        occurrences: Sequence[NewOccurrence],
        now: datetime,
        keyed: tuple[str, FirstAnswer] | None = None,
    ) -> FirstAnswer | None:
        async with self._call("create_schedule"):
            return await super().create_schedule(schedule, occurrences, now, keyed)

    async def add_occurrences(
        self,
        schedule_id: ScheduleId,
        occurrences: Sequence[NewOccurrence],
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> Sequence[TimerId]:
        async with self._call("add_occurrences"):
            return await super().add_occurrences(schedule_id, occurrences, now, project=project)


class Consumer:
    """The schedules of one replica, and what was offered to be fired."""

    def __init__(self) -> None:
        self.database = FailingDatabase()
        self.clock = Clock(elapsed=trio.current_time)
        self.clock.take_reading(NOW, 0.0)
        shards = Shards()
        shards.divide(ALICE, [ALICE])
        self.offered: list[DueTimer] = []
        self.schedules = Schedules(
            storage=self.database,
            clock=self.clock,
            calendar=CALENDAR,
            offer=self.offered.extend,
            expect=lambda _: None,
            releases=Releases(self.database),
            places=Places.of_one_cell(shards),
            random_bits=Random(7).getrandbits,
        )

    async def create(self, wanted: ScheduleSpec) -> Schedule:
        new = self.schedules.new(wanted, self.clock.now(), DEFAULT_PROJECT)
        await self.schedules.create(new)
        return new.schedule

    @property
    def offered_at(self) -> list[datetime]:
        return sorted(timer.due_at for timer in self.offered)


@pytest.fixture
async def consumer(virtual_time: None) -> Consumer:  # noqa: ARG001 - it marks the test
    return Consumer()


async def test_a_new_schedule_is_written_with_its_first_occurrences_and_they_are_offered(
    consumer: Consumer,
) -> None:
    schedule = await consumer.create(schedule_spec(EVERY_MINUTE))
    assert consumer.offered_at == [NOW + seconds(60 * minute) for minute in range(1, 11)]
    assert {shard_of(timer.id) for timer in consumer.offered} == {shard_of(TimerId(schedule.id))}
    shown = await consumer.schedules.show(schedule.id, DEFAULT_PROJECT)
    assert [*shown.next] == consumer.offered_at[:5]
    assert shown.facts.pending == 10


async def test_a_name_says_the_shard(consumer: Consumer) -> None:
    first = consumer.schedules.new(schedule_spec(DAILY, name="a"), NOW, DEFAULT_PROJECT).schedule
    second = consumer.schedules.new(schedule_spec(DAILY, name="a"), NOW, DEFAULT_PROJECT).schedule
    other = consumer.schedules.new(schedule_spec(DAILY, name="b"), NOW, DEFAULT_PROJECT).schedule
    shards = [shard_of(TimerId(each.id)) for each in (first, second, other)]
    assert shards[0] == shards[1] != shards[2]
    assert first.id != second.id


async def test_a_flow_says_the_shard_before_the_name_does(consumer: Consumer) -> None:
    key = FlowKey("orders")
    for name in ("a", "b", None):
        wanted = schedule_spec(EVERY_MINUTE, name=name)
        new = consumer.schedules.new(wanted, NOW, DEFAULT_PROJECT, key)
        ids = [TimerId(new.schedule.id), *(each.timer.id for each in new.occurrences)]
        assert {shard_of(each) for each in ids} == {flow_shard(DEFAULT_PROJECT, key)}
        assert {each.timer.flow_key for each in new.occurrences} == {key}


async def test_a_rule_that_never_matches_is_refused(consumer: Consumer) -> None:
    with pytest.raises(RuleError):
        consumer.schedules.new(schedule_spec(NEVER), NOW, DEFAULT_PROJECT)
    schedule = await consumer.create(schedule_spec(DAILY))
    with pytest.raises(RuleError):
        await consumer.schedules.change(
            schedule.id, lambda _: schedule_spec(NEVER), DEFAULT_PROJECT
        )
    assert (await consumer.database.schedule(schedule.id)).version == 1


async def test_older_replicas_put_schedules_off(consumer: Consumer) -> None:
    await consumer.database.join(ALICE, NOW, Identity(version="0.1.0"))
    with pytest.raises(OlderReplicasError):
        await consumer.create(schedule_spec(DAILY))


async def test_a_create_whose_reply_is_lost_is_made_once(consumer: Consumer) -> None:
    consumer.database.lost_replies["create_schedule"] = 1
    schedule = await consumer.create(schedule_spec(EVERY_MINUTE))
    assert (await consumer.schedules.show(schedule.id, DEFAULT_PROJECT)).facts.pending == 10


async def test_a_create_that_is_not_answered_in_time_names_its_schedule(
    consumer: Consumer,
) -> None:
    consumer.database.is_away = True
    new = consumer.schedules.new(schedule_spec(DAILY), NOW, DEFAULT_PROJECT)
    with pytest.raises(ScheduleCreateUnknownError) as caught:
        await consumer.schedules.create(new)
    assert caught.value.schedule_id == new.schedule.id


async def test_a_name_is_taken_once(consumer: Consumer) -> None:
    first = await consumer.create(schedule_spec(DAILY, name="n"))
    with pytest.raises(ScheduleNameTakenError) as caught:
        await consumer.create(schedule_spec(EVERY_MINUTE, name="n"))
    assert caught.value.schedule_id == first.id


async def test_put_by_name_creates_and_then_replaces(consumer: Consumer) -> None:
    put = consumer.schedules.put_named
    first, is_new = await put("n", schedule_spec(DAILY, name="n"), NOW, DEFAULT_PROJECT)
    assert is_new
    changed, is_new = await put("n", schedule_spec(EVERY_MINUTE, name="n"), NOW, DEFAULT_PROJECT)
    assert (changed.id, changed.version, is_new) == (first.id, 2, False)
    await consumer.schedules.end(first.id, DEFAULT_PROJECT)
    third, is_new = await put("n", schedule_spec(DAILY, name="n"), NOW, DEFAULT_PROJECT)
    assert is_new
    assert third.id != first.id


async def test_puts_by_one_name_at_once_make_one_schedule(consumer: Consumer) -> None:
    async with trio.open_nursery() as nursery:
        for apart in range(60, 70):
            wanted = schedule_spec(EveryRule(seconds=apart), name="n")
            nursery.start_soon(consumer.schedules.put_named, "n", wanted, NOW, DEFAULT_PROJECT)
    holder = await consumer.database.schedule_named("n")
    assert holder is not None
    assert (await consumer.database.schedule(holder)).version == 10


async def test_paused_and_resumed_it_goes_on_from_now(consumer: Consumer) -> None:
    schedule = await consumer.create(schedule_spec(EVERY_MINUTE))
    paused = await consumer.schedules.pause(schedule.id, DEFAULT_PROJECT)
    assert paused.status is ScheduleStatus.PAUSED
    assert (await consumer.schedules.show(schedule.id, DEFAULT_PROJECT)).next == []
    await trio.sleep(3_600)
    consumer.offered.clear()
    resumed = await consumer.schedules.resume(schedule.id, DEFAULT_PROJECT)
    assert resumed.status is ScheduleStatus.ACTIVE
    assert consumer.offered_at[0] == NOW + seconds(3_600)


async def test_an_ended_one_takes_nothing_more(consumer: Consumer) -> None:
    schedule = await consumer.create(schedule_spec(EVERY_MINUTE))
    ended = await consumer.schedules.end(schedule.id, DEFAULT_PROJECT)
    assert ended.status is ScheduleStatus.ENDED
    assert (
        await consumer.schedules.end(schedule.id, DEFAULT_PROJECT)
    ).status is ScheduleStatus.ENDED
    with pytest.raises(ScheduleEndedError):
        await consumer.schedules.change(schedule.id, lambda spec: spec, DEFAULT_PROJECT)
    with pytest.raises(ScheduleEndedError):
        await consumer.schedules.trigger(schedule.id, DEFAULT_PROJECT)


async def test_a_trigger_is_an_occurrence_now(consumer: Consumer) -> None:
    schedule = await consumer.create(schedule_spec(DAILY, overlap=Overlap.SKIP))
    await trio.sleep(5)
    consumer.offered.clear()
    timer = await consumer.schedules.trigger(schedule.id, DEFAULT_PROJECT)
    assert timer.execute_at == NOW + seconds(5)
    assert is_occurrence(timer.id)
    assert is_exclusive(timer.id)
    assert [each.id for each in consumer.offered] == [timer.id]
    again = await consumer.schedules.trigger(schedule.id, DEFAULT_PROJECT)
    assert again.id != timer.id


async def test_a_trigger_that_is_not_answered_in_time_names_its_timer(consumer: Consumer) -> None:
    schedule = await consumer.create(schedule_spec(DAILY))
    consumer.database.errors["add_occurrences"] = [StorageUnavailableError("away")] * 100
    with pytest.raises(CreateUnknownError):
        await consumer.schedules.trigger(schedule.id, DEFAULT_PROJECT)


async def test_what_is_not_there_is_not_found(consumer: Consumer) -> None:
    nobody = ScheduleId(
        consumer.schedules.new(schedule_spec(DAILY), NOW, DEFAULT_PROJECT).schedule.id
    )
    with pytest.raises(ScheduleNotFoundError):
        await consumer.schedules.show(nobody, DEFAULT_PROJECT)
    with pytest.raises(ScheduleNotFoundError):
        await consumer.schedules.trigger(nobody, DEFAULT_PROJECT)


async def test_a_backfill_makes_up_instants_of_the_past_once(consumer: Consumer) -> None:
    start = datetime(2029, 1, 1, tzinfo=UTC)
    schedule = await consumer.create(schedule_spec(DAILY, start_at=start))
    consumer.offered.clear()
    wanted = Backfill(start, start + timedelta(days=10), limit=4, spacing=seconds(2))
    done = await consumer.schedules.backfill(schedule.id, wanted, DEFAULT_PROJECT)
    fifth = datetime(2029, 1, 5, 8, tzinfo=UTC)
    assert done == (4, fifth)
    assert consumer.offered_at == [NOW + seconds(2 * place) for place in range(4)]
    again = await consumer.schedules.backfill(
        schedule.id, wanted._replace(limit=100), DEFAULT_PROJECT
    )
    assert again == (6, None)
    nothing = await consumer.schedules.backfill(
        schedule.id, wanted._replace(first=start - timedelta(days=9), last=start), DEFAULT_PROJECT
    )
    assert nothing == (0, None)


async def test_a_great_backfill_is_written_page_by_page(consumer: Consumer) -> None:
    start = NOW - timedelta(days=1)
    schedule = await consumer.create(schedule_spec(EVERY_MINUTE, start_at=start))
    wanted = Backfill(start, NOW, limit=1_000, spacing=seconds(0))
    done = await consumer.schedules.backfill(schedule.id, wanted, DEFAULT_PROJECT)
    assert done == (1_000, start + seconds(60_000))
