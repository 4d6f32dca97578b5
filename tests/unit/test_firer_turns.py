from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.unit.parts import Parts
from timer_trio.delivery.firing import Firing
from timer_trio.domain.timer import Status
from timer_trio.transport import TransportError

TIMEOUT_S = 2.0
TIMED_OUT = (Status.FAILED, "timed out after 2s")


async def line_up(parts: Parts, count: int) -> list[Firing]:
    """Make timers ready, of which all but the first are to stand in line behind it."""
    return [await parts.prepare(timeout_s=TIMEOUT_S) for _ in range(count)]


async def fire_in_turn(parts: Parts, firings: list[Firing]) -> None:
    async with trio.open_nursery() as callbacks:
        for firing in firings:
            parts.firer.fire(firing, callbacks, may_wait=firing is not firings[0])
        assert len(callbacks.child_tasks) == 1


async def outcomes(parts: Parts, firings: list[Firing]) -> list[tuple[Status, str | None]]:
    return [await parts.outcome(firing.timer.id) for firing in firings]


async def test_each_in_line_has_its_timeout_from_its_own_send(parts: Parts) -> None:
    firings = await line_up(parts, 3)
    parts.receivers.answer_s = 0.75 * TIMEOUT_S
    await fire_in_turn(parts, firings)
    assert await outcomes(parts, firings) == [(Status.COMPLETED, None)] * 3


async def test_timeout_breaks_off_one_callback_and_not_its_line(parts: Parts) -> None:
    firings = await line_up(parts, 3)
    parts.receivers.answer_s = 2 * TIMEOUT_S
    began_s = trio.current_time()
    await fire_in_turn(parts, firings)
    assert trio.current_time() - began_s == pytest.approx(3 * TIMEOUT_S)
    assert await outcomes(parts, firings) == [TIMED_OUT] * 3
    assert (len(parts.receivers.sent), parts.agenda.slots.in_use) == (3, 0)


async def test_answer_that_comes_despite_a_timeout_costs_the_next_nothing(parts: Parts) -> None:
    firings = await line_up(parts, 2)
    parts.receivers.comes_regardless, parts.receivers.answer_s = True, 1.5 * TIMEOUT_S
    parts.nursery.start_soon(fire_in_turn, parts, firings)
    await trio.sleep(1.25 * TIMEOUT_S)
    parts.receivers.comes_regardless, parts.receivers.answer_s = False, 0.5 * TIMEOUT_S
    await trio.sleep(TIMEOUT_S)
    assert await outcomes(parts, firings) == [(Status.COMPLETED, None)] * 2


async def test_stop_waits_for_who_was_sent_after_one_that_never_was(parts: Parts) -> None:
    firings = await line_up(parts, 2)
    parts.receivers.connect_s, parts.receivers.answer_s = 0.5 * TIMEOUT_S, 0.4 * TIMEOUT_S
    parts.receivers.unable = TransportError("connection refused")
    parts.nursery.start_soon(parts.firer.give_back_unsent)
    parts.nursery.start_soon(fire_in_turn, parts, firings)
    await trio.sleep(0.75 * TIMEOUT_S)
    parts.receivers.unable = None
    await trio.sleep(0.5 * TIMEOUT_S)
    assert parts.receivers.called == [firings[1].timer.id]
    parts.lifecycle.give_back()
    await trio.sleep(0.5 * TIMEOUT_S)
    refused = Status.FAILED, "connection refused"
    assert await outcomes(parts, firings) == [refused, (Status.COMPLETED, None)]


async def test_stop_gives_back_who_stands_behind_what_was_not_sent(parts: Parts) -> None:
    firings = await line_up(parts, 2)
    parts.receivers.connect_s = 0.5 * TIMEOUT_S
    parts.nursery.start_soon(parts.firer.give_back_unsent)
    parts.nursery.start_soon(fire_in_turn, parts, firings)
    await trio.sleep(0.25 * TIMEOUT_S)
    parts.lifecycle.give_back()
    await wait_all_tasks_blocked()
    assert await outcomes(parts, firings) == [(Status.PENDING, None)] * 2
    assert (parts.receivers.sent, parts.agenda.slots.in_use) == ([], 0)
