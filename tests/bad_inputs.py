"""Wrong requests, each with the status that it must be answered with, for any base URL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import httpx

_JSON: Final = {"Content-Type": "application/json"}
_GOOD: Final[Mapping[str, Any]] = {"delay": 60, "callback_url": "https://example.com/hook"}
_CODES: Final = {400: 2, 401: 4, 403: 7, 404: 3, 405: 2, 409: 5, 413: 2, 415: 2}
_INSIDE: Final = ("Traceback", "site-packages", "SELECT", ".py")
_UNKNOWN_ID: Final = "00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadInput:
    """A request that must be refused.

    `named` has to appear in the answer's message or among its fields. `{id}` in the path stands
    for a pending timer.
    """

    claim: str
    status: int = 400
    named: str = ""
    method: str = "POST"
    path: str = "/timers"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)
    key: str | None = "the right one"

    def request(self, base_url: str, api_key: str, timer_id: str) -> httpx.Request:
        headers = dict(self.headers)
        if self.key is not None:
            headers["X-API-Key"] = api_key if self.key == "the right one" else self.key
        raw_path = self.path.replace("{id}", timer_id).encode()
        url = httpx.URL(base_url).copy_with(raw_path=raw_path)
        return httpx.Request(self.method, url, headers=headers, content=self.body)

    def fault_in(self, answer: httpx.Response) -> str | None:
        """Say what is wrong with the answer; None: it is as it must be."""
        if self.method == "HEAD" and answer.status_code == self.status:
            return None
        shown = answer.text[:300]
        if answer.headers.get("content-type") != "application/json":
            return f"{answer.status_code}, not JSON: {shown}"
        envelope = answer.json()
        faults = (
            (answer.status_code != self.status, f"{answer.status_code}, not {self.status}"),
            (list(envelope) != ["code", "message", "data"], "no envelope"),
            (not envelope["message"], "no words"),
            (envelope["code"] != _CODES[self.status], f"code {envelope['code']}"),
            (self.named not in answer.text, f"does not name {self.named!r}"),
            (any(word in answer.text for word in _INSIDE), "shows its inside"),
        )
        return next((f"{words}: {shown}" for is_fault, words in faults if is_fault), None)


def _raw(claim: str, body: bytes | str, named: str = "") -> BadInput:
    content = body.encode() if isinstance(body, str) else body
    return BadInput(claim=claim, body=content, named=named)


def _field(name: str, value: object, *, put: bool = True) -> Iterator[BadInput]:
    """Give a field a wrong value, in a POST and in a PUT."""
    claim = f"{json.dumps(name):.60} = {json.dumps(value):.90}"
    named = name if name.isprintable() and len(name) < 60 else ""
    others = {n: v for n, v in _GOOD.items() if not (n == "delay" and name == "execute_at")}
    body = json.dumps({**others, name: value}).encode()
    yield BadInput(claim=f"POST {claim}", body=body, named=named)
    if put:
        change = json.dumps({name: value}).encode()
        yield BadInput(
            claim=f"PUT {claim}", method="PUT", path="/timers/{id}", body=change, named=named
        )


_TIMES: Final[tuple[object, ...]] = (
    *(0, 1893456000, 1.5, True, None, [], {}, "", " ", "now", "tomorrow", "1893456000"),
    *("2030-01-01", "2030-01-01T00:00", "2030-01-01T00:00:00", "2030-01-01 00:00:00"),
    *("2030-01-01 00:00:00Z", "2030-W01-1T00:00:00Z", "2030-001T00:00:00Z", "20300101T000000Z"),
    *("2030-01-01T24:00:00Z", "2030-01-01T23:59:60Z", "2030-01-01T00:60:00Z"),
    *("2030-02-30T00:00:00Z", "2030-13-01T00:00:00Z", "2030-00-01T00:00:00Z"),
    *("2030-01-00T00:00:00Z", "2030-01-01T00:00:00+0200", "2030-01-01T00:00:00+02"),
    *("2030-01-01T00:00:00+24:00", "2030-01-01T00:00:00+02:60", "2030-01-01T00:00:00 Z"),
    *("2030-01-01T00:00:00UTC", "2030-01-01T00:00:00.Z", "2030-01-01T00:00:00,5Z"),
    *("2030-01-01T00:00:00Z\n", " 2030-01-01T00:00:00Z", "+2030-01-01T00:00:00Z"),
    *("-2030-01-01T00:00:00Z", "12030-01-01T00:00:00Z", "\u0662\u0660\u0663\u0660-01-01T00:00:00Z"),
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z"),
    *("1970-01-01T00:00:00+00:01", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z"),
    *("1999-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "Z" * 5_000),
)
_DELAYS: Final[tuple[object, ...]] = (
    *(-1, -0.001, 1e300, 400_000_000, 10**400, True, False, None, [], {}, [5]),
    *("", "5", "60s", "P", "PT", "P1", "T5M", "5M", "PT5", "pt5m", "-PT5M", "PT-5M", "+PT5M"),
    *("P1Y", "P1M", "P1Y2M3D", "P1YT1H", "PT5M ", " PT5M", "PT1S1M", "PT1.5H30M", "P1DT"),
    *("PT5M\n", "P999999999999W", "PT1e3S", "PT\u0665M", "P1W2W"),
)
_URLS: Final[tuple[object, ...]] = (
    *(None, 1, True, [], {}, "", " ", "example.com", "/hook", "//example.com/hook", "http:"),
    *("http://", "https://", "http:///hook", "http://:80/", "http://?x", "http://#x"),
    *("ftp://example.com/", "file:///etc/passwd", "javascript:alert(1)", "ws://example.com/"),
    *("http:example.com", "http:/example.com", "https//example.com", "htt ps://example.com"),
    *("http://user@example.com/", "http://user:secret@example.com/", "http://:@example.com/"),
    *("http://example.com:0/", "http://example.com:65536/", "http://example.com:x/"),
    *("http://example.com:-1/", "http://[::1/", "http://::1/", "http://[1.2.3.4]/"),
    *("http://[fe80::1%25eth0]/", "http://exa mple.com/", "http://example.com/a b"),
    *("http://example.com/\r\nHost: evil", "http://example.com/\x00", "http://example.com/\t"),
    *("http://example.com\\@evil.com/", "http://example.com/\x7f", "http://exa\u3000mple.com/"),
    *("\nhttp://example.com/", "http://example.com/ ", "https://example.com/" + "a" * 2_048),
    *("http://^/", "http://a>b/", "http://127\u30020.0.1/", "http://\uff41.com/", "http://a..b/"),
    *(
        "http://" + "a" * 64 + ".com/",
        "http://" + "a." * 127 + "com/",
        "http://-a.com/",
        "http://*/",
    ),
    *("http://" + "a" * 64 + "\u00e9.com/", "http://\u2100.com/", "http://xn--/"),
    *("http://10.0.0.7/", "http://0xa9fea9fe/latest/", "https://[::ffff:192.168.1.1]:8443/"),
)
_HEADERS: Final[tuple[object, ...]] = (
    *(1, True, "a: b", [], [["a", "b"]], {"a": 1}, {"a": None}, {"a": ["b"]}, {"a": {}}),
    *({"": "x"}, {" ": "x"}, {"a b": "x"}, {"a:": "x"}, {"a\r\nb": "x"}, {"ä": "x"}, {"a\0": "x"}),
    *({"a": "x\r\nHost: evil"}, {"a": "x\n"}, {"a": "\0"}, {"a": "é"}, {"a": "\x7f"}),
    *({"a": " x"}, {"a": "x "}, {"a": "\tx"}, {"a": "1", "A": "2"}),
    *({"Host": "x"}, {"hOsT": "x"}, {"Content-Length": "1"}, {"Transfer-Encoding": "chunked"}),
    *({"Connection": "close"}, {"TE": "trailers"}, {"Upgrade": "h2c"}, {"Keep-Alive": "1"}),
    *({"Proxy-Connection": "x"}, {"Proxy-Authorization": "x"}, {"Proxy-Authenticate": "x"}),
    *({"Trailer": "x"}, {"Expect": "100-continue"}, {"HTTP2-Settings": "x"}),
    *({"webhook-id": "x"}, {"Webhook-Signature": "x"}, {"X-Timer-Id": "x"}, {"x-timer-": "x"}),
    *({f"h{n}": "x" for n in range(51)}, {"a": "x" * 8_192}),
)
_TOO_MANY_KEYS: Final[tuple[object, ...]] = (
    {f"k{n}": n for n in range(65)},
    {"a": [0] * 64},
    {"a": {"b": [{"c": n} for n in range(32)]}},
    {f"{'k' * 100}{n}": n for n in range(2_000)},
    {"a": [[]] * 50_000},
)
_RESULTS: Final[tuple[object, ...]] = (
    *(1, True, "", "https://example.com/", [], ["https://example.com/"], {}, {"headers": {}}),
    *({"url": url} for url in (None, 1, "", "example.com", "ftp://example.com/", "http://a b/")),
    *({"url": url} for url in ("http://10.0.0.7/", "http://user@example.com/", "http://x:0/")),
    {"url": "https://example.com/" + "a" * 2_048},
    *({"url": "https://example.com/", name: 1} for name in ("header", "method", "payload", "")),
    *({"url": "https://example.com/", "headers": value} for value in _HEADERS),
)
_OTHERS: Final[Mapping[str, tuple[object, ...]]] = {
    "callback_method": (None, 1, "", "post", "HEAD", "TRACE", "POST ", "CONNECT", ["POST"], {}),
    "metadata": (1, True, "x", [], [{}], 1.5, *_TOO_MANY_KEYS),
    "timeout_seconds": (None, True, "30", 0, 0.09, -1, 301, 1e300, 10**400, [], {}),
    "delivery": (None, 1, "", "exactly_once", "AT_LEAST_ONCE", "at least once", [], {}),
    "flow_key": ("", "x" * 256, "a\0b", None, 1, True, [], {}),
    "misfire_grace_seconds": (True, "300", 0, 0.5, -1, 1e300, 10**400, [], {}, 400_000_000),
}
_UNKNOWN_FIELDS: Final = (
    *("exectue_at", "executeAt", "EXECUTE_AT", " delay", "url", "id", "status", "payload"),
    *("callback_payload ", "__proto__", "a" * 10_000, "", "\u0000"),
)


def _fields() -> Iterator[BadInput]:
    yield from chain.from_iterable(_field("execute_at", value) for value in _TIMES)
    yield from chain.from_iterable(_field("delay", value) for value in _DELAYS)
    yield from chain.from_iterable(_field("callback_url", value) for value in _URLS)
    yield from chain.from_iterable(_field("callback_headers", value) for value in _HEADERS)
    for name in ("on_completed", "on_failed"):
        yield from chain.from_iterable(_field(name, value) for value in _RESULTS)
    for name, values in _OTHERS.items():
        yield from chain.from_iterable(_field(name, value) for value in values)
    for name in _UNKNOWN_FIELDS:
        yield from _field(name, 1)


def _good_with(member: str) -> bytes:
    """Write a good body with one more member."""
    return b'{"delay":60,"callback_url":"https://example.com/",' + member.encode() + b"}"


def _bodies() -> Iterator[BadInput]:
    yield from (
        _raw("no body", b"", "empty"),
        _raw("white space", b" \r\n\t ", "empty"),
        _raw("a NUL", b"\0"),
        _raw("not JSON", "hello"),
        _raw("a form", "delay=60&callback_url=https://example.com/"),
        _raw("cut short", b'{"delay": 60, "callback_url": "https://exam'),
        _raw("no closing brace", b'{"delay": 60'),
        _raw("a trailing comma", b'{"delay": 60,}'),
        _raw("a leading comma", b'{,"delay": 60}'),
        _raw("no colon", b'{"delay" 60}'),
        _raw("no value", b'{"delay":}'),
        _raw("no name", b"{60}"),
        _raw("a name without quotes", b"{delay: 60}"),
        _raw("single quotes", b"{'delay': 60}"),
        _raw("a comment", _good_with('/* now */ "metadata": {}')),
        _raw("two documents", b'{"delay": 60} {"delay": 60}'),
        _raw("something behind it", b'{"delay": 60} x'),
        *(_raw(f"a {text} is no object", text) for text in ("null", "true", "1", '"x"', "[]")),
        _raw("an array of requests", json.dumps([dict(_GOOD)])),
        _raw("NaN alone", b"NaN"),
        _raw("an empty object", b"{}", "callback_url"),
        _raw("no callback_url", b'{"delay": 60}', "callback_url"),
        _raw("no time", b'{"callback_url": "https://example.com/"}', "execute_at"),
        _raw("two times", _good_with('"execute_at": "2030-06-01T00:00:00Z"'), "delay"),
        _raw("a key twice", _good_with('"delay": 60'), "delay"),
        _raw("a key twice, escaped", _good_with('"del\\u0061y": 60'), "delay"),
        _raw("a header twice", _good_with('"callback_headers": {"a": "1", "a": "1"}'), "twice"),
        _raw("a key of metadata twice", _good_with('"metadata": {"a": [{"b": 1, "b": 2}]}')),
        _raw("a byte order mark", b"\xef\xbb\xbf" + _good_with('"metadata": {}'), "byte order"),
        _raw("UTF-16", json.dumps(dict(_GOOD)).encode("utf-16")),
        _raw("Latin-1", _good_with('"metadata": {"a": "é"}').decode().encode("latin-1"), "UTF-8"),
        _raw("an overlong NUL", b'{"metadata": {"a": "\xc0\x80"}}', "UTF-8"),
        _raw("a surrogate in UTF-8", b'{"metadata": {"a": "\xed\xa0\x80"}}', "UTF-8"),
        _raw("a cut character", b'{"metadata": {"a": "\xe2\x82"}}', "UTF-8"),
        _raw("a raw newline in a string", _good_with('"metadata": {"a": "x\ny"}')),
        _raw("a raw NUL in a string", _good_with('"metadata": {"a": "x\0y"}')),
        _raw("a wrong escape", _good_with('"metadata": {"a": "\\x"}')),
        _raw("a cut escape", _good_with('"metadata": {"a": "\\u12"}')),
        _raw("a NUL in metadata", _good_with('"metadata": {"a": "\\u0000"}'), "metadata"),
        _raw("a NUL in a key", _good_with('"metadata": {"\\u0000": 1}'), "metadata"),
        _raw("a NUL in the URL", b'{"delay": 1, "callback_url": "http://x/\\u0000"}'),
        _raw("a surrogate in metadata", _good_with('"metadata": {"a": "\\ud800"}'), "metadata"),
        _raw("a surrogate in a name", _good_with('"\\udfff": 1')),
        _raw("surrogates the wrong way", _good_with('"metadata": {"a": "\\udc00\\ud800"}')),
        _raw("a surrogate in the payload", _good_with('"callback_payload": ["\\ud800"]')),
        _raw("a surrogate in a payload's key", _good_with('"callback_payload": {"\\uD9ab": 1}')),
        *(
            _raw(f"{number} in {name}", _good_with(f'"{name}": {{"a": {number}}}'), name)
            for name in ("metadata", "callback_payload")
            for number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")
        ),
        *(
            _raw(f"the number {number}", _good_with(f'"callback_payload": {number}'))
            for number in ("01", "+1", ".5", "1.", "0x10", "1_000", "1e", "--1", "nan", "\u0661")
        ),
        _raw("5,000 digits in metadata", _good_with('"metadata": {"a": %s}' % ("9" * 5_000))),
        _raw("5,000 digits as a delay", b'{"delay": %s}' % (b"9" * 5_000), "delay"),
        *(
            _raw(f"{levels} levels of {opening}", (opening * levels).encode(), "nested")
            for opening, levels in (("[", 100_000), ('{"a":', 50_000), ('[{"a":', 40_000))
        ),
        *(
            _raw(
                f"{levels} levels in {name}", _good_with(f'"{name}": {"[" * levels}{"]" * levels}')
            )
            for name in ("metadata", "callback_payload", "unknown")
            for levels in (100, 5_000)
        ),
        _raw("quotes without an end", b'{"a": "' + b'\\"' * 20_000),
        _raw(
            "a great value of an unknown field",
            json.dumps({**_GOOD, "calback_payload": ["x" * 100] * 1_000}),
            "did you mean callback_payload?",
        ),
        _raw("2,000 unknown fields", json.dumps({f"f{n}": n for n in range(2_000)})),
        BadInput(claim="PUT of nothing", method="PUT", path="/timers/{id}", body=b"{}"),
        BadInput(claim="PUT without a body", method="PUT", path="/timers/{id}"),
        BadInput(claim="PUT of an array", method="PUT", path="/timers/{id}", body=b"[]"),
        BadInput(
            claim="PUT of two times",
            method="PUT",
            path="/timers/{id}",
            body=b'{"delay": 1, "execute_at": "2030-06-01T00:00:00Z"}',
        ),
    )


def _media() -> Iterator[BadInput]:
    body = json.dumps(dict(_GOOD)).encode()
    for media in (
        *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
        *("application/jsonp", "application/problem+json", "text/json", "json", "", "*/*", ";"),
        *("application/json; charset=latin-1", "application/json; charset=utf-16"),
    ):
        headers = {"Content-Type": media}
        for method, path in (("POST", "/timers"), ("PUT", "/timers/{id}")):
            yield BadInput(
                claim=f"{method} as {media!r}",
                status=415,
                method=method,
                path=path,
                headers=headers,
                body=body,
            )
    yield BadInput(claim="no content type", status=415, headers={}, body=body)
    for encoding in ("gzip", "deflate", "br", "gzip, identity"):
        headers = {**_JSON, "Content-Encoding": encoding}
        yield BadInput(claim=f"a body in {encoding}", status=415, headers=headers, body=body)
    huge = _good_with('"callback_payload": "%s"' % ("x" * 1_000_000))
    yield BadInput(claim="a megabyte", status=413, body=huge)
    yield BadInput(
        claim="a PUT of a megabyte", status=413, method="PUT", path="/timers/{id}", body=huge
    )
    yield BadInput(claim="seven megabytes of nothing", status=413, body=b" " * 7_000_000)


_QUERIES: Final[Mapping[str, str]] = {
    "unknown=1": "unknown",
    "Limit=1": "Limit",
    "limti=1": "limti",
    "limit[]=1": "limit[]",
    "page=2": "page",
    "=": "",
    "=1": "",
    "limit": "limit",
    "limit=": "limit",
    "limit=0": "limit",
    "limit=201": "limit",
    "limit=-1": "limit",
    "limit=%2B5": "limit",
    "limit=1.0": "limit",
    "limit=1e2": "limit",
    "limit=0x10": "limit",
    "limit=%201": "limit",
    "limit=ten": "limit",
    "limit=NaN": "limit",
    "limit=%D9%A3": "limit",
    "limit=99999999999999999999": "limit",
    "limit=1&limit=1": "limit",
    "limit=1&limit=2": "limit",
    "offset=-1": "offset",
    "offset=1.5": "offset",
    "offset=99999999999": "offset",
    "offset=1000000001": "offset",
    "offset=1%27%20OR%201=1--": "offset",
    "status=": "status",
    "status=PENDING": "status",
    "status=cancelled": "status",
    "status=pending,failed": "status",
    "status=pending&status=failed": "status",
    "status=%00": "status",
    "sort=id": "sort",
    "sort=created_at;drop%20table%20timers": "sort",
    "sort=updated_at": "sort",
    "order=up": "order",
    "order=DESC": "order",
    "execute_after=": "execute_after",
    "execute_after=0": "execute_after",
    "execute_after=2030-01-01": "execute_after",
    "execute_after=2030-01-01T00:00:00": "execute_after",
    "execute_after=2030-01-01T00:00:00+02:00": "execute_after",
    "execute_before=yesterday": "execute_before",
    "execute_before=1893456000": "execute_before",
    "metadata=1": "metadata",
    "metadata.=1": "metadata.",
    "metadata[a]=1": "metadata[a]",
    "metadata.a=1&metadata.a=2": "metadata.a",
    "metadata.a=%00": "metadata.a",
    "metadata.%00=1": "metadata.",
    "&".join(f"metadata.k{n}=1" for n in range(21)): "metadata",
    "cursor=": "cursor",
    "cursor=1": "cursor",
    "cursor=AAAA": "cursor",
    "cursor=!!!!": "cursor",
    "cursor=%C3%A9": "cursor",
    "cursor=" + "A" * 43: "cursor",
    "cursor=" + "_" * 43: "cursor",
    "cursor=" + "A" * 5_000: "cursor",
    "cursor=AAAA&offset=0": "offset",
    "cursor=AAAA&cursor=AAAA": "cursor",
    "status=%FF": "",
    "%FF=1": "",
    "metadata.a=%C0%80": "",
    "metadata.a=%ED%A0%80": "",
    "&".join(f"a{n}=1" for n in range(500)): "a0",
}


def _queries() -> Iterator[BadInput]:
    for query, named in _QUERIES.items():
        yield BadInput(
            claim=f"GET ?{query[:60]}",
            method="GET",
            path=f"/timers?{query}",
            headers={},
            named=named,
        )
    for method, path in (
        *(("GET", "/timers/{id}"), ("DELETE", "/timers/{id}"), ("PUT", "/timers/{id}")),
        ("POST", "/timers"),
    ):
        body = b'{"delay": 60}' if method == "PUT" else json.dumps(dict(_GOOD)).encode()
        yield BadInput(
            claim=f"{method} with a parameter",
            method=method,
            path=f"{path}?force=true",
            body=body,
            named="force",
        )


def _routes() -> Iterator[BadInput]:
    for text in (
        *("1", "abc", "null", "%00", "%FF", "%2e%2e", "*", "'%20OR%201=1--", "%F0%9F%92%A9"),
        *(_UNKNOWN_ID.replace("-", ""), f"{{{_UNKNOWN_ID}}}", f"urn:uuid:{_UNKNOWN_ID}"),
        *(_UNKNOWN_ID + "0", _UNKNOWN_ID[:-1], _UNKNOWN_ID[:-1] + "g", f"%20{_UNKNOWN_ID}"),
        *(f"{_UNKNOWN_ID}%0A", "a" * 5_000, _UNKNOWN_ID),
    ):
        for method in ("GET", "PUT", "DELETE"):
            yield BadInput(
                claim=f"{method} of the id {text[:40]}",
                status=404,
                method=method,
                path=f"/timers/{text}",
                body=b'{"delay": 60}' if method == "PUT" else b"",
            )
    for path in (
        *("/x", "/timer", "/Timers", "/timers/", "/timers//", "/timers/{id}/"),
        *(
            "/timers//{id}",
            "/timers/{id}/cancel",
            "/v1/timers",
            "/favicon.ico",
            "/static/x",
            "/%00",
            "/..%2f",
        ),
        *("/health/nope", "/docs/nope", "/.env", "/admin?x=1", "/timers;x=1"),
    ):
        yield BadInput(claim=f"the route {path}", status=404, method="GET", path=path)
    for method, path in (
        *(("PUT", "/timers"), ("DELETE", "/timers"), ("PATCH", "/timers"), ("TRACE", "/timers")),
        *(("POST", "/timers/{id}"), ("PATCH", "/timers/{id}"), ("BREW", "/timers/{id}")),
        *(("POST", "/health"), ("DELETE", "/health/live"), ("POST", "/health/ready")),
        *(("PUT", "/timers/batch"), ("GET", "/timers/batch"), ("DELETE", "/timers/import")),
        *(("POST", "/"), ("POST", "/metrics"), ("PUT", "/openapi.json"), ("POST", "/docs")),
    ):
        yield BadInput(claim=f"{method} {path}", status=405, method=method, path=path, body=b"{}")


def _keys() -> Iterator[BadInput]:
    body = json.dumps(dict(_GOOD)).encode()
    for key in (None, "", "wrong", "k" * 31, "k" * 10_000, "K" * 32, "Bearer x"):
        for method, path in (("POST", "/timers"), ("GET", "/timers/{id}"), ("GET", "/metrics")):
            yield BadInput(
                claim=f"{method} {path} with the key {key!r:.40}",
                status=401,
                method=method,
                path=path,
                key=key,
                body=body if method == "POST" else b"",
            )
    for method, path in (
        *(("GET", "/nope"), ("PATCH", "/timers"), ("DELETE", "/timers/abc"), ("HEAD", "/timers")),
        *(("OPTIONS", "/timers"), ("GET", "/healthy"), ("GET", "/docsx"), ("GET", "/x")),
        *(("GET", "/timers?api_key=x"), ("GET", "/openapi.json/")),
    ):
        yield BadInput(
            claim=f"{method} {path} without a key", status=401, method=method, path=path, key=None
        )
    yield BadInput(claim="a megabyte without a key", status=401, key=None, body=b" " * 1_000_000)


_REDRIVES: Final[Mapping[bytes, str]] = {
    b"[]": "object",
    b"null": "object",
    b"{": "JSON",
    b'{"delay": 1, "execute_at": "2030-06-01T00:00:00Z"}': "delay",
    b'{"delay": 1, "delay": 2}': "delay",
    b'{"delay": -1}': "delay",
    b'{"delay": "1"}': "delay",
    b'{"delay": null}': "delay",
    b'{"delay": "P1M"}': "delay",
    b'{"execute_at": "2020-01-01T00:00:00Z"}': "execute_at",
    b'{"execute_at": 1893456000}': "execute_at",
    b'{"execute_at": "2041-01-01T00:00:00Z"}': "execute_at",
    b'{"exectue_at": "2030-06-01T00:00:00Z"}': "did you mean execute_at?",
    b'{"callback_url": "https://example.com/"}': "is not a field of a redrive",
    b'{"retry": {}}': "retry",
    b" ": "empty",
}


def _redrives() -> Iterator[BadInput]:
    path = "/timers/{id}/redrive"
    for body, named in _REDRIVES.items():
        yield BadInput(claim=f"a redrive with {body!r}", path=path, body=body, named=named)
    yield BadInput(claim="a redrive of a pending timer", status=409, path=path)
    yield BadInput(claim="a redrive with a parameter", path=f"{path}?force=1", named="force")
    yield BadInput(claim="a redrive as a form", status=415, path=path, headers={}, body=b"delay=1")
    yield BadInput(claim="a redrive by PUT", status=405, method="PUT", path=path)
    yield BadInput(claim="a redrive without a key", status=401, path=path, key=None)
    for text in (_UNKNOWN_ID, "1", "%00"):
        yield BadInput(claim=f"a redrive of {text}", status=404, path=f"/timers/{text}/redrive")


_BULK: Final[Mapping[str, Any]] = {"action": "cancel", "filter": {"status": "pending"}}
_LIMITS: Final[tuple[object, ...]] = (0, -1, 1.5, "5", True, [], 10**30)
_FLAGS: Final[tuple[object, ...]] = (None, 1, "true", "yes", [])
_BULKS: Final[tuple[tuple[Mapping[str, Any], str], ...]] = (
    ({"action": None}, "action"),
    ({"action": "stop"}, "action"),
    ({"action": "CANCEL"}, "action"),
    ({"action": ["cancel"]}, "action"),
    ({"filter": None}, "filter"),
    ({"filter": {}}, "must name at least one thing"),
    ({"filter": []}, "filter"),
    ({"filter": "status=pending"}, "filter"),
    ({"filter": {"status": "done"}}, "filter.status"),
    ({"filter": {"status": None}}, "filter.status"),
    ({"filter": {"status": ["pending"]}}, "filter.status"),
    ({"filter": {"status": {"eq": "pending"}}}, "filter.status"),
    ({"filter": {"satus": "pending"}}, "filter.satus"),
    ({"filter": {"": "pending"}}, "filter."),
    ({"filter": {"id": _UNKNOWN_ID}}, "filter.id"),
    ({"filter": {"status": "pending", "limit": 5}}, "filter.limit"),
    ({"filter": {"offset": "5"}}, "filter.offset"),
    ({"filter": {"sort": "created_at"}}, "filter.sort"),
    ({"filter": {"order": "asc"}}, "filter.order"),
    ({"filter": {"cursor": "AAAA"}}, "filter.cursor"),
    ({"filter": {"execute_after": 1893456000}}, "filter.execute_after"),
    ({"filter": {"execute_before": "2030-01-01"}}, "filter.execute_before"),
    ({"filter": {"metadata": {"a": 1}}}, "filter.metadata"),
    ({"filter": {"metadata.": "x"}}, "filter.metadata."),
    ({"filter": {"metadata.a": ["x"]}}, "filter.metadata.a"),
    ({"filter": {f"metadata.k{n}": "x" for n in range(21)}}, "filter.metadata"),
    ({"filter": {f"k{n}": "x" for n in range(1_000)}}, "filter"),
    ({"rate_per_second": 5}, "rate_per_second"),
    ({"action": "delete", "rate_per_second": 5}, "leave it out for delete"),
    *(
        ({"action": "redrive", "rate_per_second": rate}, "rate_per_second")
        for rate in (0, 0.09, -1, 10_001, "5", True, [5], 1e300)
    ),
    *(({"limit": limit}, "limit") for limit in _LIMITS),
    *(({"dry_run": value}, "dry_run: must be true or false") for value in _FLAGS),
    *(
        ({"as_of": at}, "as_of")
        for at in (None, 0, "now", "2030-01-01T00:00:00", "9999-01-01T00:00:00Z")
    ),
    ({"as_off": "2030-01-01T00:00:00Z"}, "did you mean as_of?"),
    ({"filters": {}}, "did you mean filter?"),
    ({"ids": []}, "is not a field of a bulk action"),
)


def _bulks() -> Iterator[BadInput]:
    path = "/timers/bulk"
    for changes, named in _BULKS:
        body = json.dumps({**_BULK, **changes}).encode()
        yield BadInput(claim=f"a bulk with {changes!r:.80}", path=path, body=body, named=named)
    for raw in (b"", b"[]", b"{", b'"cancel"', b'{"action": "cancel", "action": "delete"}'):
        yield BadInput(claim=f"a bulk of {raw!r}", path=path, body=raw)
    for name in _BULK:
        body = json.dumps({key: _BULK[key] for key in _BULK if key != name}).encode()
        yield BadInput(claim=f"a bulk without {name}", path=path, body=body, named=name)
    twice = b'{"action": "cancel", "filter": {"status": "failed", "status": "pending"}}'
    yield BadInput(claim="a filter twice", path=path, body=twice, named="status")
    good = json.dumps(_BULK).encode()
    yield BadInput(claim="a bulk with a parameter", path=f"{path}?status=x", body=good)
    yield BadInput(claim="a bulk as text", status=415, path=path, headers={}, body=good)
    yield BadInput(claim="a bulk without a key", status=401, path=path, key=None, body=good)
    yield BadInput(claim="a bulk by DELETE", status=405, method="DELETE", path=path)
    yield BadInput(claim="a bulk of a megabyte", status=413, path=path, body=b" " * 1_000_000)


BAD_INPUTS: Final = tuple(
    chain(
        *(_fields(), _bodies(), _media(), _queries(), _routes(), _keys()),
        *(_redrives(), _bulks()),
    )
)
