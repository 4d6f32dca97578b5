"""From the bytes of a body to the objects of its one array, each for `json_body` to read alone.

Only the structure around the objects is read here, lazily: in one go the event loop pays for a copy
of the body, and then for a part of one object at a time with the space around it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Generator, Iterator
from json import JSONDecodeError
from typing import Final

from timer_trio.api.errors import shown
from timer_trio.api.json_text import (
    expect,
    expect_end,
    invalid,
    member_name,
    skip_space,
    syntax_fault,
)

_STRING: Final = r'"(?:[^"\\]++|\\.)*+"'
# What holds no brace but in its strings; then objects of two levels below, as almost all are.
_FLAT: Final = rf'(?:[^"{{}}]++|{_STRING})*+'
_INNER: Final = rf"\{{{_FLAT}(?:\{{{_FLAT}\}}{_FLAT})*+\}}"
_OBJECT: Final = re.compile(rf"\{{{_FLAT}(?:{_INNER}{_FLAT})*+\}}", re.DOTALL)
# Possessive, and with an optional closing quote, so that hostile text costs linear time.
_STRING_OR_BRACE: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}]', re.DOTALL)


_USUAL_BYTES: Final = 32 * 1024
"""Of an object that is looked at in one go: a third of a millisecond."""
_PAUSE_TOKENS: Final = 256


def objects_in(raw: bytes, member: str, most_bytes: int) -> Iterator[bytes | None]:
    """Yield the objects of the array `member`, which is all that the body holds, as they arrived.

    None is yielded where the reading of a great one can pause.

    Whether each is JSON is for its reader to say; one that does not end comes as the rest of the
    body.

    Raises:
        InvalidRequestError: the body is not such an object, or an element is none, or is longer
            than `most_bytes`.
    """
    if raw.startswith(codecs.BOM_UTF8):
        raise invalid("", "the body begins with a byte order mark: send UTF-8 without it")
    # Structure is ASCII. As Latin-1 each byte is a character, and whoever reads the objects gets
    # their bytes back, to decode them in earnest.
    text = raw.decode("latin-1")
    try:
        yield from _elements(text, member, most_bytes)
    except JSONDecodeError as error:
        raise invalid("", f"the body {syntax_fault(error)}") from None


def _elements(text: str, member: str, most_bytes: int) -> Iterator[bytes | None]:
    at = skip_space(text, 0)
    if at == len(text):
        raise invalid("", "the body is empty: send a JSON object")
    if text[at] != "{":
        raise invalid("", "the body must be a JSON object")
    at = _array(text, skip_space(text, at + 1), member)
    count = 0
    more = text[at : at + 1] != "]"
    while more:
        end = yield from _object_end(text, at, f"{member}[{count}]", most_bytes)
        yield text[at:end].encode("latin-1")
        count += 1
        at = skip_space(text, end)
        more = text[at : at + 1] == ","
        if more:
            at = skip_space(text, at + 1)
    at = expect(text, at, "]")
    if text[at : at + 1] == ",":
        _refuse_member(text, skip_space(text, at + 1), known=member)
    expect_end(text, expect(text, at, "}"))


def _array(text: str, at: int, member: str) -> int:
    """Find the first element."""
    if text[at : at + 1] == "}":
        raise invalid(member, "is required")
    name, end = _name(text, at)
    if name != member:
        _refuse_member(text, at, known=member)
    at = expect(text, end, ":")
    if text[at : at + 1] != "[":
        raise invalid(member, "must be an array")
    return skip_space(text, at + 1)


def _refuse_member(text: str, at: int, *, known: str) -> None:
    name, _ = _name(text, at)
    if name == known:
        raise invalid(known, "appears twice")
    raise invalid(shown(name), f"cannot stand here: {known} is the only member")


def _name(text: str, at: int) -> tuple[str, int]:
    name, end = member_name(text, at)
    return name.encode("latin-1", "replace").decode(errors="replace"), end


def _object_end(text: str, at: int, field: str, most_bytes: int) -> Generator[None, None, int]:
    if text[at : at + 1] != "{":
        raise invalid(field, "must be a JSON object")
    last = at + most_bytes
    usual = _OBJECT.match(text, at, min(last, at + _USUAL_BYTES))
    end = usual.end() if usual else (yield from _brace_end(text, at, last))
    if end is None:
        raise invalid(field, f"is too large (at most {most_bytes:,} bytes)")
    return end


def _brace_end(text: str, at: int, last: int) -> Generator[None, None, int | None]:
    """Find where an object ends, however deep it goes; None: not before `last`."""
    depth = 0
    for count, token in enumerate(_STRING_OR_BRACE.finditer(text, at, last)):
        if not count % _PAUSE_TOKENS:
            yield
        if token[0] == "{":
            depth += 1
        elif token[0] == "}":
            depth -= 1
            if not depth:
                return token.end()
    return len(text) if last >= len(text) else None
