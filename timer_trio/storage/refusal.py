"""What PostgreSQL refuses to store, in plain Python: the rules of `schema/` and of its texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Final

from timer_trio.domain.flow import FlowKey
from timer_trio.domain.keys import MAX_KEY_LENGTH
from timer_trio.domain.settlement import Settlement
from timer_trio.domain.timer import NewTimer, TimerSpec

UNSTORABLE_TEXT: Final = "a text holds a character that the database cannot store"
OUT_OF_RANGE: Final = "a value is out of range"

_NUL_OR_SURROGATE: Final = re.compile("[\0\ud800-\udfff]")
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


def timer_refusal(timer: NewTimer) -> str | None:
    """Return why the database would refuse to store this, if it would."""
    return flow_refusal(timer.flow_key) or spec_refusal(timer.spec)


def flow_refusal(flow_key: FlowKey | None) -> str | None:
    """As `timer_refusal`, of the flow that something is in."""
    if flow_key is None:
        return None
    if not 1 <= len(flow_key) <= MAX_KEY_LENGTH:
        return OUT_OF_RANGE
    return UNSTORABLE_TEXT if is_unstorable(flow_key) else None


def spec_refusal(spec: TimerSpec) -> str | None:
    """As `timer_refusal`, of what a timer asks for."""
    if any(is_unstorable(text) for text in _texts_of(spec)):
        return UNSTORABLE_TEXT
    timeout_s, grace_s = spec.callback.timeout_s, spec.misfire_grace_s
    if (
        spec.execute_at < _EARLIEST
        or not (timeout_s > 0 and isfinite(timeout_s))
        or not (grace_s is None or (grace_s >= 0 and isfinite(grace_s)))
    ):
        return OUT_OF_RANGE
    return None


def settlement_refusal(settlement: Settlement) -> str | None:
    if is_unstorable(settlement.last_error or ""):
        return UNSTORABLE_TEXT
    return None if settlement.result is None else spec_refusal(settlement.result.spec)


def is_unstorable(text: str) -> bool:
    return _NUL_OR_SURROGATE.search(text) is not None


def _texts_of(spec: TimerSpec) -> Iterator[str]:
    yield spec.callback.url.text
    yield spec.callback.payload or ""
    # `json` keeps a text as it came, so that a header may hold what metadata in `jsonb` may not.
    yield from _texts_in(spec.metadata)


def _texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts_in(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _texts_in(item)
