# ruff: noqa: ARG001 - pytest-trio finds the clock of a test among its arguments
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import pytest
import trio
from trio.testing import MockClock

from tests.contract.timers import NOW, due, keyed, new_timer
from timer_trio.clock import Clock
from timer_trio.cluster.releases import Releases
from timer_trio.domain.errors import (
    ContentionError,
    CreatesUnknownError,
    KeyedCreateUnknownError,
    RowRefusedError,
    StorageUnavailableError,
)
from timer_trio.domain.keys import FirstAnswer, HeldName, KeyedCreate
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.shards import Shards
from timer_trio.domain.timer import DueTimer, NewTimer, Status, TimerId
from timer_trio.intake.intake import CREATE_DEADLINE_S, OFFER_SLICE, Intake
from timer_trio.intake.names import Names
from timer_trio.intake.places import Places
from timer_trio.storage.group_commit import RETRY_PAUSE_S
from timer_trio.storage.memory import MemoryStorage
from timer_trio.telemetry.metrics import Metrics


class TroubledStorage(MemoryStorage):
    """Commits, and then raises these one after the other."""

    def __init__(self, *troubles: Exception) -> None:
        super().__init__(lambda: NOW)
        self.troubles = list(troubles)
        self.committed = trio.Event()
        self.commit_takes_s = 0.0

    async def create_many(self, timers: Sequence[NewTimer], now: datetime) -> None:
        await super().create_many(timers, now)
        self.committed.set()
        with trio.CancelScope(shield=True):  # as in a thread
            await trio.sleep(self.commit_takes_s)
        self._trouble()

    async def create_named(
        self, timers: Sequence[NewTimer], before: Mapping[str, TimerId], now: datetime
    ) -> bool:
        is_there = await super().create_named(timers, before, now)
        self._trouble()
        return is_there

    async def create_keyed(
        self, creates: Sequence[KeyedCreate], now: datetime
    ) -> Sequence[FirstAnswer]:
        answers = await super().create_keyed(creates, now)
        self._trouble()
        return answers

    def _trouble(self) -> None:
        if self.troubles:
            raise self.troubles.pop(0)


class IntakeUnderTest:
    def __init__(self, storage: MemoryStorage) -> None:
        clock = Clock()
        clock.take_reading(NOW, trio.current_time())
        self.offered: list[DueTimer] = []
        self.intake = Intake(
            storage=storage,
            clock=clock,
            offer=self._offer,
            metrics=Metrics(),
            releases=Releases(storage),
            places=Places.of_one_cell(Shards()),
            window_s=300,
        )
        self.names = Names(storage, self.intake, DEFAULT_PROJECT)

    def _offer(self, timers: Iterable[DueTimer]) -> None:
        self.offered += timers


async def test_many_are_offered_to_the_cache_once_they_are_written() -> None:
    storage = TroubledStorage()
    under_test = IntakeUnderTest(storage)
    timers = [new_timer() for _ in range(OFFER_SLICE * 2 + 1)]
    await under_test.intake.create_all(timers)
    assert [offered.id for offered in under_test.offered] == [timer.id for timer in timers]
    assert len(await due(storage)) == len(timers)


async def test_many_are_written_again_until_they_are_answered(autojump_clock: MockClock) -> None:
    storage = TroubledStorage(StorageUnavailableError(), ContentionError())
    under_test = IntakeUnderTest(storage)
    timers = [new_timer(), new_timer()]
    await under_test.intake.create_all(timers)
    assert len(await due(storage)) == len(under_test.offered) == 2


async def test_many_without_an_answer_are_unknown_and_offered(autojump_clock: MockClock) -> None:
    storage = TroubledStorage(*[StorageUnavailableError()] * 1_000)
    under_test = IntakeUnderTest(storage)
    timers = [new_timer(), new_timer()]
    with pytest.raises(CreatesUnknownError) as error:
        await under_test.intake.create_all(timers)
    assert error.value.timer_ids == [timer.id for timer in timers]
    assert trio.current_time() == pytest.approx(CREATE_DEADLINE_S)
    assert len(under_test.offered) == 2


async def test_refused_ones_are_not_offered() -> None:
    under_test = IntakeUnderTest(TroubledStorage(RowRefusedError()))
    with pytest.raises(RowRefusedError):
        await under_test.intake.create_all([new_timer()])
    assert not under_test.offered


