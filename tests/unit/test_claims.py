from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.simulation.standby import copied, restore
from tests.unit.parts import PROMPT, REACH_S, Parts, open_cache
from timer_trio.delivery.claim_asker import FAILED_PAUSE
from timer_trio.delivery.claims import CLAIMS_AT_ONCE
from timer_trio.domain.arming import Armed
from timer_trio.domain.errors import ContentionError, RowsFailedError, StorageUnavailableError
from timer_trio.domain.flow import FlowId, FlowKey, flow_shard
from timer_trio.domain.flows import MANY_GONE, FlowReading
from timer_trio.domain.paused import LONGEST_PAUSE_S
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.timer import DueTimer, Status, TimerId

FAR_S: Final = 60.0
DELAY_S: Final = 20.0
GIVES_UP_S: Final = 60.0


def arm(parts: Parts, *timers: DueTimer, waited: bool = False) -> list[Armed]:
    """Take timers from the agenda, each with a slot, as the claimer does."""
    open_cache(parts.agenda)
    parts.agenda.add(timers)
    for timer in timers:
        parts.agenda.slots.hold(timer.lane)
    return [Armed(parts.agenda.cache.take(), waited) for _ in timers if parts.agenda.cache.peek()]


async def claim(parts: Parts, *timers: DueTimer) -> None:
    await parts.claims.claim(arm(parts, *timers))


async def sent(parts: Parts) -> list[TimerId]:
    """Which timers are sent in the next minute."""
    parts.nursery.start_soon(parts.launcher.run, parts.nursery)
    await trio.sleep(FAR_S)
    return parts.receivers.called


async def test_claimed_timer_keeps_its_slot_until_its_answer(parts: Parts) -> None:
    timer = await parts.create(1)
    await claim(parts, timer)
    assert await parts.status(timer.id) is Status.EXECUTING
    assert (parts.agenda.slots.in_use, parts.on_agenda()) == (1, [])
    assert await sent(parts) == [timer.id]
    assert parts.agenda.slots.in_use == 0


async def test_claim_reaches_ahead_and_no_further(parts: Parts) -> None:
    near, far = await parts.create(REACH_S - 0.1), await parts.create(REACH_S + 0.1)
    await claim(parts, near, far)
    assert await parts.status(near.id) is Status.EXECUTING
    assert await parts.status(far.id) is Status.PENDING


async def test_moved_timer_frees_its_slot_and_is_due_at_its_new_time(parts: Parts) -> None:
    moved = await parts.create(FAR_S)
    await claim(parts, moved._replace(due_at=parts.due(1).due_at))
    assert (parts.agenda.slots.in_use, parts.on_agenda()) == (0, [moved])
    assert await parts.status(moved.id) is Status.PENDING


async def test_ended_timer_frees_its_slot_and_is_forgotten(parts: Parts) -> None:
    ended = await parts.create(1)
    await parts.database.cancel(ended.id, parts.clock.now())
    await claim(parts, ended)
    assert (parts.agenda.slots.in_use, parts.on_agenda(), await sent(parts)) == (0, [], [])


async def test_flow_of_which_many_have_ended_is_read_anew(parts: Parts) -> None:
    flow = FlowId(DEFAULT_PROJECT, FlowKey("a"))
    parts.agenda.gates.flows.take_terms({flow_shard(*flow): 1})
    parts.agenda.gates.flows.know(flow, FlowReading())
    ended = [parts.due(1)._replace(flow_key=flow.key) for _ in range(MANY_GONE)]
    await claim(parts, *ended)
    assert parts.agenda.refill.take().shards == {flow_shard(*flow)}


async def test_timer_that_somebody_else_holds_frees_its_slot(parts: Parts) -> None:
    held = await parts.create(1)
    await parts.claim(held)
    parts.agenda.slots.release(PROMPT, 0)
    await claim(parts, held)
    assert (parts.agenda.slots.in_use, parts.on_agenda(), await sent(parts)) == (0, [], [])


async def test_unreadable_row_ends_its_timer_alone(parts: Parts) -> None:
    bad, good = await parts.create(1), await parts.create(1)
    parts.database.unreadable[bad.id] = "the row makes no timer"
    await claim(parts, bad, good)
    assert parts.agenda.slots.in_use == 1
    assert await sent(parts) == [good.id]
    assert await parts.outcome(bad.id) == (Status.FAILED, "the row makes no timer")
    assert parts.agenda.slots.in_use == 0


