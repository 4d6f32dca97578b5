"""How many callbacks a receiver had at once, and within a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple


class Span(NamedTuple):
    """From when until when a receiver had a callback, in Unix seconds."""

    begin_s: float
    end_s: float = inf


def most_at_once(spans: Collection[Span]) -> int:
    """Count the most that were there at one instant; one that ends makes room at once."""
    steps = sorted([(span.begin_s, 1) for span in spans] + [(span.end_s, -1) for span in spans])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def most_within(instants: Collection[float], seconds: float) -> int:
    """Count the most instants in any window of so many seconds."""
    ordered: Sequence[float] = sorted(instants)
    first = most = 0
    for place, instant in enumerate(ordered):
        while instant - ordered[first] >= seconds:
            first += 1
        most = max(most, place - first + 1)
    return most


def longest_gap(instants: Collection[float]) -> float:
    """Tell for how long nothing came between the first and the last."""
    return max(later - earlier for earlier, later in pairwise(sorted(instants)))
