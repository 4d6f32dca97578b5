from __future__ import annotations

from itertools import pairwise

import pytest
import trio
import trio.testing

from timer_trio.server.turns import Turns


async def test_so_many_begin_at_once_and_the_others_in_the_turns_that_follow() -> None:
    turns = Turns(per_turn=2)
    begun: list[int] = []

    async def ask(number: int) -> None:
        await turns.enter()
        begun.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(ask, number)
        await trio.testing.wait_all_tasks_blocked()
        assert len(begun) == 2  # nobody gives the places of the next turn away yet
        nursery.start_soon(turns.run)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(begun) == [0, 1, 2, 3, 4]
        nursery.cancel_scope.cancel()


async def test_who_comes_first_goes_first() -> None:
    turns = Turns(per_turn=1)
    begun: list[int] = []

    async def ask(number: int) -> None:
        await turns.enter()
        begun.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(turns.run)
        await trio.testing.wait_all_tasks_blocked()
        assert begun == [0, 1, 2, 3]
        nursery.cancel_scope.cancel()


async def test_who_leaves_takes_no_place() -> None:
    turns = Turns(per_turn=1)
    await turns.enter()
    with trio.move_on_after(0), pytest.raises(trio.Cancelled):
        await turns.enter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        await turns.enter()
        nursery.cancel_scope.cancel()


async def test_others_have_their_turn_between_two_groups() -> None:
    turns = Turns(per_turn=3)
    seen: list[int] = []
    begun = 0

    async def ask() -> None:
        nonlocal begun
        await turns.enter()
        begun += 1

    async def look() -> None:
        for _ in range(20):
            seen.append(begun)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        for _ in range(12):
            nursery.start_soon(ask)
        await trio.lowlevel.checkpoint()
        await look()
        nursery.cancel_scope.cancel()
    steps = [later - earlier for earlier, later in pairwise(seen)]
    assert seen[-1] == 12
    assert max(steps) <= 3
