"""From JSON to the dataclasses of answers, by their annotations.

What an answer has and its dataclass has not is left out: a newer service may tell more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from http import HTTPStatus
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from timer_trio.client.errors import UnexpectedAnswerError

T = TypeVar("T")
Reader = Callable[[object], T]


class _UnreadableError(ValueError):
    """What stands in an answer is not what its place is for."""


def record(kind: type[T]) -> Reader[T]:
    """Return what reads an object of JSON as one of this dataclass.

    It raises UnexpectedAnswerError where that is none.
    """
    return _told(cast("Reader[T]", _reader_of(kind)))


def members(name: str, kind: type[T]) -> Reader[tuple[T, ...]]:
    """Return what reads a list that is a member of an object of JSON, and raises likewise."""
    read = cast("Reader[tuple[T, ...]]", _reader_of(tuple[kind, ...]))  # type: ignore[valid-type]
    return _told(lambda data: read(_object(data).get(name)))


def _told(read: Reader[T]) -> Reader[T]:
    def reading(data: object) -> T:
        try:
            return read(data)
        except _UnreadableError as error:
            words = f"an answer that this client does not understand: {error}"
            raise UnexpectedAnswerError(HTTPStatus.OK, words) from None

    return reading


def _reader_of(kind: Any) -> Reader[Any]:
    return _reader(kind)


@cache
def _reader(kind: Any) -> Reader[Any]:  # noqa: PLR0911 - one return a kind
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _record(cast("type[object]", kind))
    if kind is datetime:
        return _instant
    if origin in {Union, UnionType}:
        (given,) = (each for each in arguments if each is not NoneType)
        return _optional(_reader(given))
    if origin is tuple and arguments[1:] == (...,):
        return _many(_reader(arguments[0]))
    if origin is tuple:
        return _some(tuple(map(_reader, arguments)))
    if origin is Literal:
        # Not one of these alone: a newer service may know more.
        return _of(str)
    if is_typeddict(kind) or origin is not None:
        return _of(dict)
    if kind is float:
        return _of(float, int)
    return _anything if kind is Any else _of(kind)


def _record(kind: type[T]) -> Reader[T]:
    hints = get_type_hints(kind)
    known = {each.name: _reader(hints[each.name]) for each in fields(kind)}  # type: ignore[arg-type]
    required = {
        each.name
        for each in fields(kind)  # type: ignore[arg-type]
        if each.default is MISSING and each.default_factory is MISSING
    }

    def read(data: object) -> T:
        given = _object(data)
        if missing := required - given.keys():
            raise _UnreadableError(f"it lacks {', '.join(sorted(missing))}")
        values = {name: _named(name, known[name], given[name]) for name in known if name in given}
        return kind(**values)

    return read


def _named(name: str, read: Reader[Any], value: object) -> Any:
    try:
        return read(value)
    except _UnreadableError as error:
        raise _UnreadableError(f"{name}: {error}") from None


def _object(data: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", _of(dict)(data))


def _optional(read: Reader[Any]) -> Reader[Any]:
    return lambda value: None if value is None else read(value)


def _many(read: Reader[Any]) -> Reader[Any]:
    return lambda value: tuple(map(read, _of(list)(value)))


def _some(reads: tuple[Reader[Any], ...]) -> Reader[Any]:
    def read(value: object) -> Any:
        if not isinstance(value, list) or len(value) != len(reads):
            raise _UnreadableError(f"{len(reads)} values should stand here")
        return tuple(each(given) for each, given in zip(reads, value, strict=True))

    return read


def _of(*kinds: type) -> Reader[Any]:
    def read(value: object) -> Any:
        is_one = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if not is_one:
            raise _UnreadableError(f"{kinds[0].__name__} should stand here")
        return value

    return read


def _instant(value: object) -> datetime:
    try:
        return datetime.fromisoformat(_of(str)(value))
    except ValueError as error:
        raise _UnreadableError(str(error)) from None


def _anything(value: object) -> Any:
    return value
