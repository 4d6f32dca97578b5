"""Long work on the event loop, in slices, so that callbacks stay on time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
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
    """The turns that great bodies take at the event loop: one of them at a time."""

    def __init__(self) -> None:
        self._turn = trio.Lock()

    async def collect(self, work: Iterable[T]) -> list[T]:
        """Take everything from `work`, with a checkpoint after each slice of time."""
        results: list[T] = []
        async with self._turn:
            with _threads_served():
                await _collect(work, results)
        return results


async def _collect(work: Iterable[T], results: list[T]) -> None:
    slice_ends_s = trio.current_time() + SLICE_S
    for result in work:
        results.append(result)
        if trio.current_time() >= slice_ends_s:
            await trio.lowlevel.checkpoint()
            slice_ends_s = trio.current_time() + SLICE_S


@contextmanager
def _threads_served() -> Iterator[None]:
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)
