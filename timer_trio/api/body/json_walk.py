"""Where a JSON value ends, found in steps of a fraction of a millisecond, and without building it.

A decoder reads a great value in one go, and the event loop stands still meanwhile: 130,000 small
arrays in 256 KiB take it tens of milliseconds. Here regular expressions step over many plain values
at once, and what they do not know goes to the decoder value by value.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from json import JSONDecodeError
from typing import Final

from timer_trio.api.body.json_text import (
    CHECK,
    MAX_DEPTH,
    check_strings,
    expect,
    skip_space,
    too_deep,
    too_many,
)

_WINDOW: Final = 8_192
"""Characters that one step may take: a few hundred microseconds at worst."""
_PAUSE_STEPS: Final = 16
"""Short ones that are taken between two pauses."""

_WS: Final = r"[ \t\n\r]*+"
_HEX: Final = "[0-9a-fA-F]"
# Every character but half of a surrogate pair.
_CHARACTERS: Final = (
    r'(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]'
    rf"|\\u(?![dD][89a-fA-F]){_HEX}{{4}}"
    rf"|\\u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}})*+"
)
_STRING: Final = f'"{_CHARACTERS}"'
# Integers of any size, and doubles that are certainly finite.
_NUMBER: Final = (
    r"-?(?:(?:0|[1-9][0-9]*+)(?![0-9.eE])"
    r"|(?:0|[1-9][0-9]{0,199}+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]{1,2}+)?+(?![0-9.eE]))"
)
_SCALAR: Final = f"(?:{_STRING}|{_NUMBER}|true|false|null)"
_MEMBER: Final = f"{_STRING}{_WS}:{_WS}{_SCALAR}{_WS}"
_FLAT: Final = (
    rf"(?:{_SCALAR}"
    rf"|\[{_WS}(?:{_SCALAR}{_WS}(?:,{_WS}{_SCALAR}{_WS})*+)?+\]"
    rf"|\{{{_WS}(?:{_MEMBER}(?:,{_WS}{_MEMBER})*+)?+\}})"
)
_ONE_SCALAR: Final = re.compile(_SCALAR)
_ONE_NAME: Final = re.compile(f"{_STRING}{_WS}:{_WS}")
_PART: Final = re.compile(_CHARACTERS)
# What the end of a window cuts is left out, for no comma follows it.
_ELEMENTS: Final = re.compile(rf"(?:{_FLAT}{_WS},{_WS})++")
_MEMBERS: Final = re.compile(rf"(?:{_STRING}{_WS}:{_WS}{_FLAT}{_WS},{_WS})++")


_CLOSERS: Final = {"[": "]", "{": "}"}


def walk(text: str, at: int, *, levels: int, most: int | None = None) -> Generator[None, None, int]:
    """Find the end of the value that begins at `at`, `levels` deep; a yield is a pause.

    Raises:
        JSONDecodeError: it is not JSON.
        RefusedValueError: a number or a string in it does not survive here, or it has more than
            `most` members and elements, counted at every depth.
        UnreadableError: it is nested too deep.
    """
    closers: list[str] = []
    steps, paused_at = 0, at
    while True:
        closer = _CLOSERS.get(text[at : at + 1])
        if closer:
            at, is_open = _step_in(text, at, closer, closers, levels)
        else:
            at, is_open = (yield from _scalar_end(text, at)), False
        if not is_open:
            at = _step_out(text, at, closers)
            if not closers:
                return at
        steps += 1
        if most is None:
            at = _step_over_many(text, at, closers[-1], levels + len(closers))
        elif steps > most:
            raise too_many(most)
        if closers[-1] == "}":
            at = yield from _name_end(text, at)
        if at > paused_at + _WINDOW or not steps % _PAUSE_STEPS:
            paused_at = at
            yield


def _step_in(text: str, at: int, closer: str, closers: list[str], levels: int) -> tuple[int, bool]:
    """Step into a container; unless it is empty it is open then."""
    if levels + len(closers) >= MAX_DEPTH:
        raise too_deep()
    at = skip_space(text, at + 1)
    if text[at : at + 1] == closer:
        return at + 1, False
    closers.append(closer)
    return at, True


def _step_out(text: str, at: int, closers: list[str]) -> int:
    """Step out of what ends behind a value, and over the comma to the next one, if there is one."""
    while closers:
        at = skip_space(text, at)
        if text[at : at + 1] != closers[-1]:
            return _behind_comma(text, at)
        closers.pop()
        at += 1
    return at


def _behind_comma(text: str, at: int) -> int:
    if text[at : at + 1] != ",":
        raise JSONDecodeError("Expecting ',' delimiter", text, at)
    return skip_space(text, at + 1)


def _step_over_many(text: str, at: int, closer: str, levels: int) -> int:
    if levels >= MAX_DEPTH:  # what it steps over may be one level deeper
        return at
    many = (_ELEMENTS if closer == "]" else _MEMBERS).match(text, at, at + _WINDOW)
    return many.end() if many else at


def _name_end(text: str, at: int) -> Generator[None, None, int]:
    if plain := _ONE_NAME.match(text, at, at + _WINDOW):
        return plain.end()
    if text[at : at + 1] != '"':
        raise JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    return expect(text, (yield from _scalar_end(text, at)), ":")


def _scalar_end(text: str, at: int) -> Generator[None, None, int]:
    if text[at : at + 1] == '"':
        end = yield from _string_end(text, at + 1)
        if end is not None:
            return end
    elif plain := _ONE_SCALAR.match(text, at):
        return plain.end()
    value, end = CHECK.raw_decode(text, at)
    check_strings(value, allow_nul=True)
    return end


def _string_end(text: str, at: int) -> Generator[None, None, int | None]:
    """Find the end of a string whose characters begin at `at`; None: it is an odd one."""
    while text[at : at + 1] != '"':
        part = _PART.match(text, at, at + _WINDOW)
        if part is None or part.end() == at:
            return None
        at = part.end()
        yield
    return at + 1
