"""Long work on the event loop, in slices, so that callbacks stay on time."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import trio

SLICE_S: Final = 0.001
"""Before others have their turn: a callback comes late by a few of them at most.

A pass of the event loop costs 0.05 ms or more, so shorter ones would slow down great bodies."""

SWITCH_INTERVAL_S: Final = SLICE_S / 2
"""So long threads wait for the interpreter at most, meanwhile. Under Python's own 5 ms heartbeats
and claims were kept waiting for seconds: the event loop lets go of the interpreter after each
slice, but has it back before a thread wakes. At other times switching so often only costs."""

T = TypeVar("T")


class Slices:
    """The turns that great bodies take at the event loop: a slice of one of them at a time.

    They take turns, so that one of a thousandth of the other's size does not wait for its end.
    """

    def __init__(self) -> None:
        self._turn = trio.Lock()
        self._count = 0
        self._usual_s = 0.0

    async def collect(self, work: Iterable[T | None]) -> list[T]:
        """Take everything from `work` but None, with a checkpoint after each slice of time."""
        results: list[T] = []
        steps = iter(work)
        with self._threads_served():
            is_done = False
            while not is_done:
                async with self._turn:
                    is_done = _take_slice(steps, results)
        return results

    async def finish(self, work: Generator[None, None, T]) -> T:
        """Run `work` to its end likewise; returns its result.

        What does not yield is done at once, without a checkpoint.
        """
        try:
            next(work)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # it is the generator's
        (result,) = await self.collect(_with_result(work))
        return result

    @contextmanager
    def _threads_served(self) -> Iterator[None]:
        if not self._count:
            self._usual_s = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                sys.setswitchinterval(self._usual_s)


def _take_slice(steps: Iterator[T | None], results: list[T]) -> bool:
    """Work for a slice of time; returns whether that was the last."""
    ends_s = trio.current_time() + SLICE_S
    for result in steps:
        if result is not None:
            results.append(result)
        if trio.current_time() >= ends_s:
            return False
    return True


def _with_result(work: Generator[None, None, T]) -> Iterator[T | None]:
    yield (yield from work)
