"""Long work on the blocks of a table, a page of them at a time, and half of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from timer_trio.storage.migrations.patience import patiently, rest
from timer_trio.storage.migrations.taken import Connection

PAGE_S: Final = 0.025
"""What one page takes at most of the database's time: little enough for a claim."""
MIN_BLOCKS: Final = 4
MAX_BLOCKS: Final = 256
MIN_PAUSE_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Paged:
    """With how much of it, in blocks, it is done."""

    done: int
    blocks: int


class Pager:
    """Works through blocks by pages that take about as long as a claim may wait for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._size = MIN_BLOCKS

    def work(self, first: int, end: int, act: Callable[[int, int], object]) -> Iterator[int]:
        """Act on the blocks from `first` to before `end`, a page in each transaction.

        `act` is told the first of a page, and the one after its last. Yields that.

        Raises:
            BuildPutOffError: somebody holds what a page needs all the time.
        """
        at = first
        while at < end:
            last = min(at + self._size, end)
            began = time.monotonic()
            patiently(self._connection, partial(act, at, last))
            took = time.monotonic() - began
            at, self._size = last, next_size(self._size, took)
            yield at
            # Half of the time is for others.
            rest(max(MIN_PAUSE_S, took))


def next_size(size: int, took: float) -> int:
    """Return how many blocks the next page has, if one of `size` took so long."""
    fitting = size * PAGE_S / max(took, 1e-6)
    return max(MIN_BLOCKS, min(MAX_BLOCKS, 2 * size, int(fitting)))
