from __future__ import annotations

from datetime import timedelta
from math import inf
from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.garbage import nothing_left
from tests.unit.parts import OTHER, PROMPT, Parts, open_cache
from timer_trio.callback_url import read_url
from timer_trio.delivery.firer import SHORTAGE_PAUSE
from timer_trio.delivery.firing import Firing
from timer_trio.domain.answer import KeptAnswer, StoreResponse
from timer_trio.domain.flow import FlowId, FlowKey, flow_shard
from timer_trio.domain.flows import FlowReading
from timer_trio.domain.project import DEFAULT_PROJECT
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.rules import FlowRules
from timer_trio.domain.settlement import judge
from timer_trio.domain.timer import Delivery, ResultTarget, Status
from timer_trio.transport import Answer, RequestError, ShortageError, TransportError, WithheldError

TOLD: Final = ResultTarget(url=read_url("https://example.org/"), headers={})
ENDINGS: Final[dict[str, tuple[int | Exception, Status, str | None]]] = {
    "delivered": (200, Status.COMPLETED, None),
    "rejected": (503, Status.FAILED, "HTTP 503 from https://example.com"),
    "redirected": (307, Status.FAILED, "HTTP 307 from https://example.com"),
    "unreachable": (TransportError("connection reset"), Status.FAILED, "connection reset"),
    "no request": (RequestError("a bad header"), Status.FAILED, "a bad header"),
    "broken": (ValueError("a bug"), Status.FAILED, "internal error: ValueError"),
}
DELAY_S: Final = 7.5
POLICY: Final = RetryPolicy(max_attempts=2, delays=(DELAY_S,), jitter=0.0)
NEVER_AGAIN: Final = ((b"X-Timer-Retry", b"no"),)


async def prepared_while_away(parts: Parts) -> Firing:
    """Make a timer ready, and let the database go away."""
    firing = await parts.prepare()
    parts.database.is_away = True
    return firing


@pytest.mark.parametrize(("reply", "status", "error"), ENDINGS.values(), ids=list(ENDINGS))
async def test_answer_ends_the_timer(
    parts: Parts, reply: int | Exception, status: Status, error: str | None
) -> None:
    parts.receivers.reply = reply
    firing = await parts.prepare()
    await parts.fire(firing)
    assert await parts.outcome(firing.timer.id) == (status, error)
    assert parts.agenda.slots.in_use == 0
    assert parts.offered == []
    failures = parts.sample("failed_total", reason="callback")
    assert failures == (status is Status.FAILED)


async def test_failed_callback_is_offered_again_at_its_next_instant(parts: Parts) -> None:
    parts.receivers.reply = 503
    firing = await parts.prepare(retry=POLICY)
    await parts.fire(firing)
    next_at = parts.clock.now() + timedelta(seconds=DELAY_S)
    words = "HTTP 503 from https://example.com"
    assert await parts.outcome(firing.timer.id) == (Status.RETRYING, words)
    assert parts.offered == [firing.due._replace(due_at=next_at)]
    assert (await parts.database.get(firing.timer.id)).next_attempt_at == next_at
    assert parts.agenda.slots.in_use == 0
    assert parts.sample("retries_total") == 1
    assert parts.sample("failed_total", reason="callback") == 0


async def test_callback_is_offered_again_once_its_failure_is_written(parts: Parts) -> None:
    parts.receivers.reply = 503
    firing = await parts.prepare(retry=POLICY)
    parts.database.is_away = True
    await parts.fire(firing)
    await trio.sleep(2 * DELAY_S)
    assert parts.offered == []
    parts.database.is_away = False
    await parts.settler.wait_empty()
    assert len(parts.offered) == 1


async def test_receiver_says_when_to_try_again(parts: Parts) -> None:
    parts.receivers.reply = Answer(429, ((b"Retry-After", b"90"),), b"")
    firing = await parts.prepare(retry=POLICY)
    await parts.fire(firing)
    next_at = parts.clock.now() + timedelta(seconds=90)
    await parts.settler.wait_empty()
    assert parts.offered == [firing.due._replace(due_at=next_at)]


@pytest.mark.parametrize("answer", [Answer(410, (), b""), Answer(500, NEVER_AGAIN, b"")])
async def test_receiver_says_that_it_is_not_to_be_tried_again(parts: Parts, answer: Answer) -> None:
    parts.receivers.reply = answer
    firing = await parts.prepare(retry=POLICY)
    await parts.fire(firing)
    assert (await parts.outcome(firing.timer.id))[0] is Status.FAILED
    assert parts.offered == []


