"""Requests that are built to take long, each as great as it may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from timer_trio.api.body.json_text import MAX_DIGITS

_BEGIN: Final = b'{"delay":60,"callback_url":"https://example.com/hook",'
_AROUND: Final = 200
"""Bytes of a body around what fills it."""
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class HostileShape:
    claim: str
    body: bytes = b""
    method: str = "POST"
    path: str = "/timers"
    media: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def _list_of(unit: bytes) -> Callable[[int], bytes]:
    return lambda size: b'{"a":[%b]}' % b",".join([unit] * (size // (len(unit) + 1)))


def _object_of(unit: bytes) -> Callable[[int], bytes]:
    def members(size: int) -> bytes:
        count = size // (len(unit) + 6)
        return b"{%b}" % b",".join(unit % number for number in range(count))

    return members


def _string_of(unit: bytes, end: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: b'{"a":"%b%b"}' % (unit * (size // len(unit)), end)


_VALUES: Final[Mapping[str, Callable[[int], bytes]]] = {
    "numbers": _list_of(b"1"),
    "doubles": _list_of(b"1.5"),
    "great doubles": _list_of(b"1e300"),
    "long doubles": _list_of(b"1." + b"7" * 1_000),
    "integers of as many digits as may be": _list_of(b"9" * MAX_DIGITS),
    "an integer": lambda size: b"9" * size,
    "a double": lambda size: b"0." + b"9" * size,
    "keys": _object_of(b'"%x":1'),
    "one key": lambda size: b"{%b}" % b",".join([b'"":1'] * (size // 5)),
    "objects": _list_of(b"{}"),
    "small objects": _list_of(b'{"a":1}'),
    "arrays": _list_of(b"[]"),
    "deep arrays": _list_of(b"[" * 90 + b"]" * 90),
    "deep objects": _list_of(b'{"":' * 90 + b"1" + b"}" * 90),
    "too deep": lambda size: b"[" * size,
    "strings": _list_of(b'"a"'),
    "brackets in strings": _list_of(b'"["'),
    "odd strings": _list_of(b'"\\ud83d\\ude00"'),
    "nulls": _list_of(b"null"),
    "a string": _string_of(b"a"),
    "escapes": _string_of(b"\\n"),
    "escaped letters": _string_of(b"\\u00e9"),
    "surrogate pairs": _string_of(b"\\ud83d\\ude00"),
    "a lone surrogate at last": _string_of(b"\\ud83d\\ude00", b"\\ud800"),
    "a control character at last": _string_of(b"a", b"\n"),
    "two-byte characters": _string_of("é".encode()),
    "four-byte characters": _string_of("😀".encode()),
    "spaces": lambda size: b"{" + b" " * size + b"}",
    "backslashes": _string_of(b"\\"),
    "quotes": _string_of(b'\\"'),
    "names with escapes": lambda size: b'{"%b":1}' % (b"\\n" * (size // 2)),
}


def bodies(most_bytes: int) -> Iterator[tuple[str, bytes]]:
    size = most_bytes - _AROUND
    for member in ("callback_payload", "metadata", "callback_headers", "unknown"):
        for claim, value in _VALUES.items():
            body = _BEGIN + b'"%b":%b}' % (member.encode(), value(size))
            yield f"{claim} in {member}", body[:most_bytes]
    fill = {
        "callback_url": b"https://example.com/" + b"a" * size,
        "callback_method": b"A" * size,
        "execute_at": b"2030-01-01T00:00:00." + b"1" * size + b"Z",
        "delay": b"P" + b"1" * size,
    }
    for member, text in fill.items():
        yield f"a great {member}", (b'{"%b":"%b"}' % (member.encode(), text))[:most_bytes]
    yield "unknown members", _BEGIN + _object_of(b'"x%x":1')(size)[1:]
    yield "unknown escaped members", _BEGIN + _object_of(b'"\\u0061%x":1')(size)[1:]
    yield "no object", _list_of(b"[]")(size)[5:]
    yield "only spaces", b" " * most_bytes
    yield "only line feeds", b"\n" * most_bytes
    yield "only brackets", b"[" * most_bytes
    yield "only commas", b"{" + b"," * size
    yield "no UTF-8 at last", b'{"a":"' + b"a" * size + b"\xff"


def urls() -> Iterator[tuple[str, bytes]]:
    for claim, url in (
        ("labels", "https://" + "a." * 1_000),
        ("letters beyond ASCII", "https://" + "é." * 900),
        ("escapes", "https://a/" + "%C3%A9" * 330),
        ("a path beyond ASCII", "https://a/" + "é" * 2_000),
        ("numbers", "http://" + "1." * 1_000),
        ("colons", "http://[" + ":" * 2_000 + "]/"),
    ):
        yield f"a URL of {claim}", b'{"delay":1,"callback_url":"%b"}' % url.encode()


def queries() -> Iterator[tuple[str, str]]:
    size = 12_000
    yield "unknown parameters", "&".join(f"a{number}" for number in range(size // 5))
    yield "parameters alike", "&".join(f"limti{number}" for number in range(size // 9))
    yield "one long name", "limit" + "t" * size
    yield "escapes", "status=" + "%C3%A9" * (size // 6)
    yield "NULs", "status=" + "%00" * (size // 3)
    yield "no UTF-8", "status=" + "%ff" * (size // 3)
    yield "ampersands", "&" * size
    yield "equals signs", "=" * size
    yield "plus signs", "status=" + "+" * size
    yield "a cursor", "cursor=" + "A" * size
    yield "an instant", "execute_after=2030-01-01T00:00:00." + "1" * size + "Z"
    yield "digits", "limit=" + "1" * size
    yield "a filter", "metadata.a=" + "1" * size
    filters = "&".join(f"metadata.{'k' * 500}{number}=1e{number}" for number in range(20))
    yield "filters", filters


def hostile_shapes(most_bytes: int, most_batch_bytes: int) -> Iterator[HostileShape]:
    """Make each of them, where a body may have so many bytes, and that of a batch so many."""
    for claim, body in bodies(most_bytes):
        yield HostileShape(claim, body)
    for claim, body in urls():
        yield HostileShape(claim, body)
    for claim, query in queries():
        yield HostileShape(f"a query of {claim}", method="GET", path=f"/timers?{query}")
    yield from _heads()
    yield from _batches(most_bytes, most_batch_bytes)
    yield from _imports(most_bytes)


def _heads() -> Iterator[HostileShape]:
    for claim, text in (("letters", "a"), ("slashes", "/"), ("escapes", "%41"), ("dots", "../")):
        path = "/timers/" + text * (12_000 // len(text))
        yield HostileShape(f"a path of {claim}", method="GET", path=path)
    for name, value in (
        ("Accept", "a/b;q=0.5," * 1_200),
        ("Cookie", "a=b;" * 3_000),
        ("Content-Type", "application/json;" + "charset=utf-8;" * 800),
        ("Content-Type", "application/json;charset=" + '"\\' * 6_000),
        ("Content-Type", "multipart/form-data; boundary=" + "a" * 12_000),
        ("Content-Encoding", "gzip," * 2_400),
        ("X-API-Key", "k" * 12_000),
        ("X-Forwarded-For", "10.0.0.1," * 1_300),
        ("Range", "bytes=" + "0-1," * 3_000),
    ):
        headers = {name: value}
        yield HostileShape(f"a great {name}: {value[:30]}", b"{}", headers=headers)
    many = {f"X-{number}": "a" for number in range(1_200)}
    yield HostileShape("many headers", b"{}", headers=many)


def _batches(most_bytes: int, most_batch_bytes: int) -> Iterator[HostileShape]:
    for claim, timer in (
        ("small timers", b'{"delay":60,"callback_url":"https://example.com/"}'),
        ("empty objects", b"{}"),
        ("unknown members", b'{"delya":1,"callback_ulr":2}'),
        ("great timers", _BEGIN + b'"callback_payload":[' + b"[]," * 80_000 + b"[]]}"),
        ("deep timers", _BEGIN + b'"callback_payload":' + b'{"":' * 90 + b"1" + b"}" * 91),
        ("numbers", b"1"),
    ):
        count = min(1_000, most_batch_bytes // (len(timer) + 1) - 1)
        body = b'{"timers":[%b]}' % b",".join([timer] * count)
        yield HostileShape(f"a batch of {claim}", body, path="/timers/batch")
    for claim, body in (
        ("a great object without an end", b'{"timers":[' + b'{"a":' * (most_bytes // 5)),
        ("spaces", b'{"timers":[' + b" " * (most_batch_bytes - 20) + b"]}"),
        ("a great name", b'{"' + b"a" * (most_batch_bytes - 20) + b'":1}'),
        ("braces", b'{"timers":[' + b"{" * (most_bytes - 20)),
        ("quotes", b'{"timers":[{"a":"' + b'\\"' * (most_bytes // 2)),
        ("closed braces", b'{"timers":[{"a":[' + b"{}," * (most_bytes // 3)),
    ):
        yield HostileShape(f"a batch of {claim}", body, path="/timers/batch")


def _imports(most_bytes: int) -> Iterator[HostileShape]:
    size = max(512 * 1024, most_bytes)
    great = _BEGIN + b'"callback_payload":[%b]}' % (b"[]," * (most_bytes // 3 - 100) + b"[]")
    for claim, body in (
        ("line feeds", b"\n" * size),
        ("carriage returns", b"\r\n" * (size // 2)),
        ("spaces", b" " * size),
        ("short lines", b"1\n" * (size // 2)),
        ("empty objects", b"{}\n" * (size // 3)),
        ("unknown members", b'{"delya":1,"callback_ulr":2}\n' * (size // 29)),
        ("one long line", b"a" * size),
        ("great timers", (great + b"\n") * max(1, size // len(great))),
    ):
        yield HostileShape(f"an import of {claim}", body, path="/timers/import", media=NDJSON)
