"""Each checker can fail: a service broken on purpose, found out by the checker of that promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest

from tests.simulation.checkers import (
    acknowledged_holds,
    all_are_genuine,
    hardly_late,
    never_early,
    nothing_leaks,
    nothing_lost,
    outcome_is_true,
    pending_is_unsent,
    sent_once,
)
from tests.simulation.history import History
from tests.simulation.retry_checkers import (
    attempts_are_told,
    budget_holds,
    gives_up_in_time,
    retried_in_time,
    retrying_has_failed,
)
from tests.simulation.scenarios import Scenario, random_history
from tests.simulation.world import Build
from timer_trio.delivery import loader
from timer_trio.delivery.firer import Firer
from timer_trio.delivery.signing import SigningKeys
from timer_trio.domain import settlement
from timer_trio.domain.attempt import AttemptRecord
from timer_trio.domain.membership import LeaseTimes, ReplicaStats
from timer_trio.domain.outcome import CallbackOutcome, TimedOut, Unreachable
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.retry import Advice
from timer_trio.domain.settlement import Completed, Failed, Retry, Settlement
from timer_trio.domain.slots import Slots
from timer_trio.domain.timer import (
    DueTimer,
    NewTimer,
    ReplicaId,
    SpecChange,
    Status,
    Timer,
    TimerId,
    TimerSummary,
)
from timer_trio.run import supervisor
from timer_trio.storage import Beat, ClaimReply, Swept
from timer_trio.storage.columns import changed
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.memory.database import Row

pytestmark = pytest.mark.sampled(of=6)

TRIES = 300
Checker = Callable[[History], Iterator[str]]


def assert_found_out(checker: Checker, scenario: Scenario, build: Build | None = None) -> None:
    """Run histories until the checker finds fault."""
    assert any(list(checker(random_history(seed, scenario, build))) for seed in range(TRIES))


class FastClock(MemoryStorage):
    async def beat(
        self,
        replica: ReplicaId,
        stats: ReplicaStats = ReplicaStats(),  # noqa: B008 - frozen
    ) -> Beat:
        beat = await super().beat(replica, stats)
        return replace(beat, now=beat.now + timedelta(milliseconds=30))


class ForgetfulLoad(MemoryStorage):
    async def load(self, *asked: Any) -> Sequence[DueTimer]:
        return (await super().load(*asked))[1:]


class PoliteCancel(MemoryStorage):
    """Says yes, whatever the status."""

    async def cancel(
        self, timer_id: TimerId, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> TimerSummary:
        if self._row(timer_id).timer.status is Status.EXECUTING:
            return self._row(timer_id).timer.summary
        return await super().cancel(timer_id, now, project=project)


class LateCancel(MemoryStorage):
    """Cancels what is being sent, too."""

    async def cancel(
        self, timer_id: TimerId, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> TimerSummary:
        row = self._row(timer_id)
        if row.timer.status is Status.EXECUTING:
            self._put(replace(row, timer=replace(row.timer, status=Status.PENDING)))
        return await super().cancel(timer_id, now, project=project)


class ForgetfulUpdate(MemoryStorage):
    """Keeps the old payload."""

    async def update(
        self,
        timer_id: TimerId,
        change: SpecChange,
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> TimerSummary:
        payload = self._row(timer_id).timer.spec.callback.payload
        return await super().update(
            timer_id, {**change, "callback_payload": payload}, now, project=project
        )


class EagerRefusal(MemoryStorage):
    """Writes a change that it refuses."""

    async def update(
        self,
        timer_id: TimerId,
        change: SpecChange,
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> TimerSummary:
        row = self._row(timer_id)
        timer = replace(row.timer, spec=changed(row.timer.spec, change))
        if row.timer.status is Status.EXECUTING:
            self._put(replace(row, timer=timer))
        return await super().update(timer_id, change, now, project=project)


class PendingWhileClaimed(MemoryStorage):
    """Shows a claimed timer as pending."""

    def _put(self, row: Row) -> None:
        super()._put(row)
        if row.claimed_by is not None and row.timer.status is Status.EXECUTING:
            self._rows[row.timer.id] = replace(row, timer=replace(row.timer, status=Status.PENDING))


class LosingCreate(MemoryStorage):
    """Loses one row in a batch, and every fourth batch of one."""

    _turns = count()

    async def create(self, timers: Sequence[NewTimer], now: datetime) -> None:
        kept = timers[1:] if next(self._turns) % 4 == 0 else timers
        await super().create(kept, now)


class LosingSettle(MemoryStorage):
    """Says that it has written failures, and has not."""

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, **how: Any
    ) -> Sequence[bool | None]:
        kept = [each for each in settlements if not isinstance(each, Failed)]
        await super().settle(kept, now, **how)
        return [True] * len(settlements)


class WordlessSettle(MemoryStorage):
    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, **how: Any
    ) -> Sequence[bool | None]:
        return await super().settle(
            [
                replace(each, last_error="") if isinstance(each, Failed) else each
                for each in settlements
            ],
            now,
            **how,
        )


class GreedyClaim(MemoryStorage):
    """Gives what another replica holds."""

    async def claim(self, *asked: Any, **how: Any) -> ClaimReply:
        _, claim, timer_ids, _, now = asked
        for timer_id in sorted(timer_ids):
            row = self._row(timer_id)
            if row.timer.status is Status.EXECUTING and row.claim != claim:
                self._put(replace(row, due_at=now))
        return await super().claim(*asked, **how)


class CarelessSettle(MemoryStorage):
    """Lets the last writer win, whoever holds the claim."""

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, **how: Any
    ) -> Sequence[bool | None]:
        for each in settlements:
            row = self._row(each.timer_id)
            if row.timer.status is not Status.PENDING:
                timer = replace(row.timer, status=Status.EXECUTING)
                self._put(replace(row, timer=timer, claim=each.claim))
        return await super().settle(settlements, now, **how)


class OptimisticSettle(MemoryStorage):
    """Calls every end a success."""

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, **how: Any
    ) -> Sequence[bool | None]:
        better = [
            Completed(
                timer_id=each.timer_id,
                claim=each.claim,
                executed_at=now,
                http_status=200,
                duration_ms=1,
            )
            if isinstance(each, Failed)
            else each
            for each in settlements
        ]
        return await super().settle(better, now, **how)


class PausedItems(MemoryStorage):
    """Writes of each retry what `_instead` makes of it."""

    async def settle(
        self, settlements: Sequence[Settlement], now: datetime, **how: Any
    ) -> Sequence[bool | None]:
        written = [self._instead(each) if isinstance(each, Retry) else each for each in settlements]
        return await super().settle(written, now, **how)

    def _instead(self, retry: Retry) -> Settlement:
        raise NotImplementedError


class HastyRetry(PausedItems):
    """Has it due at once."""

    def _instead(self, retry: Retry) -> Settlement:
        return replace(retry, due_at=retry.executed_at)


class LazyRetry(PausedItems):
    """Has it due some seconds later."""

    def _instead(self, retry: Retry) -> Settlement:
        return replace(retry, due_at=retry.due_at + timedelta(seconds=3))


class EndlessRetry(PausedItems):
    """Counts no failure but the first."""

    def _instead(self, retry: Retry) -> Settlement:
        return replace(
            retry, failures=1, due_at=max(retry.due_at, retry.executed_at + timedelta(seconds=2))
        )


class MissingRetry(PausedItems):
    """Ends it."""

    def _instead(self, retry: Retry) -> Settlement:
        return Failed(
            timer_id=retry.timer_id,
            claim=retry.claim,
            is_begun=True,
            executed_at=retry.executed_at,
            last_error=retry.last_error,
            attempts=retry.attempts,
        )


class UncountedRetry(MemoryStorage):
    """Gives every attempt the number of the first."""

    def _put(self, row: Row) -> None:
        if row.timer.status is Status.EXECUTING and row.failures:
            row = replace(row, timer=replace(row.timer, attempt=1), settled_attempts=0)
        super()._put(row)


class DeafCancel(MemoryStorage):
    """Says of a retrying timer that it is canceled, and has it canceled after its next attempt."""

    async def cancel(
        self, timer_id: TimerId, now: datetime, project: ProjectId = DEFAULT_PROJECT
    ) -> TimerSummary:
        if self._row(timer_id).timer.status is Status.RETRYING:
            return self._row(timer_id).timer.summary
        return await super().cancel(timer_id, now, project=project)


class ForgetfulUpdateOfRetrying(MemoryStorage):
    """Sends what it was to send before."""

    async def update(
        self,
        timer_id: TimerId,
        change: SpecChange,
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> TimerSummary:
        if self._row(timer_id).timer.status is Status.RETRYING:
            payload = self._row(timer_id).timer.spec.callback.payload
            change = {**change, "callback_payload": payload}
        return await super().update(timer_id, change, now, project=project)


class StubbornUpdateOfRetrying(MemoryStorage):
    """Leaves the next attempt when it was."""

    async def update(
        self,
        timer_id: TimerId,
        change: SpecChange,
        now: datetime,
        project: ProjectId = DEFAULT_PROJECT,
    ) -> TimerSummary:
        due_at = self._row(timer_id).due_at
        was_retrying = self._row(timer_id).timer.status is Status.RETRYING
        summary = await super().update(timer_id, change, now, project=project)
        if was_retrying:
            self._put(replace(self._row(timer_id), due_at=due_at))
        return summary


class ForgetfulAttempts(MemoryStorage):
    """Keeps of all attempts that a settlement tells of the last one."""

    async def attempts(
        self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT
    ) -> Sequence[AttemptRecord]:
        return (await super().attempts(timer_id, project=project))[:1]


class DoubledAttempts(MemoryStorage):
    """Writes them again when a settlement comes again."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool | None:
        if self._row(settlement.timer_id).claim == settlement.claim_after:
            self._attempts.setdefault(settlement.timer_id, []).extend(settlement.attempts)
        return super()._settle(settlement, now)


