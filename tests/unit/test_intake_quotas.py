"""Creates of projects that limit their live timers: apart from others, and refused cheaply."""

# ruff: noqa: ARG001 - pytest-trio finds the clock of a test among its arguments
from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import pytest
import trio
from trio.testing import MockClock

from tests.contract.timers import NOW, keyed, new_timer, spec
from timer_trio.clock import Clock
from timer_trio.cluster.releases import Releases
from timer_trio.domain.cells import Cell
from timer_trio.domain.errors import QuotaUsedUpError, StorageUnavailableError
from timer_trio.domain.keys import FirstAnswer, KeyedCreate
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.quota import LiveCount
from timer_trio.domain.shards import Shards
from timer_trio.domain.timer import DueTimer, NewTimer
from timer_trio.intake.intake import Intake
from timer_trio.intake.places import Places
from timer_trio.intake.used_up import MAX_PROJECTS, UsedUp
from timer_trio.storage.memory import MemoryStorage
from timer_trio.telemetry.metrics import Metrics

SHOP = ProjectId(1)
MOST = 3
STATEMENT_S = 0.1


class NotedStorage(MemoryStorage):
    """Takes its time, notes what it was asked for, and loses replies."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.asked: list[list[ProjectId]] = []
        self.lost = 0

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        self.asked.append([timer.project for timer in timers])
        await trio.sleep(STATEMENT_S)
        await super().create(timers, now)
        self._lose_reply()

    async def create_keyed(
        self, creates: Sequence[KeyedCreate], now: datetime
    ) -> Sequence[FirstAnswer]:
        self.asked.append([each.project for each in creates])
        await trio.sleep(STATEMENT_S)
        answers = await super().create_keyed(creates, now)
        self._lose_reply()
        return answers

    async def create_many(self, timers: Sequence[NewTimer], now: datetime) -> None:
        self.asked.append([timer.project for timer in timers])
        await super().create_many(timers, now)

    def _lose_reply(self) -> None:
        if self.lost:
            self.lost -= 1
            raise StorageUnavailableError


@dataclass
class UnderTest:
    storage: NotedStorage
    intake: Intake
    offered: list[DueTimer] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    async def create(self, project: ProjectId = DEFAULT_PROJECT, most: int | None = MOST) -> None:
        try:
            await self.intake.create(spec(), self.intake._clock.now(), project, max_live=most)
        except QuotaUsedUpError as error:
            self.refused.append(str(error))


@pytest.fixture
async def under_test(autojump_clock: MockClock) -> AsyncIterator[UnderTest]:
    async with running() as under_test:
        yield under_test


@asynccontextmanager
async def running() -> AsyncIterator[UnderTest]:
    storage, clock, offered = NotedStorage(), Clock(), list[DueTimer]()
    clock.take_reading(NOW, trio.current_time())
    intake = Intake(
        storage=storage,
        clock=clock,
        offer=offered.extend,
        metrics=Metrics(),
        releases=Releases(storage),
        places=Places.of_one_cell(Shards()),
        window_s=300,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.run)
        yield UnderTest(storage, intake, offered)
        nursery.cancel_scope.cancel()


def counted_keyed(key: str, count: int = 1) -> KeyedCreate:
    return keyed(key, *(replace(new_timer(), max_live=MOST) for _ in range(count)))


async def test_counted_creates_share_no_statement_with_others(
    under_test: UnderTest, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(under_test.create, DEFAULT_PROJECT, None)
            nursery.start_soon(under_test.create, DEFAULT_PROJECT, 100)
            nursery.start_soon(under_test.create, SHOP, 100)
    mixed = [asked for asked in under_test.storage.asked if len(set(asked)) > 1]
    assert not mixed
    assert len(under_test.storage.asked) >= 3
    assert len(under_test.offered) == 9


async def test_plain_create_does_not_wait_for_those_that_are_counted(
    under_test: UnderTest,
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(under_test.create, ProjectId(number))
        await trio.sleep(STATEMENT_S / 2)
        began_s = trio.current_time()
        await under_test.create(most=None)
        assert trio.current_time() - began_s < 1.5 * STATEMENT_S


async def test_of_many_at_once_as_many_are_written_as_there_is_room_for(
    under_test: UnderTest,
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(MOST + 2):
            nursery.start_soon(under_test.create)
            nursery.start_soon(under_test.create, SHOP, 100)
    assert len(under_test.refused) == 2
    assert (await under_test.storage.live_in(DEFAULT_PROJECT)).timers == MOST
    assert (await under_test.storage.live_in(SHOP)).timers == MOST + 2
    assert len(under_test.offered) == 2 * MOST + 2


async def test_what_was_refused_is_not_asked_for_again_within_a_second(
    under_test: UnderTest,
    autojump_clock: MockClock,
) -> None:
    for _ in range(MOST + 1):
        await under_test.create()
    asked = len(under_test.storage.asked)
    for _ in range(5):
        await under_test.create()
    with pytest.raises(QuotaUsedUpError):
        await under_test.intake.create_all([replace(new_timer(), max_live=MOST)])
    with pytest.raises(QuotaUsedUpError):
        await under_test.intake.create_named([replace(new_timer(), max_live=MOST, key="a")], {})
    with pytest.raises(QuotaUsedUpError):
        await under_test.intake.create_keyed(counted_keyed("k"))
    assert len(under_test.storage.asked) == asked
    await under_test.create(SHOP)
    assert len(under_test.refused) == 6
    await under_test.storage.cancel(under_test.offered[0].id, NOW)
    await trio.sleep(1)
    await under_test.create()
    assert len(under_test.refused) == 6


@pytest.mark.parametrize("count", [1, 2])
async def test_a_key_that_stands_for_timers_is_answered_without_room(
    under_test: UnderTest, autojump_clock: MockClock, count: int
) -> None:
    first = counted_keyed("k", count)
    assert await under_test.intake.create_keyed(first) == first.answer
    for _ in range(MOST - count + 1):
        await under_test.create()
    assert len(under_test.refused) == 1
    for wait_s in (0, 2):
        await trio.sleep(wait_s)
        again = await under_test.intake.create_keyed(counted_keyed("k", count))
        assert again == first.answer
        with pytest.raises(QuotaUsedUpError):
            await under_test.intake.create_keyed(counted_keyed("other", count))
    assert await under_test.storage.first_answer("other", NOW) is None


async def test_a_batch_without_room_is_not_offered(
    under_test: UnderTest, autojump_clock: MockClock
) -> None:
    timers = [replace(new_timer(), max_live=MOST) for _ in range(MOST + 1)]
    with pytest.raises(QuotaUsedUpError):
        await under_test.intake.create_all(timers)
    assert not under_test.offered
    await under_test.create()
    assert not under_test.refused


async def test_a_lost_reply_of_the_last_that_fit_is_no_refusal(
    under_test: UnderTest, autojump_clock: MockClock
) -> None:
    under_test.storage.lost = 2
    async with trio.open_nursery() as nursery:
        for _ in range(MOST):
            nursery.start_soon(under_test.create)
    assert len(under_test.storage.asked) == 3
    assert not under_test.refused
    assert (await under_test.storage.live_in(DEFAULT_PROJECT)).timers == MOST


async def test_what_is_remembered_has_an_end(autojump_clock: MockClock) -> None:
    clock = Clock()
    clock.take_reading(NOW, trio.current_time())
    used_up = UsedUp(clock)
    known = LiveCount(MOST, NOW)
    for number in range(MAX_PROJECTS + 1):
        used_up.note(QuotaUsedUpError(ProjectId(number), known, MOST, 1))
    assert used_up.refusal(ProjectId(MAX_PROJECTS), MOST, 1) is not None
    assert used_up.refusal(ProjectId(0), MOST, 1) is None
    assert used_up.refusal(ProjectId(MAX_PROJECTS), MOST + 1, 1) is None


async def test_a_full_cell_tells_nothing_of_the_others(autojump_clock: MockClock) -> None:
    clock = Clock()
    clock.take_reading(NOW, trio.current_time())
    used_up = UsedUp(clock)
    used_up.note(QuotaUsedUpError(SHOP, LiveCount(MOST, NOW), MOST, 1, cell=Cell(0, 127)))
    assert used_up.refusal(SHOP, MOST, 1) is None
