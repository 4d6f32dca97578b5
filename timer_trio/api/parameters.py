"""The parameters of a query string, read strictly."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes

from timer_trio.api.errors import FieldError, InvalidRequestError, shown

MAX_PARAMETERS: Final = 50
"""More than any route takes; what stands behind them is not read."""


def refuse_parameters(raw: bytes) -> None:
    """Check that a route which takes no parameters got none.

    Raises:
        InvalidRequestError: naming those it got.
    """
    if given := parameters_in(raw):
        raise InvalidRequestError(*map(unknown_parameter, given))


def refuse_unreadable_path(raw: bytes, field: str) -> None:
    """Check a path; its parameter `field`, as it was read, has a mark where it is not UTF-8.

    Raises:
        InvalidRequestError: it is not UTF-8, percent-encoded.
    """
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise invalid_parameter(field, "is not UTF-8, percent-encoded") from None


def parameters_in(raw: bytes) -> dict[str, str]:
    """Read all parameters of a query string.

    Raises:
        InvalidRequestError: it is not UTF-8, has too many of them, or one twice.
    """
    given = _first_parameters(raw)
    if raw.count(b"&") >= MAX_PARAMETERS:
        first = shown(next(iter(given), ""))
        words = f"is one of more than {MAX_PARAMETERS} parameters: no route takes so many"
        raise invalid_parameter(first, words)
    return given


def _first_parameters(raw: bytes) -> dict[str, str]:
    first = b"&".join(raw.split(b"&", MAX_PARAMETERS)[:MAX_PARAMETERS])
    try:
        pairs = parse_qsl(first.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise invalid_parameter("", "the query string is not UTF-8, percent-encoded") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise invalid_parameter(shown(name), "appears twice")
        if "\0" in name + value:
            raise invalid_parameter(shown(name), "holds a NUL character")
        given[name] = value
    return given


def unknown_parameter(name: str) -> FieldError:
    return FieldError(shown(name), "is not a parameter of this route")


def invalid_parameter(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(FieldError(field, message))