class RetryingTooSoon(MemoryStorage):
    """Shows a timer that somebody has claimed for the first time as retrying."""

    async def get(self, timer_id: TimerId, project: ProjectId = DEFAULT_PROJECT) -> Timer:
        timer = await super().get(timer_id, project=project)
        is_first = timer.status is Status.EXECUTING and timer.attempt == 1
        return replace(timer, status=Status.RETRYING) if is_first else timer


class SilentClaim(MemoryStorage):
    """Does not say which rows it skipped."""

    async def claim(self, *asked: Any, **how: Any) -> ClaimReply:
        return replace(await super().claim(*asked, **how), locked=())


class StubbornClaim(MemoryStorage):
    """Takes nothing as long as one of the rows is locked."""

    async def claim(self, *asked: Any, **how: Any) -> ClaimReply:
        return await super().claim(*asked, **{**how, "skip_locked": False})


class SilentSettle(MemoryStorage):
    """Says of a row that it skipped that its claim is gone."""

    async def settle(self, *asked: Any, **how: Any) -> Sequence[bool | None]:
        answers = await super().settle(*asked, **how)
        return [answer or False for answer in answers]


class SilentSweep(MemoryStorage):
    """Does not say that it had to leave something."""

    async def sweep(self, *asked: Any) -> Swept | None:
        swept = await super().sweep(*asked)
        return swept and replace(swept, left=0)


