"""From the bytes of a body to its checked members.

A JSON library would turn the payload into Python values and lose what they cannot hold: so the one
member that is only passed on is checked, and kept as the text that arrived.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from json import JSONDecodeError, JSONDecoder
from typing import Final, NoReturn

from timer_trio.api.errors import FieldError, InvalidRequestError, shown
from timer_trio.domain.timer import JsonText

MAX_DEPTH: Final = 100
"""Nested objects and arrays: far beyond any real document, far below what a parser can stack."""
MAX_DIGITS: Final = 4_300
"""Of an integer outside the payload: what Python converts by default, for it takes square time."""


def parse_object(raw: bytes, *, verbatim: str) -> dict[str, object]:
    """Parse a JSON object strictly; the member named `verbatim` comes back as its JsonText.

    Duplicate keys are refused everywhere but inside the verbatim member, which is not ours to read.

    Raises:
        InvalidRequestError: it is not a JSON object in UTF-8, or holds what JSON cannot say.
    """
    text = _decoded(raw)
    _check_depth(text)
    try:
        return _members(text, verbatim)
    except JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _invalid("", f"the body is not valid JSON: {error.msg} ({where})") from None


def _decoded(raw: bytes) -> str:
    if not raw.strip(b" \t\r\n"):
        raise _invalid("", "the body is empty: send a JSON object")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _invalid("", f"the body is not UTF-8 (byte {error.start})") from None
    if text.startswith("\ufeff"):
        raise _invalid("", "the body begins with a byte order mark: send UTF-8 without it")
    return text


# Possessive, and with an optional closing quote, so that hostile text costs linear time.
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        if token[0] in {"[", "{"}:
            depth += 1
        elif token[0] in {"]", "}"}:
            depth -= 1
        if depth > MAX_DEPTH:
            raise _invalid("", f"the body is nested too deep (at most {MAX_DEPTH} levels)")


class _RefusedValueError(ValueError):
    """Valid to some parsers, and not a value that survives here."""


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RefusedValueError(f"the key {shown(twice)!r} appears twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _RefusedValueError(f"a number has too many digits (at most {MAX_DIGITS:,})")
    return int(digits)


def _double(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise _RefusedValueError("a number is beyond the range of a double")
    return value


def _constant(name: str) -> NoReturn:
    raise _RefusedValueError(f"{name} is not JSON")


_READ: Final = JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_double, parse_constant=_constant
)
# Integers of any size pass through as text, so nothing converts them.
_CHECK: Final = JSONDecoder(parse_int=str, parse_float=_double, parse_constant=_constant)
_SPACE: Final = re.compile(r"[ \t\n\r]*")
# Without one of these escapes no string can hold a NUL or half of a surrogate pair.
_SUSPICIOUS: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def _members(text: str, verbatim: str) -> dict[str, object]:
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise _not_an_object(text, at)
    members: dict[str, object] = {}
    suspicious = _SUSPICIOUS.search(text) is not None
    at = _skip(text, at + 1)
    more = text[at : at + 1] != "}"
    while more:
        name, at = _name(text, at)
        if name in members:
            raise _invalid(shown(name), "appears twice")
        start = _expect(text, at, ":")
        members[name], end = _value(text, start, name, verbatim, suspicious=suspicious)
        at = _skip(text, end)
        more = text[at : at + 1] == ","
        if more:
            at = _skip(text, at + 1)
    _end(text, _expect(text, at, "}"))
    return members


def _value(
    text: str, start: int, name: str, verbatim: str, *, suspicious: bool
) -> tuple[object, int]:
    passed_on = name == verbatim
    try:
        value, end = (_CHECK if passed_on else _READ).raw_decode(text, start)
        if suspicious:
            _check_strings(value, allow_nul=passed_on)
    except _RefusedValueError as error:
        raise _invalid(shown(name), str(error)) from None
    return (JsonText(text[start:end]) if passed_on else value), end


def _check_strings(value: object, *, allow_nul: bool) -> None:
    for string in _strings(value):
        if "\0" in string and not allow_nul:
            raise _RefusedValueError("holds a NUL character")
        try:
            string.encode()
        except UnicodeEncodeError:
            raise _RefusedValueError("holds a lone surrogate, which is no character") from None


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        yield from value
        yield from _strings(list(value.values()))


def _name(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] != '"':
        raise JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    name, end = _READ.raw_decode(text, at)
    return name, end


def _not_an_object(text: str, at: int) -> InvalidRequestError:
    try:
        _, end = _CHECK.raw_decode(text, at)
        _end(text, _skip(text, end))
    except _RefusedValueError as error:
        return _invalid("", f"the body is not valid JSON: {error}")
    return _invalid("", "the body must be a JSON object")


def _expect(text: str, at: int, mark: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != mark:
        raise JSONDecodeError(f"Expecting '{mark}'", text, at)
    return _skip(text, at + 1)


def _end(text: str, at: int) -> None:
    if at != len(text):
        raise JSONDecodeError("Extra data", text, at)


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _invalid(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(FieldError(field, message))
