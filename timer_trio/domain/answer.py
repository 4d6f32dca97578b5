"""What is kept of a receiver's answer, so that its consumer can see what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

MAX_KEPT_HEADERS: Final = 32
"""More than servers send; an attempt's row must not grow by what a stranger makes up."""
KEPT_BODY_BYTES: Final = 4_096
"""Enough for the words of an error."""


class StoreResponse(StrEnum):
    """Of which attempts the answers are kept."""

    FAILURES = "failures"
    ALL = "all"
    NONE = "none"


class KeptAnswer(NamedTuple):
    """The beginning of an answer; `is_truncated`: headers or a part of the body are left out."""

    headers: tuple[tuple[str, str], ...]
    """In the order in which they came, their bytes as Latin-1, without NUL."""
    body: bytes
    is_truncated: bool


def kept_answer(
    headers: Sequence[tuple[bytes, bytes]], body: bytes, at_most: int = KEPT_BODY_BYTES
) -> KeptAnswer:
    """Cut an answer to its first headers and the first `at_most` bytes of its body."""
    return KeptAnswer(
        headers=tuple([(_text(name), _text(value)) for name, value in headers[:MAX_KEPT_HEADERS]]),
        body=body[:at_most],
        is_truncated=len(headers) > MAX_KEPT_HEADERS or len(body) > at_most,
    )


def _text(raw: bytes) -> str:
    # No client may pass a NUL on (RFC 9110, section 5.5), and no database takes it in a text.
    return raw.replace(b"\0", b"").decode("latin-1")