@pytest.mark.parametrize(
    ("storage", "checker", "scenario"),
    [
        (FastClock, never_early, Scenario.CALM),
        (ForgetfulLoad, hardly_late, Scenario.CRASH),
        (PoliteCancel, acknowledged_holds, Scenario.CALM),
        (LateCancel, acknowledged_holds, Scenario.CALM),
        (ForgetfulUpdate, acknowledged_holds, Scenario.CALM),
        (EagerRefusal, acknowledged_holds, Scenario.CRASH),
        (PendingWhileClaimed, pending_is_unsent, Scenario.CALM),
        (LosingCreate, nothing_lost, Scenario.CALM),
        (LosingSettle, nothing_lost, Scenario.CALM),
        (WordlessSettle, nothing_lost, Scenario.CALM),
        (GreedyClaim, sent_once, Scenario.TWO_REPLICAS),
        (GreedyClaim, sent_once, Scenario.FLEET),
        (CarelessSettle, sent_once, Scenario.FREEZE),
        (OptimisticSettle, outcome_is_true, Scenario.CALM),
        (HastyRetry, retried_in_time, Scenario.CALM),
        (LazyRetry, retried_in_time, Scenario.CALM),
        (EndlessRetry, budget_holds, Scenario.CALM),
        (EndlessRetry, gives_up_in_time, Scenario.CALM),
        (MissingRetry, budget_holds, Scenario.CALM),
        (UncountedRetry, sent_once, Scenario.CALM),
        (DeafCancel, acknowledged_holds, Scenario.CALM),
        (ForgetfulUpdateOfRetrying, acknowledged_holds, Scenario.CALM),
        (StubbornUpdateOfRetrying, retried_in_time, Scenario.CALM),
        (ForgetfulAttempts, attempts_are_told, Scenario.CALM),
        (DoubledAttempts, attempts_are_told, Scenario.CALM),
        (RetryingTooSoon, retrying_has_failed, Scenario.CALM),
        (SilentClaim, hardly_late, Scenario.LOCKS),
        (StubbornClaim, hardly_late, Scenario.LOCKS),
        (SilentSettle, nothing_lost, Scenario.LOCKS),
        (SilentSweep, nothing_lost, Scenario.LOCKS),
    ],
)
def test_broken_storage_is_found_out(
    storage: type[MemoryStorage], checker: Checker, scenario: Scenario
) -> None:
    assert_found_out(checker, scenario, Build(storage=storage))


