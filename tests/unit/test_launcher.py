from __future__ import annotations

from typing import Unpack

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.unit.parts import Parts
from timer_trio.delivery import launcher
from timer_trio.delivery.launcher import LOOK_S, MAX_STARTS
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import DueTimer, SpecChange, Status


@pytest.fixture(autouse=True)
def _small_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "CROWD", 2)


async def launch(parts: Parts, in_s: float, **changes: Unpack[SpecChange]) -> DueTimer:
    """Hand the launcher a claimed timer."""
    due = await parts.create(in_s, **changes)
    parts.launcher.add(await parts.claim(due), due, parts.heartbeat.replica)
    return due


def run(parts: Parts) -> None:
    parts.nursery.start_soon(parts.launcher.run, parts.nursery)


def lateness_s(parts: Parts) -> list[float]:
    return [sent.late_s for sent in parts.receivers.sent]


class Spawns(trio.abc.Instrument):
    """Counts the most tasks that any task has started without a checkpoint."""

    def __init__(self) -> None:
        self.most = 0
        self._in_this_step = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - whichever
        self._in_this_step = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - whichever
        self._in_this_step += 1
        self.most = max(self.most, self._in_this_step)


async def test_timer_is_sent_at_its_instant_and_never_early(parts: Parts) -> None:
    run(parts)
    for in_s in (3.0, 0.7, 0.0, 1.123456, 3.0):
        await launch(parts, in_s)
    await trio.sleep(4)
    late_s = lateness_s(parts)
    assert len(late_s) == 5
    assert min(late_s) >= 0
    assert max(late_s) < 0.01


async def test_further_attempt_is_sent_at_an_instant_of_its_own(parts: Parts) -> None:
    parts.receivers.reply = 503
    run(parts)
    due = await launch(parts, 0, retry=RetryPolicy(max_attempts=2, delays=(5.0,), jitter=0.0))
    await trio.sleep(3)
    (again,) = parts.offered
    parts.launcher.add(await parts.claim(again), due, parts.heartbeat.replica)
    await trio.sleep(3)
    first_s, second_s = lateness_s(parts)
    assert 5 <= second_s - first_s < 5.02


async def test_launcher_that_is_woken_just_before_an_instant_waits_for_it(parts: Parts) -> None:
    run(parts)
    await launch(parts, 1)
    await trio.sleep(0.9995)
    await launch(parts, 0)
    await trio.sleep(0.1)
    late_s = lateness_s(parts)
    assert len(late_s) == 2
    assert min(late_s) >= 0


async def test_instant_counts_and_not_the_order_of_claims(parts: Parts) -> None:
    last, first, middle = [await launch(parts, in_s) for in_s in (3.0, 1.0, 2.0)]
    run(parts)
    await trio.sleep(4)
    assert parts.receivers.called == [first.id, middle.id, last.id]


async def test_nearer_timer_is_not_held_up_by_the_one_that_is_waited_for(parts: Parts) -> None:
    run(parts)
    await launch(parts, 60)
    await trio.sleep(1)
    near = await launch(parts, 1)
    await trio.sleep(1.1)
    assert parts.receivers.called == [near.id]
    assert max(lateness_s(parts)) < 0.01


async def test_overdue_timer_is_sent_at_once(parts: Parts) -> None:
    run(parts)
    overdue = await launch(parts, -10)
    await wait_all_tasks_blocked()
    assert parts.receivers.called == [overdue.id]


async def test_all_of_a_burst_are_sent_at_their_instant(parts: Parts) -> None:
    burst = [await launch(parts, 1) for _ in range(3 * MAX_STARTS)]
    run(parts)
    await trio.sleep(1.1)
    assert sorted(parts.receivers.called) == sorted(timer.id for timer in burst)
    assert max(lateness_s(parts)) < 0.01


async def test_answers_have_a_turn_in_the_middle_of_a_burst(parts: Parts) -> None:
    burst = [await launch(parts, 0) for _ in range(3 * MAX_STARTS)]
    spawns = Spawns()
    trio.lowlevel.add_instrument(spawns)
    run(parts)
    await wait_all_tasks_blocked()
    assert len(parts.receivers.sent) == len(burst)
    assert spawns.most == MAX_STARTS


async def crowd(parts: Parts) -> list[DueTimer]:
    """Have many that are late already fall to one destination; answers with those in its line."""
    timers = [await launch(parts, -1) for _ in range(3 * MAX_STARTS)]
    run(parts)
    await wait_all_tasks_blocked()
    assert parts.receivers.called == [timers[0].id]
    return timers[1:]


