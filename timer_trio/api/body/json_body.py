"""From the bytes of a body to its checked members.

A JSON library would turn the payload into Python values and lose what they cannot hold: so the one
member that is only passed on is checked, and kept as the text that arrived.
"""

from __future__ import annotations

import re
from collections.abc import Container, Generator
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Final, NoReturn

from timer_trio.api.body.json_text import (
    CHECK,
    MAX_DEPTH,
    READ,
    RefusedValueError,
    UnreadableError,
    check_strings,
    expect,
    expect_end,
    invalid,
    member_name,
    skip_space,
    syntax_fault,
    too_deep,
)
from timer_trio.api.body.json_walk import walk
from timer_trio.api.errors import shown
from timer_trio.domain.timer import JsonText

AT_ONCE_BYTES: Final = 4_096
"""So short a body is read in one go: a millisecond, at worst."""
MAX_MEMBERS: Final = 100
"""Of the body itself. What has more is read no further: no reader knows so many."""


def reading_object(
    raw: bytes,
    *,
    verbatim: str,
    known: Container[str],
    most_values: int,
    called: str = "the body",
) -> Generator[None, None, dict[str, object]]:
    """Parse a JSON object strictly; the member named `verbatim` comes back as its JsonText.

    A great body is read in steps of a fraction of a millisecond, with a yield between them; a short
    one without. Duplicate keys are refused everywhere but inside the verbatim member, which is not
    ours to read. Of a great body, members that are not `known` come back as None, and those that
    have more than `most_values` members and elements are refused before anything is built. `called`
    is what it is to its sender, for the words of an error.

    Raises:
        InvalidRequestError: it is not a JSON object in UTF-8, or holds what JSON cannot say.
    """
    try:
        text = _decoded(raw)
        if len(raw) <= AT_ONCE_BYTES:
            _check_depth(text)
            return _usual(text, verbatim) or _members(text, verbatim)
        yield
        return (yield from _Great(text, verbatim, known, most_values).members())
    except JSONDecodeError as error:
        raise invalid("", f"{called} {syntax_fault(error)}") from None
    except UnreadableError as error:
        raise invalid("", f"{called} {error}") from None


def _decoded(raw: bytes) -> str:
    if not raw or raw.isspace():
        raise UnreadableError("is empty: send a JSON object")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not UTF-8 (byte {error.start})") from None
    if text.startswith("\ufeff"):
        raise UnreadableError("begins with a byte order mark: send UTF-8 without it")
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
            raise too_deep()


# Without one of these escapes no string can hold a NUL or half of a surrogate pair.
_SUSPICIOUS: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")

_COLON: Final = re.compile(r"[ \t\n\r]*+:[ \t\n\r]*+")
_COMMA: Final = re.compile(r"[ \t\n\r]*+,[ \t\n\r]*+")


def _usual(text: str, verbatim: str) -> dict[str, object] | None:
    """Parse an object as almost all are, in one go; None: `_members` is to read or refuse it.

    In place of the verbatim value the parser gets a 0.
    """
    if text[:1] != "{" or _is_suspicious(text):
        return None
    quoted = f'"{verbatim}"'
    members: dict[str, object]
    try:
        at = text.find(quoted)
        if at < 0:
            members, end = READ.raw_decode(text)
            return members if end == len(text) and verbatim not in members else None
        colon = _COLON.match(text, at + len(quoted))
        if colon is None or text.find(quoted, colon.end()) >= 0:
            return None
        start = colon.end()
        _, end = CHECK.raw_decode(text, start)
        others = f"{text[:start]}0{text[end:]}"
        members, others_end = READ.raw_decode(others)
    except ValueError:
        return None
    if others_end < len(others) or verbatim not in members:  # it is a name further down
        return None
    members[verbatim] = JsonText(text[start:end])
    return members


def _is_suspicious(text: str) -> bool:
    return "\\u" in text and _SUSPICIOUS.search(text) is not None


def _members(text: str, verbatim: str) -> dict[str, object]:
    at = skip_space(text, 0)
    if text[at : at + 1] != "{":
        raise _not_an_object(text, at)
    members: dict[str, object] = {}
    suspicious = _is_suspicious(text)
    at = skip_space(text, at + 1)
    more = text[at : at + 1] != "}"
    while more:
        name, start = _name(text, at)
        if name in members:
            raise invalid(shown(name), "appears twice")
        members[name], end = _value(text, start, name, verbatim, suspicious=suspicious)
        comma = _COMMA.match(text, end)
        more = comma is not None
        at = comma.end() if comma else end
    expect_end(text, expect(text, at, "}"))
    return members


def _name(text: str, at: int) -> tuple[str, int]:
    name, end = member_name(text, at)
    return name, expect(text, end, ":")


def _value(
    text: str, start: int, name: str, verbatim: str, *, suspicious: bool
) -> tuple[object, int]:
    passed_on = name == verbatim
    try:
        value, end = (CHECK if passed_on else READ).raw_decode(text, start)
        if suspicious:
            check_strings(value, allow_nul=passed_on)
    except RefusedValueError as error:
        raise invalid(shown(name), str(error)) from None
    return (JsonText(text[start:end]) if passed_on else value), end


def _not_an_object(text: str, at: int) -> UnreadableError:
    try:
        _, end = CHECK.raw_decode(text, at)
        expect_end(text, skip_space(text, end))
    except RefusedValueError as error:
        return UnreadableError(f"is not valid JSON: {error}")
    return UnreadableError("must be a JSON object")


@dataclass(frozen=True, slots=True)
class _Great:
    """A body that is walked through before anything of it is built."""

    text: str
    verbatim: str
    known: Container[str]
    most_values: int

    def members(self) -> Generator[None, None, dict[str, object]]:
        text = self.text
        at = skip_space(text, 0)
        if text[at : at + 1] != "{":
            yield from self._refuse_other(at)
        members: dict[str, object] = {}
        at = skip_space(text, at + 1)
        more = text[at : at + 1] != "}"
        while more:
            name, start = _name(text, at)
            if name in members:
                raise invalid(shown(name), "appears twice")
            members[name], end = yield from self._value(name, start)
            comma = _COMMA.match(text, end)
            more = comma is not None
            at = comma.end() if comma else end
            if len(members) > MAX_MEMBERS:
                return members
            yield
        expect_end(text, expect(text, at, "}"))
        return members

    def _value(self, name: str, start: int) -> Generator[None, None, tuple[object, int]]:
        is_built = name != self.verbatim and name in self.known
        most = self.most_values if is_built else None
        try:
            end = yield from walk(self.text, start, levels=1, most=most)
            if is_built:
                return _value(self.text, start, name, self.verbatim, suspicious=True)
        except RefusedValueError as error:
            raise invalid(shown(name), str(error)) from None
        return (JsonText(self.text[start:end]) if name == self.verbatim else None), end

    def _refuse_other(self, at: int) -> Generator[None, None, NoReturn]:
        try:
            end = yield from walk(self.text, at, levels=0)
        except RefusedValueError as error:
            raise UnreadableError(f"is not valid JSON: {error}") from None
        expect_end(self.text, skip_space(self.text, end))
        raise UnreadableError("must be a JSON object")
