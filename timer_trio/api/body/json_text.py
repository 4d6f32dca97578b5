"""What all that read JSON here share: the words of a refusal, and the small steps over a text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from json import JSONDecodeError, JSONDecoder
from typing import Final, NoReturn

from timer_trio.api.errors import FieldError, InvalidRequestError, shown

MAX_DEPTH: Final = 100
"""Nested objects and arrays: far beyond any real document, far below what a parser can stack."""
MAX_DIGITS: Final = 1_000
"""Of an integer outside the payload: it takes square time to convert, so a body full of integers of
4,300 digits, as many as Python takes, held the event loop for 8 ms; of these for 2 ms."""


class UnreadableError(ValueError):
    """The text as a whole is none that we read; the words go on after what it is called."""


class RefusedValueError(ValueError):
    """Valid to some parsers, and not a value that survives here."""


def too_deep() -> UnreadableError:
    return UnreadableError(f"is nested too deep (at most {MAX_DEPTH} levels)")


def too_many(most: int) -> RefusedValueError:
    return RefusedValueError(
        f"has too many keys and array elements (at most {most:,} in all, at every depth)"
    )


def syntax_fault(error: JSONDecodeError) -> str:
    """Return words for what is no JSON, and where."""
    line = f"line {error.lineno}, " if "\n" in error.doc else ""
    return f"is not valid JSON: {error.msg} ({line}column {error.colno})"


def invalid(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(FieldError(field, message))


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise RefusedValueError(f"the key {shown(twice)!r} appears twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise RefusedValueError(f"a number has too many digits (at most {MAX_DIGITS:,})")
    return int(digits)


def _double(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise RefusedValueError("a number is beyond the range of a double")
    return value


def _constant(name: str) -> NoReturn:
    raise RefusedValueError(f"{name} is not JSON")


READ: Final = JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_double, parse_constant=_constant
)
CHECK: Final = JSONDecoder(parse_int=str, parse_float=_double, parse_constant=_constant)
"""Integers of any size pass through as text, so nothing converts them."""

_SPACE: Final = re.compile(r"[ \t\n\r]*")


def has_more_values(value: object, most: int) -> bool:
    """Return whether a value has more than `most` members and elements, counted at every depth."""
    if value is None:
        return False
    inner = [value]
    for each in inner:
        if isinstance(each, dict):
            inner += each.values()
        elif isinstance(each, list):
            inner += each
        if len(inner) > most + 1:
            return True
    return False


def check_strings(value: object, *, allow_nul: bool) -> None:
    """Check that every string in a value can be stored.

    Raises:
        RefusedValueError: one cannot.
    """
    for string in _strings(value):
        if "\0" in string and not allow_nul:
            raise RefusedValueError("holds a NUL character")
        try:
            string.encode()
        except UnicodeEncodeError:
            raise RefusedValueError("holds a lone surrogate, which is no character") from None


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
    """Read the name of a member; returns where it ends, too.

    Raises:
        JSONDecodeError: there is none.
    """
    if text[at : at + 1] != '"':
        raise JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    name, end = READ.raw_decode(text, at)
    return name, end


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
    """Check that nothing follows.

    Raises:
        JSONDecodeError: something does.
    """
    if at != len(text):
        raise JSONDecodeError("Extra data", text, at)


def skip_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at
