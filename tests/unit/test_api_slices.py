# ruff: noqa: ARG001 - pytest-trio finds the clock of a test among its arguments
from __future__ import annotations

from collections.abc import Iterator

import trio
from trio.testing import MockClock

from timer_trio.api.slices import SLICE_S, Slices


def work(clock: MockClock, label: str, turns: list[str]) -> Iterator[str]:
    """Take a slice of time for each of eight results."""
    for _ in range(8):
        clock.jump(SLICE_S * 1.01)
        turns.append(label)
        yield label


async def test_others_have_their_turn_after_each_slice(mock_clock: MockClock) -> None:
    turns: list[str] = []

    async def callback() -> None:
        while len(turns) < 16:
            turns.append("callback")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(callback)
        assert await Slices().collect(work(mock_clock, "work", turns)) == ["work"] * 8
    # In each pass of the loop both have one turn, in any order.
    assert "work work work" not in " ".join(turns)


async def test_only_one_of_many_works_at_a_time(mock_clock: MockClock) -> None:
    slices, turns = Slices(), list[str]()
    async with trio.open_nursery() as nursery:
        for label in "ab":
            nursery.start_soon(slices.collect, work(mock_clock, label, turns))
    assert "".join(turns) in {"aaaaaaaabbbbbbbb", "bbbbbbbbaaaaaaaa"}


async def test_work_that_fails_gives_up_its_turn(mock_clock: MockClock) -> None:
    slices = Slices()

    def fail() -> Iterator[None]:
        yield
        raise ValueError("no more")

    for _ in range(2):
        try:
            await slices.collect(fail())
        except ValueError:
            continue
        raise AssertionError("it has not failed")
    assert await slices.collect(iter([1])) == [1]