async def end_at_most_once(parts: Parts) -> Status:
    firing = await parts.prepare(retry=POLICY, delivery=Delivery.AT_MOST_ONCE, timeout_s=2.0)
    await parts.fire(firing)
    return (await parts.outcome(firing.timer.id))[0]


async def test_refused_connection_is_tried_again_also_at_most_once(parts: Parts) -> None:
    parts.receivers.unable = TransportError("connection refused")
    assert await end_at_most_once(parts) is Status.RETRYING


async def test_connection_that_takes_too_long_is_tried_again_also_at_most_once(
    parts: Parts,
) -> None:
    parts.receivers.connect_s = 5
    assert await end_at_most_once(parts) is Status.RETRYING


@pytest.mark.parametrize(
    "reply",
    [
        503,
        TransportError("connection reset"),
        WithheldError("no second try"),
        ValueError("a bug"),
    ],
)
async def test_what_may_have_arrived_is_not_tried_again_at_most_once(
    parts: Parts, reply: int | Exception
) -> None:
    parts.receivers.reply = reply
    assert await end_at_most_once(parts) is Status.FAILED


async def test_answer_that_takes_too_long_is_not_tried_again_at_most_once(parts: Parts) -> None:
    parts.receivers.answer_s = 5
    assert await end_at_most_once(parts) is Status.FAILED


@pytest.mark.parametrize(
    ("stored", "statuses"),
    [
        (StoreResponse.FAILURES, {503}),
        (StoreResponse.ALL, {200, 503}),
        (StoreResponse.NONE, set[int]()),
    ],
)
@pytest.mark.parametrize("status", [200, 503])
async def test_answers_are_kept_as_the_timer_asks(
    parts: Parts, status: int, stored: StoreResponse, statuses: set[int]
) -> None:
    parts.receivers.reply = Answer(status, ((b"Server", b"\xe9"),), b"why")
    firing = await parts.prepare(store_response=stored)
    await parts.fire(firing)
    await parts.settler.wait_empty()
    answers = [each.answer for each in await parts.database.attempts(firing.timer.id)]
    kept = KeptAnswer(headers=(("Server", "\xe9"),), body=b"why", is_truncated=False)
    assert [answer for answer in answers if answer] == ([kept] if status in statuses else [])


@pytest.mark.parametrize("reply", [200, 503])
async def test_result_is_offered_once_it_is_written(parts: Parts, reply: int) -> None:
    parts.receivers.reply = reply
    firing = await parts.prepare(on_completed=TOLD, on_failed=TOLD)
    await parts.fire(firing)
    assert parts.offered == []
    await parts.settler.wait_empty()
    (due,) = parts.offered
    result = await parts.database.get(due.id)
    assert result.parent_id == firing.timer.id
    assert due.lane.destination == TOLD.url.destination
    assert due.due_at == result.spec.execute_at
    assert due.due_at <= parts.clock.now()


async def test_result_of_what_was_refused_is_offered_as_well(parts: Parts) -> None:
    due = await parts.create(on_failed=TOLD)
    timer = await parts.claim(due)
    missed = judge(timer, timer.due_at + timedelta(hours=1), waited_for_slot=False)
    assert missed is not None
    parts.firer.refuse(missed, due)
    await parts.settler.wait_empty()
    (offered,) = parts.offered
    assert (await parts.database.get(offered.id)).parent_id == timer.id
    assert parts.sample("failed_total", reason="missed") == 1
    assert parts.sample("fired_total", outcome="not_fired") == 1


async def test_bug_in_one_callback_costs_that_timer_alone(parts: Parts) -> None:
    firings = [await parts.prepare() for _ in range(3)]
    bad, *good = (firing.timer.id for firing in firings)
    parts.receivers.replies[bad] = ValueError("a bug")
    async with trio.open_nursery() as callbacks:
        for firing in firings:
            callbacks.start_soon(parts.fire, firing)
    assert await parts.outcome(bad) == (Status.FAILED, "internal error: ValueError")
    assert [await parts.status(timer_id) for timer_id in good] == [Status.COMPLETED] * 2


async def test_timer_whose_request_cannot_be_made_fails_alone(parts: Parts) -> None:
    firing = await parts.prepare(callback_headers={"X-Name": "na\u00efve"})
    assert parts.receivers.sent == []
    await parts.fire(firing)
    status, error = await parts.outcome(firing.timer.id)
    assert (status, parts.receivers.sent) == (Status.FAILED, [])
    assert "ASCII" in str(error)
    assert parts.agenda.slots.in_use == 0


