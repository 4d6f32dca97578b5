# ruff: noqa: ARG001 - pytest-trio finds the clock of a test among its arguments
from __future__ import annotations

import sys
from collections.abc import Generator, Iterator

import trio
from trio.testing import MockClock

from timer_trio.api.body.slices import SLICE_S, Slices


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


async def test_many_take_turns(mock_clock: MockClock) -> None:
    slices, turns, usual_s = Slices(), list[str](), sys.getswitchinterval()
    async with trio.open_nursery() as nursery:
        for label in "ab":
            nursery.start_soon(slices.collect, work(mock_clock, label, turns))
    assert "".join(turns) in {"ab" * 8, "ba" * 8}
    assert sys.getswitchinterval() == usual_s


async def test_what_can_pause_answers_with_its_result(mock_clock: MockClock) -> None:
    def long() -> Generator[None, None, int]:
        for _ in work(mock_clock, "work", []):
            yield
        return 7

    def short() -> Generator[None, None, int]:
        return 8
        yield

    assert await Slices().finish(long()) == 7
    assert await Slices().finish(short()) == 8


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