async def test_who_is_late_goes_out_on_the_connection_that_comes_free(parts: Parts) -> None:
    parts.receivers.answer_s = LOOK_S / 1000
    timers = await crowd(parts)
    spawns = Spawns()
    trio.lowlevel.add_instrument(spawns)
    await trio.sleep(LOOK_S)
    assert parts.receivers.called[1:] == [timer.id for timer in timers]
    assert spawns.most == 0


async def test_who_is_late_does_not_wait_for_a_slow_answer(parts: Parts) -> None:
    parts.receivers.answer_s = 5
    timers = await crowd(parts)
    await trio.sleep(6 * LOOK_S)
    assert sorted(parts.receivers.called[1:]) == sorted(timer.id for timer in timers)


async def test_who_is_in_time_waits_for_nobody(parts: Parts) -> None:
    parts.receivers.answer_s = 5
    timers = [await launch(parts, 0) for _ in range(3)]
    run(parts)
    await wait_all_tasks_blocked()
    assert sorted(parts.receivers.called) == sorted(timer.id for timer in timers)


async def test_stop_gives_back_who_stands_in_line(parts: Parts) -> None:
    parts.receivers.answer_s = 5
    timers = await crowd(parts)
    parts.lifecycle.give_back()
    await trio.sleep(10)
    assert len(parts.receivers.sent) == 1
    assert parts.agenda.slots.in_use == 0
    assert sorted(parts.offered) == sorted(timers)
    assert {await parts.status(timer.id) for timer in timers} == {Status.PENDING}


async def test_lease_is_looked_at_for_each_that_stood_in_line(parts: Parts) -> None:
    parts.receivers.answer_s = LOOK_S / 1000
    timers = await crowd(parts)
    parts.heartbeat.lose(parts.heartbeat.replica)
    await trio.sleep(LOOK_S)
    await parts.settler.wait_empty()
    assert len(parts.receivers.sent) == 1
    assert sorted(parts.offered) == sorted(timers)
    assert parts.agenda.slots.in_use == 0


async def test_bug_in_one_that_stood_in_line_costs_that_timer_alone(parts: Parts) -> None:
    parts.receivers.answer_s = LOOK_S / 1000
    bad, *good = await crowd(parts)
    parts.receivers.replies[bad.id] = ValueError("a bug")
    await trio.sleep(LOOK_S)
    assert await parts.outcome(bad.id) == (Status.FAILED, "internal error: ValueError")
    assert {await parts.status(timer.id) for timer in good} == {Status.COMPLETED}


async def test_stop_gives_back_what_has_not_been_started(parts: Parts) -> None:
    run(parts)
    waiting = [await launch(parts, in_s) for in_s in (60, 61, 62)]
    parts.lifecycle.give_back()
    await wait_all_tasks_blocked()
    assert parts.agenda.slots.in_use == 0
    await parts.settler.wait_empty()
    assert [await parts.status(timer.id) for timer in waiting] == [Status.PENDING] * 3
    assert sorted(parts.offered) == waiting
    await trio.sleep(120)
    assert parts.receivers.sent == []


async def test_stop_takes_back_no_callback_that_is_under_way(parts: Parts) -> None:
    run(parts)
    parts.receivers.answer_s = 5
    sent = await launch(parts, 0)
    await trio.sleep(1)
    parts.lifecycle.give_back()
    await trio.sleep(5)
    assert await parts.outcome(sent.id) == (Status.COMPLETED, None)
    assert parts.agenda.slots.in_use == 0


async def test_cancelled_it_gives_back_what_has_not_been_started(parts: Parts) -> None:
    waiting = [await launch(parts, in_s) for in_s in (60, 61)]
    with trio.move_on_after(1):
        async with trio.open_nursery() as callbacks:
            callbacks.start_soon(parts.launcher.run, callbacks)
    assert parts.agenda.slots.in_use == 0
    await parts.settler.wait_empty()
    assert [await parts.status(timer.id) for timer in waiting] == [Status.PENDING] * 2


async def test_what_comes_before_it_runs_is_given_back_by_a_stop(parts: Parts) -> None:
    early = await launch(parts, 0)
    parts.lifecycle.give_back()
    await parts.launcher.run(parts.nursery)
    assert await parts.outcome(early.id) == (Status.PENDING, None)
    assert parts.receivers.sent == []


async def test_what_comes_after_a_stop_is_given_back_at_once(parts: Parts) -> None:
    run(parts)
    parts.lifecycle.give_back()
    await wait_all_tasks_blocked()
    late = await launch(parts, 1)
    assert parts.agenda.slots.in_use == 0
    assert await parts.outcome(late.id) == (Status.PENDING, None)
    assert parts.offered == [late]