async def test_who_leaves_while_many_are_written_leaves_them_offered(
    autojump_clock: MockClock,
) -> None:
    storage = TroubledStorage()
    storage.commit_takes_s = 1.0
    under_test = IntakeUnderTest(storage)
    timers = [new_timer() for _ in range(OFFER_SLICE * 2 + 1)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(under_test.intake.create_all, timers)
        await storage.committed.wait()
        nursery.cancel_scope.cancel()
    assert len(under_test.offered) == len(timers)


async def test_who_leaves_between_two_tries_leaves_what_may_be_written_offered(
    autojump_clock: MockClock,
) -> None:
    storage = TroubledStorage(*[StorageUnavailableError()] * 1_000)
    under_test = IntakeUnderTest(storage)
    timers = [new_timer() for _ in range(OFFER_SLICE * 2 + 1)]
    with trio.move_on_after(RETRY_PAUSE_S / 2) as leaving:
        await under_test.intake.create_all(timers)
    assert leaving.cancelled_caught
    assert len(under_test.offered) == len(timers)


@pytest.mark.parametrize("count", [1, 3])
async def test_what_got_its_key_is_offered_and_nothing_else(count: int) -> None:
    under_test = IntakeUnderTest(TroubledStorage())
    intake = under_test.intake
    first, second = (keyed("k", *(new_timer() for _ in range(count))) for _ in range(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.run)
        assert await intake.create_keyed(first) == first.answer
        assert await intake.create_keyed(second) == first.answer
        nursery.cancel_scope.cancel()
    assert [offered.id for offered in under_test.offered] == [*first.answer.timer_ids]


@pytest.mark.parametrize("count", [1, 3])
async def test_what_got_its_key_and_no_answer_is_found_by_the_next_try(
    autojump_clock: MockClock, count: int
) -> None:
    storage = TroubledStorage(StorageUnavailableError(), ContentionError())
    under_test = IntakeUnderTest(storage)
    create = keyed("k", *(new_timer() for _ in range(count)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(under_test.intake.run)
        assert await under_test.intake.create_keyed(create) == create.answer
        nursery.cancel_scope.cancel()
    assert len(await due(storage)) == len(under_test.offered) == count


async def test_many_under_a_key_without_an_answer_are_unknown_and_offered(
    autojump_clock: MockClock,
) -> None:
    under_test = IntakeUnderTest(TroubledStorage(*[StorageUnavailableError()] * 1_000))
    with pytest.raises(KeyedCreateUnknownError):
        await under_test.intake.create_keyed(keyed("k", new_timer(), new_timer()))
    assert trio.current_time() == pytest.approx(CREATE_DEADLINE_S)
    assert len(under_test.offered) == 2


def some_named() -> list[NewTimer]:
    return [replace(new_timer(), key="a"), new_timer(), replace(new_timer(), key="b")]


async def test_named_ones_without_an_answer_are_written_again(autojump_clock: MockClock) -> None:
    under_test = IntakeUnderTest(TroubledStorage(StorageUnavailableError(), ContentionError()))
    timers = some_named()
    assert await under_test.names.create_all(timers) == {}
    assert [offered.id for offered in under_test.offered] == [timer.id for timer in timers]


async def test_named_ones_that_stay_without_an_answer_are_unknown_and_offered(
    autojump_clock: MockClock,
) -> None:
    under_test = IntakeUnderTest(TroubledStorage(*[StorageUnavailableError()] * 1_000))
    timers = some_named()
    with pytest.raises(CreatesUnknownError) as error:
        await under_test.names.create_all(timers)
    assert error.value.timer_ids == [timer.id for timer in timers]
    assert trio.current_time() == pytest.approx(CREATE_DEADLINE_S)
    assert len(under_test.offered) == 3


async def test_names_that_are_taken_are_answered_and_nothing_is_offered() -> None:
    under_test = IntakeUnderTest(TroubledStorage())
    first, second = some_named(), some_named()
    await under_test.names.create_all(first)
    under_test.offered.clear()
    assert await under_test.names.create_all(second) == {
        "a": HeldName(first[0].id, Status.PENDING),
        "b": HeldName(first[2].id, Status.PENDING),
    }
    assert not under_test.offered


class RacedStorage(TroubledStorage):
    """Somebody takes and gives up a name between the look at it and the create."""

    async def held_names(
        self, keys: Collection[str], project: ProjectId = DEFAULT_PROJECT
    ) -> Mapping[str, HeldName]:
        held = await super().held_names(keys, project=project)
        if not held:
            other = replace(new_timer(), key="a")
            await super().create_named([other], {}, NOW)
            await self.cancel(other.id, NOW)
        return held


async def test_a_name_that_another_had_meanwhile_is_looked_at_again() -> None:
    under_test = IntakeUnderTest(RacedStorage())
    timers = some_named()
    assert await under_test.names.create_all(timers) == {}
    assert [offered.id for offered in under_test.offered] == [timer.id for timer in timers]
