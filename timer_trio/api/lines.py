"""A stream of bytes cut into lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

_SPACE: Final = b" \t\r"


class Line(NamedTuple):
    """A line that is not blank, by its number from 1; without its bytes if it was too long."""

    number: int
    raw: bytes | None


class Lines:
    """Cuts what it is fed at each line feed, and skips blank lines.

    It keeps no more than `most_bytes` of a line that has not ended.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._rest = bytearray()
        self._is_too_long = False
        self.count = 0
        """Lines that have ended, blank ones included."""

    def feed(self, data: bytes) -> Iterator[Line]:
        """Yield the lines that end in `data`."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._keep(end)
            yield from self._cut()
        self._keep(rest)

    def end(self) -> Iterator[Line]:
        """Yield what is left when there is no more: the last line needs no line feed."""
        if self._rest or self._is_too_long:
            yield from self._cut()

    def _keep(self, part: bytes) -> None:
        # The carriage return before a line feed is not the line's.
        if len(self._rest) + len(part.removesuffix(b"\r")) > self._most_bytes:
            self._is_too_long = True
        if self._is_too_long:
            self._rest.clear()
        else:
            self._rest += part

    def _cut(self) -> Iterator[Line]:
        self.count += 1
        raw = bytes(self._rest).strip(_SPACE)
        if self._is_too_long:
            yield Line(self.count, None)
        elif raw:
            yield Line(self.count, raw)
        self._rest.clear()
        self._is_too_long = False