async def test_timer_that_the_database_cannot_claim_costs_no_other(parts: Parts) -> None:
    bad, *good = [await parts.create(1) for _ in range(7)]
    parts.database.failing = {bad.id}
    await claim(parts, *good[:3], bad, *good[3:])
    assert parts.agenda.slots.in_use == len(good)
    (later,) = parts.on_agenda()
    assert later == bad._replace(due_at=parts.clock.now() + FAILED_PAUSE)
    assert await parts.status(bad.id) is Status.PENDING
    assert sorted(await sent(parts)) == sorted(timer.id for timer in good)


async def test_one_timer_alone_that_the_database_cannot_claim_is_put_off(parts: Parts) -> None:
    bad = await parts.create(1)
    parts.database.failing = {bad.id}
    await claim(parts, bad)
    assert [len(asked.timer_ids) for asked in parts.database.asked] == [1, 0]
    assert parts.on_agenda() == [bad._replace(due_at=parts.clock.now() + FAILED_PAUSE)]


async def test_claim_that_fails_with_no_timer_as_well_is_repeated(parts: Parts) -> None:
    timers = [await parts.create(1) for _ in range(8)]
    parts.database.errors["claim"] = [RowsFailedError("no table") for _ in range(6)]
    await claim(parts, *timers)
    assert [len(asked.timer_ids) for asked in parts.database.asked] == [8, 0] * 3 + [8]
    assert parts.agenda.slots.in_use == len(timers)


async def test_timer_beyond_its_grace_is_not_sent(parts: Parts) -> None:
    missed = await parts.create(0, misfire_grace_s=5)
    await trio.sleep(10)
    await claim(parts, missed)
    status, error = await parts.outcome(missed.id)
    assert status is Status.FAILED
    assert str(error).startswith("missed: 10s overdue, grace 5s")
    assert (parts.agenda.slots.in_use, await sent(parts)) == (0, [])


async def test_timer_that_had_no_slot_says_so_when_it_is_missed(parts: Parts) -> None:
    missed = await parts.create(0, misfire_grace_s=5)
    await trio.sleep(10)
    await parts.claims.claim(arm(parts, missed, waited=True))
    _, error = await parts.outcome(missed.id)
    assert "had no free slot" in str(error)


async def test_freed_slot_is_told(parts: Parts) -> None:
    ended = await parts.create(1)
    await parts.database.cancel(ended.id, parts.clock.now())
    armed = arm(parts, ended)
    parts.agenda.slots.waiting[PROMPT] = None
    parts.agenda.begin_look()
    await parts.claims.claim(armed)
    answered_s = trio.current_time()
    await parts.agenda.wait_changed(answered_s + FAR_S, wants_any_slot=False)
    assert trio.current_time() == answered_s


async def test_lost_answer_is_asked_for_again_under_the_same_claim(parts: Parts) -> None:
    timer = await parts.create(1)
    parts.database.lost_replies["claim"] = 2
    await claim(parts, timer)
    assert len({asked.claim for asked in parts.database.asked}) == 1
    assert len(parts.database.asked) == 3
    assert await sent(parts) == [timer.id]
    assert (await parts.database.get(timer.id)).attempt == 1
    assert parts.agenda.slots.in_use == 0


async def test_each_claim_has_a_number_of_its_own(parts: Parts) -> None:
    for _ in range(2):
        await claim(parts, await parts.create(1))
    first, second = parts.database.asked
    assert first.claim != second.claim


async def test_claim_waits_for_a_database_that_is_away(parts: Parts) -> None:
    timer = await parts.create(1)
    parts.database.errors["claim"] = [StorageUnavailableError("away") for _ in range(20)]
    await claim(parts, timer)
    assert await parts.status(timer.id) is Status.EXECUTING
    assert parts.agenda.slots.in_use == 1


async def test_claim_is_not_asked_for_again_before_the_lease_is_held(parts: Parts) -> None:
    timer = await parts.create(1)
    parts.database.is_away = True
    parts.nursery.start_soon(parts.claims.claim, arm(parts, timer))
    await trio.sleep(1)
    parts.heartbeat.lose(parts.heartbeat.replica)
    parts.database.is_away = False
    asked = len(parts.database.asked)
    await trio.sleep(FAR_S)
    assert len(parts.database.asked) == asked
    await parts.heartbeat.join(alone=False)
    assert await sent(parts) == [timer.id]
    assert len({asked.claim for asked in parts.database.asked}) == 1


async def test_replica_that_was_swept_loses_its_lease_and_frees_all_slots(parts: Parts) -> None:
    timers = [await parts.create(1), await parts.create(1.5)]
    await parts.database.sweep(parts.heartbeat.replica, None, parts.clock.now())
    await claim(parts, *timers)
    assert not parts.heartbeat.is_held
    assert (parts.agenda.slots.in_use, parts.on_agenda()) == (0, timers)
    assert await parts.status(timers[0].id) is Status.PENDING


