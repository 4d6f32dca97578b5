# ruff: noqa: ARG001 - pytest-trio finds the clock of a test among its arguments
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import trio
from trio.testing import MockClock

from tests.contract.timers import ALICE, BOB, NOW, spec
from timer_trio.clock import Clock
from timer_trio.cluster.releases import Releases
from timer_trio.domain.create_cost import create_cost_us
from timer_trio.domain.flow import FlowKey, flow_shard
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.shards import Shards
from timer_trio.domain.timer import DueTimer, NewTimer, shard_of
from timer_trio.intake.create_queue import MAX_CREATES_US
from timer_trio.intake.intake import Intake
from timer_trio.intake.places import Places
from timer_trio.storage.memory import MemoryStorage
from timer_trio.telemetry.metrics import Metrics

HEAVY = spec(metadata={f"k{n}": n for n in range(1_000)})
TOO_HEAVY = spec(metadata={f"k{n}": n for n in range(19_000)})
HEAVY_ONES = 100
LIGHT_S = 0.01


class SlowStorage(MemoryStorage):
    """Takes as long for a create as is estimated, and notes how much it was asked for at once."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.flushes: list[list[int]] = []

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        costs_us = [create_cost_us(timer.spec, at_most=10**9) for timer in timers]
        self.flushes.append(costs_us)
        await trio.sleep(sum(costs_us) / 1e6)
        await super().create(timers, now)


def intake_over(
    storage: MemoryStorage, offer: Callable[[Iterable[DueTimer]], None] = lambda _: None
) -> Intake:
    """Make the intake of one of two replicas."""
    shards = Shards()
    shards.divide(ALICE, [ALICE, BOB])
    clock = Clock()
    clock.take_reading(NOW, trio.current_time())
    return Intake(
        storage=storage,
        clock=clock,
        offer=offer,
        metrics=Metrics(),
        releases=Releases(storage),
        places=Places.of_one_cell(shards),
        window_s=300,
    )


async def test_light_create_does_not_wait_for_heavy_ones(autojump_clock: MockClock) -> None:
    storage = SlowStorage()
    intake = intake_over(storage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.run)
        async with trio.open_nursery() as creating:
            for heavy in [HEAVY, TOO_HEAVY] * (HEAVY_ONES // 2):
                creating.start_soon(intake.create, heavy, NOW, DEFAULT_PROJECT)
            await trio.sleep(0.001)
            for _ in range(20):
                began = trio.current_time()
                await intake.create(spec(), NOW, DEFAULT_PROJECT)
                assert trio.current_time() - began <= LIGHT_S
            assert len(storage._rows) < HEAVY_ONES
        assert len(storage._rows) == HEAVY_ONES + 20
        nursery.cancel_scope.cancel()


async def test_statement_costs_no_more_than_a_claim_may_wait_for(autojump_clock: MockClock) -> None:
    storage = SlowStorage()
    intake = intake_over(storage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.run)
        async with trio.open_nursery() as creating:
            for number in range(HEAVY_ONES):
                some = TOO_HEAVY if number % 10 == 0 else HEAVY
                creating.start_soon(intake.create, some, NOW, DEFAULT_PROJECT)
        nursery.cancel_scope.cancel()
    assert max(sum(costs_us) for costs_us in storage.flushes if len(costs_us) > 1) <= MAX_CREATES_US
    alone = [costs_us for costs_us in storage.flushes if max(costs_us) > MAX_CREATES_US]
    assert [len(costs_us) for costs_us in alone] == [1] * (HEAVY_ONES // 10)


async def test_near_timer_in_a_flow_is_in_the_flows_shard_whoever_owns_that(
    autojump_clock: MockClock,
) -> None:
    storage = MemoryStorage(lambda: NOW)
    offered: list[DueTimer] = []
    intake = intake_over(storage, offered.extend)
    flows = [FlowKey(f"customer-{n}") for n in range(20)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.run)
        for flow in flows:
            await intake.create(spec(), NOW, DEFAULT_PROJECT, flow)
        nursery.cancel_scope.cancel()
    chosen = [flow_shard(DEFAULT_PROJECT, flow) for flow in flows]
    assert [shard_of(timer.id) for timer in offered] == chosen
    assert not set(chosen) <= intake._places._places[0].shards.own
