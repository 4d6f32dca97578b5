"""What a new timer will cost the database, as far as its size tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from timer_trio.domain.timer import TimerSpec

# Measured on one core of a small machine.
_ROW_US: Final = 20.0
_CHARACTER_US: Final = 0.03
_INDEX_ENTRY_US: Final = 4.0
"""Each value of the metadata, at any depth, is an entry of its index."""


def create_cost_us(spec: TimerSpec, at_most: int) -> int:
    """Estimate how long the database takes to insert a timer, in microseconds.

    Looks no further once `at_most` is reached, so that it takes a millisecond at most itself.
    """
    callback = spec.callback
    characters = len(callback.payload or "") + len(callback.url.text)
    characters += _characters_in(callback.headers)
    for target in (spec.on_completed, spec.on_failed):
        if target is not None:
            characters += len(target.url.text) + _characters_in(target.headers)
    cost_us = _ROW_US + characters * _CHARACTER_US
    waiting: list[object] = [spec.metadata] if spec.metadata else []
    while waiting and cost_us < at_most:
        match waiting.pop():
            case str() as text:
                cost_us += len(text) * _CHARACTER_US
            case Mapping() as mapping:
                cost_us += len(mapping) * _INDEX_ENTRY_US
                if cost_us < at_most:
                    waiting += (*mapping, *mapping.values())
            case Sequence() as sequence:
                cost_us += len(sequence) * _INDEX_ENTRY_US
                if cost_us < at_most:
                    waiting += sequence
            case _:
                pass
    return min(int(cost_us), at_most)


def _characters_in(headers: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in headers.items())
