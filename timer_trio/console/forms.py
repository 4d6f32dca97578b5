"""What a form says: its fields, and the JSON of the API that they stand for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from quart import request

from timer_trio.api.body.media import raw_body
from timer_trio.api.errors import FieldError, InvalidRequestError, UnsupportedMediaError

MEDIA: Final = "application/x-www-form-urlencoded"
MOST_FIELDS: Final = 100
"""More than any form here has."""


class Form:
    """The fields of a form, without what surrounds each; a field that is not there is empty."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """Return a field as a person means it; a browser ends its lines with CR and LF."""
        values = self._values.get(name, [""])
        return values[0].replace("\r\n", "\n").strip()

    def all(self, name: str) -> list[str]:
        """Return all boxes of a name that are ticked."""
        return self._values.get(name, [])

    def pairs(self) -> list[tuple[str, str]]:
        return [(name, value) for name, values in self._values.items() for value in values]


async def read_form() -> Form:
    """Read the form that a request carries.

    Raises:
        InvalidRequestError, UnsupportedMediaError, BodyTooLargeError: it carries none to read.
    """
    if request.mimetype != MEDIA:
        raise UnsupportedMediaError(f"send the form with Content-Type: {MEDIA}")
    return Form(_pairs(await raw_body()))


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:  # UnicodeDecodeError is one
        words = f"the form is not UTF-8, percent-encoded, or has more than {MOST_FIELDS} fields"
        raise InvalidRequestError(FieldError("", words)) from None


def written(text: str) -> str:
    """Write a text down as JSON."""
    return json.dumps(text)


def checked_json(text: str, field: str) -> str:
    """Return JSON that a person wrote, which goes on as it stands.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(FieldError(field, f"is no JSON: {error}")) from None
    return text


def number(text: str, field: str) -> str:
    """Return a number that a person wrote, as JSON.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequestError(FieldError(field, "must be a number"))
    return text


def instant(text: str) -> str:
    """Return an instant that a person chose, by the clock of UTC, as the API takes it."""
    if text and text[-1] in "0123456789" and "T" in text and "+" not in text:
        return f"{text}:00Z" if text.count(":") == 1 else f"{text}Z"
    return text


def body_of(members: Mapping[str, str]) -> bytes:
    """Write the body of a request down, whose values are JSON already."""
    return (
        f"{{{', '.join(f'{json.dumps(name)}: {text}' for name, text in members.items())}}}".encode()
    )
