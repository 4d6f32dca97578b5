"""One question to the service, as a value: what is sent, and how its answer is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Generic, Self, TypeVar
from urllib.parse import quote

from timer_trio.client.answers import Page
from timer_trio.client.reading import Reader, members, record

T = TypeVar("T")
V = TypeVar("V")

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
BLOCK_BYTES: Final = 64 * 1024
"""Of an import's lines: fewer and greater pieces cost less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One question; `read` makes of its answer's data what the caller gets."""

    method: str
    path: str
    read: Reader[T]
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    is_safe: bool = False
    """Whether asking twice does what asking once does."""
    takes_key: bool = False
    """Whether an Idempotency-Key makes it safe."""
    idempotency_key: str | None = None
    statuses: frozenset[int] = frozenset()
    """Besides those of a success, those whose answer is read as one."""

    @staticmethod
    def get(path: str, read: Reader[T], **params: str) -> Call[T]:
        return Call(method="GET", path=path, read=read, params=params, is_safe=True)

    @staticmethod
    def put(
        path: str, fields: Mapping[str, Any], read: Reader[T], *, is_safe: bool = True
    ) -> Call[T]:
        return Call(method="PUT", path=path, read=read, content=encoded(fields), is_safe=is_safe)

    @staticmethod
    def post(
        path: str, fields: Mapping[str, Any] | None, read: Reader[T], *, is_safe: bool = False
    ) -> Call[T]:
        content = None if fields is None else encoded(fields)
        return Call(method="POST", path=path, read=read, content=content, is_safe=is_safe)

    @staticmethod
    def create(
        path: str, fields: Mapping[str, Any], read: Reader[T], key: str | None, *, takes_key: bool
    ) -> Call[T]:
        """Ask for something new; `takes_key`: where `key` is None one may be made up."""
        called = Call.post(path, fields, read)
        return replace(called, idempotency_key=key, takes_key=takes_key)

    @staticmethod
    def delete(path: str, read: Reader[T], *, is_safe: bool = True) -> Call[T]:
        return Call(method="DELETE", path=path, read=read, is_safe=is_safe)

    @staticmethod
    def listed(
        things: str, kind: type[T], query: Mapping[str, Any], page_size: int
    ) -> Call[Page[T]]:
        """Ask for one page of the things that the path of this name lists."""
        items, rest = members(things, kind), record(_Rest)

        def read(data: object) -> Page[T]:
            beside = rest(data)
            return Page(items=items(data), next_cursor=beside.next_cursor, total=beside.total)

        return Call.get(f"/{things}", read, **parameters(query), limit=str(page_size))

    def with_params(self, **params: str) -> Self:
        return replace(self, params={**self.params, **params})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Generic[T]):
    """A question whose answer tells line by line how far it is; `read` makes progress of a line."""

    path: str
    media: str
    content: bytes | Iterable[bytes] = field(repr=False)
    read: Reader[T]
    on_progress: Callable[[T], None] | None = None
    lasting: frozenset[str] = frozenset()
    """Members of progress that hold at the end as well, which does not name them again."""


@dataclass(frozen=True, kw_only=True)
class _Rest:
    next_cursor: str | None
    total: int | None = None


def at(path: str, *names: str) -> str:
    """Put names into a path, in place of each {}."""
    return path.format(*map(_segment, names))


def given(fields: Mapping[str, V | None]) -> dict[str, V]:
    """Return those that are not None: what was left out is not sent."""
    return {name: value for name, value in fields.items() if value is not None}


def encoded(value: object) -> bytes:
    """Write JSON.

    Raises:
        TypeError, ValueError: it is none; an instant without a zone is none.
    """
    return json.dumps(value, default=_plain, allow_nan=False).encode()


def lines_of(values: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Write a line of JSON for each value, some at a time; raises as `encoded`."""
    block = bytearray()
    for value in values:
        block += encoded(value) + b"\n"
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def parameters(query: Mapping[str, Any]) -> dict[str, str]:
    """Write the filters of a list as those of its URL, `metadata` as one for each key."""
    metadata = query.get("metadata") or {}
    named = {name: value for name, value in query.items() if name != "metadata"}
    dotted = {f"metadata.{name}": value for name, value in metadata.items()}
    return {name: _text(value) for name, value in (named | dotted).items()}


def _text(value: object) -> str:
    plain = _plain(value) if isinstance(value, datetime) else value
    return plain if isinstance(plain, str) else json.dumps(plain)


def _plain(value: object) -> str | float:
    match value:
        case datetime():
            if value.utcoffset() is None:
                raise ValueError(f"{value!r} has no time zone: give it one, such as datetime.UTC")
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case _:
            raise TypeError(f"{value!r} is nothing that JSON has")


def _segment(name: str) -> str:
    # Dots alone would lead out of their folder.
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")
