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

from timer_trio.api.body.json_text import (
    expect,
    expect_end,
    invalid,
    member_name,
    skip_space,
    syntax_fault,
)
from timer_trio.api.errors import shown

_STRING: Final = r'"(?:[^"\\]++|\\.)*+"'
# What holds no brace but in its strings; then objects of two levels below, as almost all are.
_FLAT: Final = rf'(?:[^"{{}}]++|{_STRING})*+'
_INNER: Final = rf"\{{{_FLAT}(?:\{{{_FLAT}\}}{_FLAT})*+\}}"
_OBJECT: Final = re.compile(rf"\{{{_FLAT}(?:{_INNER}{_FLAT})*+\}}", re.DOTALL)
_USUAL_COMMA: Final = re.compile(r", ?+(?=\{)")
"""What stands between almost all objects."""
_MARK: Final = re.compile(r'[{}"]')
_CHARACTERS: Final = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_NO_SPACE: Final = re.compile(r"[^ \t\n\r]")
_WINDOW: Final = 32 * 1024
"""Characters that are looked at in one go: half a millisecond at worst."""
_PAUSE_MARKS: Final = 256
"""Braces and strings that are stepped over between two pauses."""
_NAME_CHARACTERS: Final = 1_024
"""Of a name: no longer one is the array's."""


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
    at = yield from _behind_space(text, 0)
    if at == len(text):
        raise invalid("", "the body is empty: send a JSON object")
    if text[at] != "{":
        raise invalid("", "the body must be a JSON object")
    at = yield from _behind_space(text, at + 1)
    at = yield from _behind_space(text, _array(text, at, member))
    count = 0
    more = text[at : at + 1] != "]"
    while more:
        end = yield from _object_end(text, at, f"{member}[{count}]", most_bytes)
        yield text[at:end].encode("latin-1")
        count += 1
        if usual := _USUAL_COMMA.match(text, end):
            at = usual.end()
            continue
        at = yield from _behind_space(text, end)
        more = text[at : at + 1] == ","
        if more:
            at = yield from _behind_space(text, at + 1)
    at = expect(text, at, "]")
    if text[at : at + 1] == ",":
        _refuse_member(text, skip_space(text, at + 1), known=member)
    expect_end(text, expect(text, at, "}"))


def _array(text: str, at: int, member: str) -> int:
    """Step into the array."""
    if text[at : at + 1] == "}":
        raise invalid(member, "is required")
    name, end = _name(text, at)
    if name != member:
        _refuse_member(text, at, known=member)
    at = expect(text, end, ":")
    if text[at : at + 1] != "[":
        raise invalid(member, "must be an array")
    return at + 1


def _behind_space(text: str, at: int) -> Generator[None, None, int]:
    while at < len(text):
        if found := _NO_SPACE.search(text, at, at + _WINDOW):
            return found.start()
        at += _WINDOW
        yield
    return len(text)


def _refuse_member(text: str, at: int, *, known: str) -> None:
    name, _ = _name(text, at)
    if name == known:
        raise invalid(known, "appears twice")
    raise invalid(shown(name), f"cannot stand here: {known} is the only member")


def _name(text: str, at: int) -> tuple[str, int]:
    name, end = member_name(text[: at + _NAME_CHARACTERS], at)
    return name.encode("latin-1", "replace").decode(errors="replace"), end


def _object_end(text: str, at: int, field: str, most_bytes: int) -> Generator[None, None, int]:
    if text[at : at + 1] != "{":
        raise invalid(field, "must be a JSON object")
    last = at + most_bytes
    usual = _OBJECT.match(text, at, min(last, at + _WINDOW))
    end = usual.end() if usual else (yield from _brace_end(text, at, last))
    if end is None:
        raise invalid(field, f"is too large (at most {most_bytes:,} bytes)")
    return end


def _brace_end(text: str, at: int, last: int) -> Generator[None, None, int | None]:
    """Find where an object ends, however deep it goes; None: not before `last`."""
    depth = marks = 0
    end = min(last, len(text))
    while at < end:
        mark = _MARK.search(text, at, min(end, at + _WINDOW))
        at = mark.end() if mark else at + _WINDOW
        if mark is None:
            yield
        elif mark[0] == '"':
            at = yield from _string_end(text, at, end)
        else:
            depth += 1 if mark[0] == "{" else -1
            if not depth:
                return at
        marks += 1
        if not marks % _PAUSE_MARKS:
            yield
    return len(text) if last >= len(text) else None


def _string_end(text: str, at: int, end: int) -> Generator[None, None, int]:
    """Step over a string whose characters begin at `at`, or over what there is of it."""
    while at < end:
        part = _CHARACTERS.match(text, at, min(end, at + _WINDOW))
        if part is None or part.end() == at:
            break
        at = part.end()
        if at < end and text[at] == '"':
            return at + 1
        yield
    return at + 1 if at < end else end
