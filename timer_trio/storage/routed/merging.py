"""Sorted answers of several cells, made one."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")


def merged(
    answers: Iterable[Sequence[T]], most: int, *, by: Callable[[T], Any], descends: bool = False
) -> Sequence[T]:
    """Return the first of what each cell has in this order."""
    return [*islice(heapq.merge(*answers, key=by, reverse=descends), most)]
