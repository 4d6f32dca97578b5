"""traceparent is read as W3C Trace Context has it, and anything else is nobody's."""

from __future__ import annotations

from typing import Final

import pytest

from timer_trio.domain.trace import TraceContext, read_traceparent, traceparent_of

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN: Final = "b7ad6b7169203331"


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("03", True)])
def test_context_is_read_and_written(flags: str, is_sampled: bool) -> None:  # noqa: FBT001 - a value
    context = read_traceparent(f"00-{TRACE}-{SPAN}-{flags}")
    assert context == TraceContext(int(TRACE, 16), int(SPAN, 16), is_sampled)
    assert traceparent_of(context) == f"00-{TRACE}-{SPAN}-0{int(is_sampled)}"


def test_small_ids_have_all_their_digits() -> None:
    assert traceparent_of(TraceContext(1, 2, is_sampled=False)) == f"00-{1:032x}-{2:016x}-00"


def test_later_version_may_say_more() -> None:
    assert read_traceparent(f"01-{TRACE}-{SPAN}-01-more") is not None
    assert read_traceparent(f"01-{TRACE}-{SPAN}-01") is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"01-{TRACE}-{SPAN}-01more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-0é",
    ],
)
def test_what_is_none_is_nobodys(text: str) -> None:
    assert read_traceparent(text) is None
