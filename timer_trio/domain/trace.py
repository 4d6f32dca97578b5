"""Where in a trace something happens, as W3C Trace Context spells it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_SAMPLED: Final = 1


class TraceContext(NamedTuple):
    """A span, and whether whoever began its trace wants to keep it."""

    trace_id: int
    span_id: int
    is_sampled: bool


def read_traceparent(text: str) -> TraceContext | None:
    """Read a header `traceparent`; None: it is none (Trace Context, section 3.2).

    One of a later version begins as ours does, and may go on.
    """
    match = _TRACEPARENT.fullmatch(text)
    if match is None or (match["more"] and text.startswith("00")):
        return None
    is_sampled = bool(int(match["flags"], 16) & _SAMPLED)
    return TraceContext(int(match["trace"], 16), int(match["span"], 16), is_sampled)


def traceparent_of(context: TraceContext) -> str:
    flags = _SAMPLED if context.is_sampled else 0
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"