async def test_slot_is_held_until_the_answer(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.receivers.answer_s = 5
    parts.nursery.start_soon(parts.fire, firing)
    await trio.sleep(4.9)
    assert parts.agenda.slots.in_use == 1
    await trio.sleep(0.2)
    assert parts.agenda.slots.in_use == 0


async def test_slot_is_free_before_the_outcome_is_written(parts: Parts) -> None:
    firing = await prepared_while_away(parts)
    await parts.fire(firing)
    assert (parts.agenda.slots.in_use, len(parts.settler)) == (0, 1)
    assert await parts.status(firing.timer.id) is Status.EXECUTING


async def test_freed_slot_is_told_at_once(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.agenda.slots.waiting[PROMPT] = None
    parts.agenda.begin_look()
    await parts.fire(firing)
    ended_s = trio.current_time()
    await parts.agenda.wait_changed(inf, wants_any_slot=False)
    assert trio.current_time() == ended_s


async def test_timer_is_in_hand_until_its_outcome_is_written(parts: Parts) -> None:
    open_cache(parts.agenda)
    firing = await prepared_while_away(parts)
    await parts.fire(firing)
    parts.agenda.add_readings([firing.due])
    assert len(parts.agenda.cache) == 0
    parts.database.is_away = False
    await parts.settler.wait_empty()
    parts.agenda.add_readings([firing.due])
    assert len(parts.agenda.cache) == 1


async def test_nothing_is_sent_once_the_lease_is_lost(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.heartbeat.lose(parts.heartbeat.replica)
    await parts.fire(firing)
    assert await parts.outcome(firing.timer.id) == (Status.PENDING, None)
    assert parts.receivers.sent == []
    assert parts.offered == [firing.due]
    assert parts.agenda.slots.in_use == 0
    assert parts.sample("fenced_total") == 1


@pytest.mark.parametrize("connect_s", [0.0, 1.0])
async def test_what_is_withheld_of_a_flow_is_due_again_before_the_next_may_go(
    parts: Parts, connect_s: float
) -> None:
    firing = await parts.prepare()
    due = firing.due._replace(flow_key=FlowKey("a"))
    flow = FlowId(DEFAULT_PROJECT, FlowKey("a"))
    flows = parts.agenda.gates.flows
    flows.take_terms({flow_shard(*flow): 1})
    flows.know(flow, FlowReading(rules=FlowRules(max_in_flight=1)))
    flows.begin(flow, due.id)
    parts.receivers.connect_s = connect_s
    parts.heartbeat.lose(parts.heartbeat.replica)
    await parts.fire(firing._replace(due=due))
    assert (parts.offered, flows.wait_s(flow, 0.0)) == ([], inf)
    assert await parts.outcome(due.id) == (Status.PENDING, None)
    assert (parts.offered, flows.wait_s(flow, 0.0)) == ([due], None)


async def test_lease_is_looked_at_when_the_connection_is_there(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.receivers.connect_s = 2
    parts.nursery.start_soon(parts.fire, firing)
    await trio.sleep(1)
    parts.heartbeat.lose(parts.heartbeat.replica)
    await trio.sleep(2)
    assert parts.receivers.sent == []
    assert await parts.outcome(firing.timer.id) == (Status.PENDING, None)


async def test_claim_of_an_id_that_was_swept_sends_nothing(parts: Parts) -> None:
    firing = await parts.prepare()
    await parts.fire(firing._replace(replica=OTHER))
    assert parts.receivers.sent == []
    assert await parts.outcome(firing.timer.id) == (Status.PENDING, None)


async def test_timer_is_offered_once_it_is_pending_again(parts: Parts) -> None:
    firing = await prepared_while_away(parts)
    parts.heartbeat.lose(parts.heartbeat.replica)
    await parts.fire(firing)
    await trio.sleep(10)
    assert parts.offered == []
    parts.database.is_away = False
    await parts.settler.wait_empty()
    assert parts.offered == [firing.due]


async def test_shortage_puts_the_timer_off(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.receivers.unable = ShortageError("no file descriptor is left")
    await parts.fire(firing)
    ended_at = parts.clock.now()
    assert await parts.outcome(firing.timer.id) == (Status.PENDING, None)
    assert parts.offered == [firing.due._replace(due_at=ended_at + SHORTAGE_PAUSE)]
    assert (parts.agenda.slots.in_use, parts.sample("shortages_total")) == (0, 1)


async def test_timer_that_could_not_be_connected_to_fails(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.receivers.unable = TransportError("connection refused")
    await parts.fire(firing)
    assert await parts.outcome(firing.timer.id) == (Status.FAILED, "connection refused")


async def test_timeout_counts_from_the_timers_instant(parts: Parts) -> None:
    firing = await parts.prepare(timeout_s=2.0)
    await trio.sleep(60)
    parts.receivers.connect_s, parts.receivers.answer_s = 1.5, 1.5
    began_s = trio.current_time()
    await parts.fire(firing)
    assert trio.current_time() - began_s == pytest.approx(2.0)
    assert await parts.outcome(firing.timer.id) == (Status.FAILED, "timed out after 2s")
    assert parts.agenda.slots.in_use == 0


async def test_second_try_that_is_not_allowed_does_not_undo_the_first(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.receivers.reply = WithheldError("no second try")
    await parts.fire(firing)
    words = "connection closed before an answer came"
    assert await parts.outcome(firing.timer.id) == (Status.FAILED, words)


async def test_stop_gives_back_what_has_not_been_sent(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.receivers.connect_s = 5
    parts.nursery.start_soon(parts.firer.give_back_unsent)
    parts.nursery.start_soon(parts.fire, firing)
    await trio.sleep(1)
    parts.lifecycle.give_back()
    await wait_all_tasks_blocked()
    assert parts.agenda.slots.in_use == 0
    assert await parts.outcome(firing.timer.id) == (Status.PENDING, None)
    assert (parts.receivers.sent, parts.offered) == ([], [firing.due])
    assert parts.sample("fenced_total") == 0


async def test_connection_that_opens_as_a_stop_begins_carries_nothing(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.receivers.connect_s, parts.receivers.opens_regardless = 5, True
    parts.nursery.start_soon(parts.firer.give_back_unsent)
    parts.nursery.start_soon(parts.fire, firing)
    await trio.sleep(1)
    parts.lifecycle.give_back()
    await trio.sleep(5)
    assert parts.receivers.sent == []
    assert await parts.outcome(firing.timer.id) == (Status.PENDING, None)


async def test_stop_waits_for_the_answer_to_what_has_been_sent(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.receivers.answer_s = 5
    parts.nursery.start_soon(parts.firer.give_back_unsent)
    parts.nursery.start_soon(parts.fire, firing)
    await trio.sleep(1)
    parts.lifecycle.give_back()
    await trio.sleep(5)
    assert await parts.outcome(firing.timer.id) == (Status.COMPLETED, None)


async def test_nothing_is_sent_after_a_stop(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.lifecycle.give_back()
    await parts.fire(firing)
    assert parts.receivers.sent == []
    assert await parts.outcome(firing.timer.id) == (Status.PENDING, None)


async def test_timer_that_was_never_fired_is_given_back(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.firer.give_back(firing)
    assert parts.agenda.slots.in_use == 0
    assert await parts.outcome(firing.timer.id) == (Status.PENDING, None)
    assert parts.offered == [firing.due]


async def cancel_after(parts: Parts, firing: Firing, seconds: float) -> None:
    with trio.move_on_after(seconds) as cancelled:
        await parts.fire(firing)
    assert cancelled.cancelled_caught


async def test_cancelled_before_its_send_a_timer_is_given_back(parts: Parts) -> None:
    firing = await parts.prepare()
    parts.receivers.connect_s = 5
    await cancel_after(parts, firing, 1)
    assert await parts.outcome(firing.timer.id) == (Status.PENDING, None)
    assert (parts.agenda.slots.in_use, parts.offered) == (0, [firing.due])


async def test_cancelled_after_its_send_a_timer_keeps_its_claim(parts: Parts) -> None:
    firing = await parts.prepare(delivery=Delivery.AT_LEAST_ONCE)
    parts.receivers.answer_s = 5
    await cancel_after(parts, firing, 1)
    assert await parts.outcome(firing.timer.id) == (Status.EXECUTING, None)
    assert (parts.agenda.slots.in_use, parts.offered) == (0, [])


async def test_cancelled_after_its_send_a_timer_that_may_fire_once_fails(parts: Parts) -> None:
    firing = await parts.prepare(delivery=Delivery.AT_MOST_ONCE)
    parts.receivers.answer_s = 5
    await cancel_after(parts, firing, 1)
    status, error = await parts.outcome(firing.timer.id)
    assert status is Status.FAILED
    assert str(error).startswith("outcome unknown")


async def test_refused_timer_fails_without_a_callback(parts: Parts) -> None:
    settlement, due = await parts.failure()
    parts.firer.refuse(settlement, due)
    assert parts.agenda.slots.in_use == 0
    assert await parts.outcome(due.id) == (Status.FAILED, "no timer")
    assert parts.receivers.sent == []


async def test_fired_timer_leaves_no_garbage(parts: Parts) -> None:
    with nothing_left():
        for status in (200, 503):
            parts.receivers.reply = status
            for _ in range(10):
                await parts.fire(await parts.prepare())