async def test_after_a_stop_nothing_is_asked_for_and_all_slots_are_freed(parts: Parts) -> None:
    timer = await parts.create(1)
    armed = arm(parts, timer)
    parts.lifecycle.drain()
    await parts.claims.claim(armed)
    assert parts.database.asked == []
    assert (parts.agenda.slots.in_use, parts.on_agenda()) == (0, [timer])


async def test_what_was_asked_for_before_a_stop_is_taken(parts: Parts) -> None:
    timer = await parts.create(2)
    parts.database.delay_s["claim"] = 1
    parts.nursery.start_soon(parts.claims.claim, arm(parts, timer))
    await trio.sleep(0.5)
    parts.lifecycle.drain()
    assert await sent(parts) == [timer.id]


async def test_no_more_than_two_claims_are_under_way(parts: Parts) -> None:
    parts.database.delay_s["claim"] = 1
    for _ in range(5):
        armed = arm(parts, await parts.create(5))
        parts.nursery.start_soon(parts.claims.claim, armed)
    await trio.sleep(5)
    assert parts.database.most_at_once["claim"] == CLAIMS_AT_ONCE
    assert parts.database.tries["claim"] == 5


async def test_move_that_is_heard_of_during_a_claim_is_not_lost(parts: Parts) -> None:
    timer = await parts.create(1)
    await parts.database.cancel(timer.id, parts.clock.now())
    moved = timer._replace(due_at=parts.due(FAR_S).due_at)
    parts.database.delay_s["claim"] = 1
    parts.nursery.start_soon(parts.claims.claim, arm(parts, timer))
    await trio.sleep(0.5)
    parts.agenda.add([moved])
    assert parts.on_agenda() == []
    await trio.sleep(1)
    assert parts.on_agenda() == [moved]


async def test_reading_of_a_timer_that_was_claimed_meanwhile_is_dropped(parts: Parts) -> None:
    timer = await parts.create(1)
    parts.database.delay_s["claim"] = 1
    parts.nursery.start_soon(parts.claims.claim, arm(parts, timer))
    await trio.sleep(0.5)
    parts.agenda.add_readings([timer])
    await trio.sleep(1)
    assert parts.on_agenda() == []


async def test_claimed_timer_that_is_given_back_is_due_again(parts: Parts) -> None:
    timer = await parts.create(1)
    await claim(parts, timer)
    parts.agenda.add([timer])
    assert parts.on_agenda() == [timer]


async def test_contention_costs_nobody_but_the_locked_row(parts: Parts) -> None:
    locked, free = await parts.create(1), await parts.create(1)
    parts.database.locked = {locked.id}
    await claim(parts, locked, free)
    assert await parts.status(free.id) is Status.EXECUTING
    assert [asked.skip_locked for asked in parts.database.asked] == [False, True]
    assert parts.agenda.slots.in_use == 1


async def test_contention_that_is_over_costs_nothing(parts: Parts) -> None:
    timer = await parts.create(1)
    parts.database.errors["claim"] = [ContentionError("a lock")]
    await claim(parts, timer)
    assert await parts.status(timer.id) is Status.EXECUTING


async def test_locked_timer_frees_its_slot_and_comes_back_when_nobody_locks_it(
    parts: Parts,
) -> None:
    locked = await parts.create(1)
    parts.database.locked = {locked.id}
    parts.nursery.start_soon(parts.claims.watch_locked)
    await claim(parts, locked)
    await trio.sleep(10)
    assert (parts.agenda.slots.in_use, parts.on_agenda()) == (0, [])
    parts.database.locked = set()
    await trio.sleep(LONGEST_PAUSE_S + 0.1)
    assert (parts.agenda.slots.in_use, parts.on_agenda()) == (0, [locked])


async def test_locked_timer_is_not_claimed_again_when_it_is_read(parts: Parts) -> None:
    locked = await parts.create(1)
    parts.database.locked = {locked.id}
    await claim(parts, locked)
    parts.agenda.add_readings([locked])
    assert parts.on_agenda() == []


async def test_as_long_as_a_row_is_locked_none_is_waited_for(parts: Parts) -> None:
    locked, later = await parts.create(1), await parts.create(2)
    parts.database.locked = {locked.id}
    parts.nursery.start_soon(parts.claims.watch_locked)
    await claim(parts, locked)
    await claim(parts, later)
    assert [asked.skip_locked for asked in parts.database.asked] == [False, True, True]
    parts.database.locked = set()
    await trio.sleep(LONGEST_PAUSE_S + 0.1)
    await claim(parts, await parts.create(1))
    assert parts.database.asked[-1].skip_locked is False


