"""What a new timer will cost the database, as far as its size tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from timer_trio.domain.timer import TimerSpec

# Measured on one core of a small machine.
_ROW_US: Final = 20
_CHARACTER_US: Final = 0.03
_INDEX_ENTRY_US: Final = 4.0
"""Each value of the metadata, at any depth, is an entry of its index."""


def create_cost_us(spec: TimerSpec) -> int:
    """Estimate how long the database takes to insert a timer, in microseconds; never far below."""
    characters = len(spec.callback_payload or "") + len(spec.callback_url)
    characters += sum(len(name) + len(value) for name, value in spec.callback_headers.items())
    entries = 0
    if spec.metadata:
        length, entries = _size_of(spec.metadata)
        characters += length
    return int(_ROW_US + characters * _CHARACTER_US + entries * _INDEX_ENTRY_US)


def _size_of(metadata: Mapping[str, object]) -> tuple[int, int]:
    # Between two values there is a comma: those inside of texts make the estimate a little greater.
    text = json.dumps(dict(metadata))
    return len(text), text.count(",") + 1
