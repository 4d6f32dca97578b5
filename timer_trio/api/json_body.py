"""From the bytes of a body to its checked members.

A JSON library would turn the payload into Python values and lose what they cannot hold: so the one
member that is only passed on is checked, and kept as the text that arrived.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from json import JSONDecodeError, JSONDecoder
from typing import Final, NoReturn

from timer_trio.api.errors import FieldError, InvalidRequestError, shown
from timer_trio.domain.timer import JsonText

MAX_DEPTH: Final = 100
"""Nested objects and arrays: far beyond any real document, far below what a parser can stack."""
MAX_DIGITS: Final = 4_300
"""Of an integer outside the payload: what Python converts by default, for it takes square time."""


def parse_object(raw: bytes, *, verbatim: str, called: str = "the body") -> dict[str, object]:
    """Parse a JSON object strictly; the member named `verbatim` comes back as its JsonText.

    Duplicate keys are refused everywhere but inside the verbatim member, which is not ours to read.
    `called` is what it is to its sender, for the words of an error.

    Raises:
        InvalidRequestError: it is not a JSON object in UTF-8, or holds what JSON cannot say.
    """
    try:
        text = _decoded(raw)
        _check_depth(text)
        return _members(text, verbatim)
    except JSONDecodeError as error:
        raise invalid("", f"{called} {syntax_fault(error)}") from None
    except _UnreadableError as error:
        raise invalid("", f"{called} {error}") from None


class _UnreadableError(ValueError):
    """The text as a whole is none that we read; the words go on after what it is called."""


def syntax_fault(error: JSONDecodeError) -> str:
    """Say in words what is no JSON, and where."""
    line = f"line {error.lineno}, " if "\n" in error.doc else ""
    return f"is not valid JSON: {error.msg} ({line}column {error.colno})"


def _decoded(raw: bytes) -> str:
    if not raw.strip(b" \t\r\n"):
        raise _UnreadableError("is empty: send a JSON object")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"is not UTF-8 (byte {error.start})") from None
    if text.startswith("\ufeff"):
        raise _UnreadableError("begins with a byte order mark: send UTF-8 without it")
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
            raise _UnreadableError(f"is nested too deep (at most {MAX_DEPTH} levels)")


class _RefusedValueError(ValueError):
    """Valid to some parsers, and not a value that survives here."""


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
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


# What almost every member has around its value, read in one step each.
_PLAIN_NAME: Final = re.compile(r'"([^"\\\x00-\x1f]*+)"[ \t\n\r]*+:[ \t\n\r]*+')
_COMMA: Final = re.compile(r"[ \t\n\r]*+,[ \t\n\r]*+")


def _members(text: str, verbatim: str) -> dict[str, object]:
    at = skip_space(text, 0)
    if text[at : at + 1] != "{":
        raise _not_an_object(text, at)
    members: dict[str, object] = {}
    suspicious = _SUSPICIOUS.search(text) is not None
    at = skip_space(text, at + 1)
    more = text[at : at + 1] != "}"
    while more:
        if plain := _PLAIN_NAME.match(text, at):
            name, start = plain[1], plain.end()
        else:
            name, at = member_name(text, at)
            start = expect(text, at, ":")
        if name in members:
            raise invalid(shown(name), "appears twice")
        members[name], end = _value(text, start, name, verbatim, suspicious=suspicious)
        comma = _COMMA.match(text, end)
        more = comma is not None
        at = comma.end() if comma else end
    expect_end(text, expect(text, at, "}"))
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
        raise invalid(shown(name), str(error)) from None
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


def member_name(text: str, at: int) -> tuple[str, int]:
    """Read the name of a member; tells where it ends.

    Raises:
        JSONDecodeError: there is none.
    """
    if text[at : at + 1] != '"':
        raise JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    name, end = _READ.raw_decode(text, at)
    return name, end


def _not_an_object(text: str, at: int) -> _UnreadableError:
    try:
        _, end = _CHECK.raw_decode(text, at)
        expect_end(text, skip_space(text, end))
    except _RefusedValueError as error:
        return _UnreadableError(f"is not valid JSON: {error}")
    return _UnreadableError("must be a JSON object")


def expect(text: str, at: int, mark: str) -> int:
    """Step over a mark and the space around it.

    Raises:
        JSONDecodeError: something else stands there.
    """
    at = skip_space(text, at)
    if text[at : at + 1] != mark:
        raise JSONDecodeError(f"Expecting '{mark}'", text, at)
    return skip_space(text, at + 1)


def expect_end(text: str, at: int) -> None:
    """Make sure that nothing follows.

    Raises:
        JSONDecodeError: something does.
    """
    if at != len(text):
        raise JSONDecodeError("Extra data", text, at)


def skip_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def invalid(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(FieldError(field, message))
