from __future__ import annotations

import trio

from timer_trio.delivery.refill import Refill, Wants


def test_wants_of_many_are_read_in_one_pass() -> None:
    refill = Refill()
    refill.ask_near()
    refill.ask_window()
    refill.ask_shards({1, 2})
    refill.ask_shards({2, 3})
    assert refill.take() == Wants(near=True, window=True, shards={1, 2, 3})


def test_wants_are_taken_once() -> None:
    refill = Refill()
    refill.ask_near()
    refill.take()
    assert refill.take() == Wants()


async def test_wants_that_come_after_the_last_were_taken_are_waited_for() -> None:
    refill = Refill()
    refill.ask_window()
    refill.take()
    with trio.move_on_after(0) as waiting:
        await refill.wait_wanted()
    assert waiting.cancelled_caught
    refill.ask_shards({1})
    await refill.wait_wanted()
    assert refill.take() == Wants(shards={1})


def test_shards_of_the_asker_stay_its_own() -> None:
    refill, shards = Refill(), {1}
    refill.ask_shards(shards)
    refill.ask_shards({2})
    assert shards == {1}


async def test_lost_hints_have_the_loader_look() -> None:
    refill = Refill()
    refill.note_hints_lost()
    await refill.wait_wanted()
    assert (refill.hints_are_lost, refill.take()) == (True, Wants())


async def test_hints_that_are_heard_again_have_the_window_read() -> None:
    refill = Refill()
    refill.note_hints_lost()
    refill.note_hints_heard()
    assert (refill.hints_are_lost, refill.take()) == (False, Wants(window=True))
