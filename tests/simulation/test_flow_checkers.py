"""Each checker of flows can fail: a service broken on purpose, found out by that checker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from tests.simulation.changes import Change
from tests.simulation.checkers import nothing_lost, outcome_is_true
from tests.simulation.flow_checkers import (
    in_order_at_one,
    limits_hold,
    nothing_stuck,
    pauses_hold,
    rates_hold,
)
from tests.simulation.flows import history_of_busy_flows, history_of_flows
from tests.simulation.history import History
from tests.simulation.scenarios import Scenario
from tests.simulation.world import Build
from timer_trio.delivery import claims
from timer_trio.delivery.flow_keeper import FlowKeeper
from timer_trio.delivery.rule_keeper import RuleKeeper
from timer_trio.domain.cache import Cache
from timer_trio.domain.flow import FlowId, Terms
from timer_trio.domain.flows import NOTHING_NOW, FlowReadings, Flows
from timer_trio.domain.gates import Gates
from timer_trio.domain.rules import RuleChanges
from timer_trio.domain.timer import ClaimedTimer, DueTimer, ReplicaId, TimerId
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.memory.database import Row

pytestmark = pytest.mark.sampled(of=4)

TRIES: Final = 100
Checker = Callable[[History], Iterator[str]]


def assert_found_out(
    checker: Checker, kind: Scenario | Change | None, build: Build | None = None
) -> None:
    """Run histories until the checker finds fault."""
    assert any(list(checker(_history(seed, kind, build))) for seed in range(TRIES))


def _history(seed: int, kind: Scenario | Change | None, build: Build | None) -> History:
    if isinstance(kind, Scenario):
        return history_of_flows(seed, kind, build)
    return history_of_busy_flows(seed, kind, build)


class AnybodysTerm(MemoryStorage):
    """Lets anybody claim of flows."""

    def _may_take(self, row: Row, replica: ReplicaId, terms: Terms | None) -> bool:
        return terms is not None or super()._may_take(row, replica, terms)


class PlainClaim(MemoryStorage):
    """Tells of what is in a flow, and takes it, as if it were in none."""

    def _due_timer(self, row: Row, due_at: datetime) -> DueTimer:
        return super()._due_timer(row, due_at)._replace(flow_key=None)

    def _may_take(self, row: Row, replica: ReplicaId, terms: Terms | None) -> bool:
        return terms is None or super()._may_take(row, replica, terms)


class SilentOnExecuting(MemoryStorage):
    """Tells nothing of what is executing."""

    async def flow_readings(self, flows: Collection[FlowId], now: datetime) -> FlowReadings:
        readings = await super().flow_readings(flows, now)
        told = {flow: replace(each, now=NOTHING_NOW) for flow, each in readings.flows.items()}
        return replace(readings, flows=told)


class SilentOnEnds(MemoryStorage):
    """Tells nothing of what has ended."""

    async def flow_readings(self, flows: Collection[FlowId], now: datetime) -> FlowReadings:
        readings = await super().flow_readings(flows, now)
        told = {flow: replace(each, ends_s=()) for flow, each in readings.flows.items()}
        return replace(readings, flows=told)


class SilentOnSwept(MemoryStorage):
    """Tells nothing of what a dead one may have sent."""

    def _ends(self, flow: FlowId, now: datetime) -> Iterator[datetime]:
        return (end for end in super()._ends(flow, now) if end != now)


class EndlessExecution(MemoryStorage):
    """Says of all that was ever executing that it is."""

    def _executing(self, flow: FlowId) -> Iterator[TimerId]:
        return (row.timer.id for row in self._rows_of(flow))


class LostRules(MemoryStorage):
    """Keeps to itself what has changed of flows."""

    async def rules_since(self, version: int) -> RuleChanges:
        return replace(await super().rules_since(version), flows={})


@pytest.mark.parametrize(
    ("storage", "checker", "kind"),
    [
        (AnybodysTerm, limits_hold, Change.JOIN),
        (AnybodysTerm, rates_hold, Change.JOIN),
        (PlainClaim, limits_hold, Change.JOIN),
        (SilentOnExecuting, limits_hold, Change.JOIN),
        (SilentOnEnds, rates_hold, Change.STOP),
        (SilentOnSwept, rates_hold, Scenario.CRASH),
        (EndlessExecution, nothing_stuck, Change.JOIN),
        (EndlessExecution, nothing_lost, Change.JOIN),
        (LostRules, pauses_hold, Scenario.CALM),
    ],
)
def test_broken_storage_is_found_out(
    storage: type[MemoryStorage], checker: Checker, kind: Scenario | Change | None
) -> None:
    assert_found_out(checker, kind, Build(storage=storage))


def test_keeper_that_never_learns_of_a_change_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def take(keeper: RuleKeeper, changes: RuleChanges) -> None:
        keeper.version = changes.version

    monkeypatch.setattr(RuleKeeper, "_take", take)
    assert_found_out(pauses_hold, Scenario.CALM)


def test_callbacks_that_count_from_their_begin_are_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wait_s, begin, now_s = Flows.wait_s, Flows.begin, 0.0

    def note_now(flows: Flows, flow: FlowId, at_s: float) -> float | None:
        nonlocal now_s
        now_s = at_s
        return wait_s(flows, flow, at_s)

    def begin_and_end(flows: Flows, flow: FlowId, timer_id: TimerId) -> None:
        begin(flows, flow, timer_id)
        flows._flows[flow].end(now_s)

    def end(flows: Flows, flow: FlowId, timer_id: TimerId, _: float) -> None:
        flows.release(flow, timer_id)

    monkeypatch.setattr(Flows, "wait_s", note_now)
    monkeypatch.setattr(Flows, "begin", begin_and_end)
    monkeypatch.setattr(Flows, "end", end)
    assert_found_out(rates_hold, Scenario.CALM)


@pytest.mark.parametrize("checker", [nothing_stuck, nothing_lost])
def test_gates_that_stay_closed_after_a_release_are_found_out(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def release(gates: Gates, timer: DueTimer) -> None:
        if timer.flow is not None:
            gates.flows.release(timer.flow, timer.id)

    monkeypatch.setattr(Gates, "release", release)
    assert_found_out(checker, Change.JOIN)


def test_looking_away_from_what_others_have_in_flight_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def look(_: FlowKeeper) -> None:
        pass

    monkeypatch.setattr(FlowKeeper, "_look_elsewhere", look)
    assert_found_out(nothing_stuck, Change.JOIN)


def test_flow_in_another_order_than_that_of_its_instants_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = Cache.put

    def put_off(cache: Cache, timer: DueTimer) -> None:
        later = timedelta(seconds=timer.id.int // 256 % 3 if timer.flow_key else 0)
        put(cache, timer._replace(due_at=timer.due_at + later))

    monkeypatch.setattr(Cache, "put", put_off)
    assert_found_out(in_order_at_one, Scenario.CALM)


def test_waiting_that_counts_as_being_late_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_it_was(timer: ClaimedTimer, _: datetime) -> ClaimedTimer:
        return timer

    monkeypatch.setattr(claims, "held_until", as_it_was)
    assert_found_out(outcome_is_true, None)


def test_end_of_a_pause_that_is_heard_of_late_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_opened = Gates.take_opened

    def forget(gates: Gates, now_s: float) -> Iterator[object]:
        gates._resumed.clear()
        return take_opened(gates, now_s)

    monkeypatch.setattr(Gates, "take_opened", forget)
    assert_found_out(outcome_is_true, None)
