"""A stream of bytes cut into lines."""

from __future__ import annotations

import re
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
        # Skipped in one step, since nobody gets a turn between lines that nobody gets.
        self._blank = re.compile(rb"(?:[ \t\r]{0,%d}+\n)++" % most_bytes)
        self._rest = bytearray()
        self._is_too_long = False
        self.count = 0
        """Lines that have ended, blank ones included."""

    def feed(self, data: bytes) -> Iterator[Line]:
        """Yield the lines that end in `data`."""
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            if self._rest or self._is_too_long or end - at > self._most_bytes:
                self._keep(data[at:end])
                line = self._cut()
            else:
                line = self._numbered(data[at:end])  # as almost all come: whole, and not too long
            at = end + 1
            if line:
                yield line
            elif blank := self._blank.match(data, at):
                self.count += data.count(b"\n", at, blank.end())
                at = blank.end()
        self._keep(data[at:])

    def end(self) -> Iterator[Line]:
        """Yield what is left when there is no more: the last line needs no line feed."""
        if (self._rest or self._is_too_long) and (line := self._cut()):
            yield line

    def _keep(self, part: bytes) -> None:
        # The carriage return before a line feed is not the line's.
        line_end = (part or self._rest).endswith(b"\r")
        if len(self._rest) + len(part) - line_end > self._most_bytes:
            self._is_too_long = True
        if self._is_too_long:
            self._rest.clear()
        else:
            self._rest += part

    def _cut(self) -> Line | None:
        raw = None if self._is_too_long else bytes(self._rest)
        self._rest.clear()
        self._is_too_long = False
        return self._numbered(raw)

    def _numbered(self, raw: bytes | None) -> Line | None:
        """Count a line that has ended; returns it unless it is blank."""
        self.count += 1
        if raw is not None and not (raw := raw.strip(_SPACE)):
            return None
        return Line(self.count, raw)
