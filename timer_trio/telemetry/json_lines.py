"""Events as JSON, a line each."""

from __future__ import annotations

import json
from typing import Final, TextIO

import structlog

QUOTE: Final = json.encoder.encode_basestring_ascii
"""Spells a text as the renderer does."""


class JsonRenderer(structlog.processors.JSONRenderer):
    """Spells events; whoever has many alike, and spells them the same way, writes them at once."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(_json)
        self._stream = stream

    def write_lines(self, lines: list[str]) -> None:
        """Write whole lines, each with its end."""
        self._stream.writelines(lines)


def _json(event: structlog.typing.EventDict, **_options: object) -> str:
    # json.dumps with an option makes an encoder anew for each line.
    return _ENCODE(event)


_ENCODE: Final = json.JSONEncoder(default=repr).encode
