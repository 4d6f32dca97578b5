"""What the headers of an answer say about where its body ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

Header = tuple[bytes, bytes]

_MAX_DIGITS: Final = 18
"""Of a length: more would be an exabyte."""


class Framing(NamedTuple):
    """The transfer codings but `identity`, which is none, and the lengths as they are written."""

    codings: Sequence[bytes]
    lengths: Sequence[bytes]

    @property
    def is_chunked(self) -> bool:
        return bool(self.codings) and self.codings[-1] == b"chunked"

    @property
    def is_framed(self) -> bool:
        """Whether a body's end is known, rather than the connection's: codings, then lengths."""
        return self.is_chunked if self.codings else bool(self.lengths)

    @property
    def length(self) -> int | None:
        """The one length that all of them name; None: there is no such length."""
        named = {int(length) for length in self.lengths if _is_number(length)}
        is_one = len(named) == 1 and all(map(_is_number, self.lengths))
        return named.pop() if is_one else None


def framing_of(headers: Iterable[Header]) -> Framing:
    codings: list[bytes] = []
    lengths: list[bytes] = []
    for name, value in headers:
        field = name.lower()
        if field == b"content-length":
            lengths += _listed(value)
        elif field == b"transfer-encoding":
            codings += _listed(value.lower())
    return Framing([coding for coding in codings if coding not in {b"", b"identity"}], lengths)


def _listed(value: bytes) -> list[bytes]:
    return [each.strip() for each in value.split(b",")]


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _MAX_DIGITS