async def test_claim_that_turns_out_to_have_been_taken_is_fetched_with_a_slot(
    parts: Parts,
) -> None:
    timer = await parts.create(1)
    parts.nursery.start_soon(parts.claims.watch_locked)
    parts.database.lost_replies["claim"] = 1
    parts.nursery.start_soon(parts.claims.claim, arm(parts, timer))
    await wait_all_tasks_blocked()
    parts.database.locked = {timer.id}
    await trio.sleep(5)
    assert parts.agenda.slots.in_use == 0
    parts.database.locked = set()
    await trio.sleep(LONGEST_PAUSE_S + 0.1)
    assert parts.agenda.slots.in_use == 1
    assert len({asked.claim for asked in parts.database.asked}) == 1
    assert await sent(parts) == [timer.id]
    assert parts.agenda.slots.in_use == 0


async def test_watch_over_locked_rows_ends_with_a_stop(parts: Parts) -> None:
    locked = await parts.create(1)
    parts.database.locked = {locked.id}
    await claim(parts, locked)
    parts.lifecycle.drain()
    await parts.claims.watch_locked()
    assert parts.on_agenda() == []


async def retrying(parts: Parts, grace_s: float | None = None) -> DueTimer:
    """Have a timer fail, so that it is due again in DELAY_S."""
    parts.receivers.reply = 503
    policy = RetryPolicy(max_attempts=2, delays=(DELAY_S,), jitter=0.0, give_up_after_s=GIVES_UP_S)
    await parts.fire(await parts.prepare(retry=policy, misfire_grace_s=grace_s))
    await parts.settler.wait_empty()
    (again,) = parts.offered
    parts.receivers.sent.clear()
    return again


async def test_retrying_timer_is_claimed_when_its_next_attempt_is_due(parts: Parts) -> None:
    again = await retrying(parts)
    await claim(parts, again._replace(due_at=parts.clock.now()))
    assert await parts.status(again.id) is Status.RETRYING
    assert (parts.agenda.slots.in_use, parts.on_agenda()) == (0, [again])
    parts.agenda.cache.done(again.id)
    await trio.sleep(DELAY_S)
    await claim(parts, again)
    assert await parts.status(again.id) is Status.EXECUTING


async def test_further_attempt_within_its_own_grace_is_made(parts: Parts) -> None:
    again = await retrying(parts, grace_s=5.0)
    await trio.sleep(DELAY_S + 4)
    await claim(parts, again)
    assert await sent(parts) == [again.id]


async def test_grace_of_a_further_attempt_counts_from_its_own_instant(parts: Parts) -> None:
    again = await retrying(parts, grace_s=5.0)
    await trio.sleep(DELAY_S + 6)
    await claim(parts, again)
    status, words = await parts.outcome(again.id)
    assert (status, str(words).startswith("missed: ")) == (Status.FAILED, True)
    assert await sent(parts) == []


async def test_further_attempt_that_comes_too_late_for_its_policy_is_not_made(parts: Parts) -> None:
    again = await retrying(parts)
    await trio.sleep(GIVES_UP_S + 1)
    await claim(parts, again)
    words = "gave up: 1m 1s after the first attempt was due"
    assert await parts.outcome(again.id) == (Status.FAILED, words)
    assert await sent(parts) == []
    assert (await parts.database.get(again.id)).attempt == 1


async def send(parts: Parts, timer: DueTimer) -> None:
    """Claim a timer, send it and have its outcome written."""
    await claim(parts, timer)
    with trio.move_on_after(DELAY_S):
        await parts.launcher.run(parts.nursery)
    await parts.settler.wait_empty()


@pytest.mark.parametrize(
    ("reply", "status"), [(200, Status.COMPLETED), (500, Status.FAILED), (503, Status.RETRYING)]
)
async def test_what_a_failover_has_undone_is_told_again_and_not_sent_again(
    parts: Parts, reply: int, status: Status
) -> None:
    policy = RetryPolicy(max_attempts=2, delays=(FAR_S,), jitter=0.0)
    timer = await parts.create(1, retry=policy if status is Status.RETRYING else None)
    standby = copied(parts.database)
    parts.receivers.reply = reply
    await send(parts, timer)
    before = await parts.database.get(timer.id)
    restore(parts.database, standby)
    parts.offered.clear()
    parts.leftovers.look()
    await claim(parts, timer)
    await parts.settler.wait_empty()
    after = await parts.database.get(timer.id)
    assert (after.status, after) == (status, replace(before, updated_at=after.updated_at))
    assert parts.receivers.called == [timer.id]
    assert parts.agenda.slots.in_use == 0
    assert len(parts.offered) == (status is Status.RETRYING)
    assert not parts.agenda.has_in_hand(timer.id, parts.database.asked[-1].claim)