def test_answer_that_is_not_heeded_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settlement, "advice_of", lambda *_: Advice())
    assert_found_out(retried_in_time, Scenario.CALM)
    assert_found_out(sent_once, Scenario.CALM)


def test_attempt_beyond_the_time_to_give_up_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settlement, "_given_up", lambda *_: None)
    assert_found_out(gives_up_in_time, Scenario.OUTAGE)


def test_attempt_that_is_taken_for_unsent_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def corrected(_: Firer, outcome: CallbackOutcome, **__: bool) -> CallbackOutcome:
        if isinstance(outcome, Unreachable | TimedOut):
            return replace(outcome, is_unsent=True)
        return outcome

    monkeypatch.setattr(Firer, "_corrected", corrected)
    assert_found_out(sent_once, Scenario.CALM)


def test_retry_that_is_left_to_the_loader_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def settled(firer: Firer, settlement: Settlement, _: DueTimer) -> None:
        firer._agenda.let_go(settlement.timer_id, settlement.claim)

    monkeypatch.setattr(Firer, "_settled", settled)
    assert_found_out(retried_in_time, Scenario.CALM)


@pytest.mark.soak
def test_missing_fence_is_found_out() -> None:
    build = Build(lease=LeaseTimes(fence_s=float("inf")))
    assert_found_out(sent_once, Scenario.FREEZE, build)


def test_missing_sweep_is_found_out() -> None:
    build = Build(lease=LeaseTimes(dead_after_s=float("inf")))
    assert_found_out(nothing_lost, Scenario.CRASH, build)
    assert_found_out(hardly_late, Scenario.TWO_REPLICAS, build)


def test_slow_sweep_is_found_out() -> None:
    assert_found_out(hardly_late, Scenario.CRASH, Build(lease=LeaseTimes(dead_after_s=8.0)))


def test_sweep_before_the_fence_is_found_out() -> None:
    build = Build(lease=LeaseTimes(fence_s=6.0, dead_after_s=2.1))
    assert_found_out(sent_once, Scenario.FREEZE, build)


def test_missing_hand_over_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LEAVE_S", 0.0)
    assert_found_out(hardly_late, Scenario.ROLLING)


def test_shards_let_go_too_soon_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "HANDOVER_S", 0.0)
    assert_found_out(hardly_late, Scenario.ROLLING)


def test_callback_that_is_not_signed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SigningKeys, "sign_for", lambda *_: None)
    assert_found_out(all_are_genuine, Scenario.CALM)


def test_slot_that_is_never_released_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slots, "release", lambda *_: None)
    assert_found_out(nothing_leaks, Scenario.CALM)
