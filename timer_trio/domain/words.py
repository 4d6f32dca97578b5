"""Words for `last_error`: short, printable, and the same for the same thing."""

from __future__ import annotations

from typing import Final

MAX_ERROR_LENGTH: Final = 1_000
"""Characters of `last_error`: enough for a sentence and an address, and a receiver chooses some."""


def clean(text: str) -> str:
    """Make words that a receiver may have chosen fit to store: no controls, no surrogates."""
    text = text[: 2 * MAX_ERROR_LENGTH]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())[:MAX_ERROR_LENGTH]


def in_words(seconds: float) -> str:
    """Spell a duration in its two greatest units: `2h 3m`, `45s`, `1.5s`."""
    if seconds < 10:  # below it a tenth still tells
        return f"{round(seconds, 1):g}s"
    rest = round(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
