"""Long work on the event loop, in slices, so that callbacks stay on time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

import trio

SLICE_S: Final = 0.001
"""Before others have their turn: a callback comes late by a few of them at most.

A pass of the event loop costs 0.05 ms or more, so shorter ones would slow down great bodies."""

T = TypeVar("T")


class Slices:
    """The turns that great bodies take at the event loop: one of them at a time."""

    def __init__(self) -> None:
        self._turn = trio.Lock()

    async def collect(self, work: Iterable[T]) -> list[T]:
        """Take everything from `work`, with a checkpoint after each slice of time."""
        results: list[T] = []
        async with self._turn:
            slice_ends_s = trio.current_time() + SLICE_S
            for result in work:
                results.append(result)
                if trio.current_time() >= slice_ends_s:
                    await trio.lowlevel.checkpoint()
                    slice_ends_s = trio.current_time() + SLICE_S
        return results
