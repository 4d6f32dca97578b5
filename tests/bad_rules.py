"""Wrong requests for flows and pauses, each with the status that it must be answered with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from tests.bad_inputs import BadInput

_ONE: Final = "/flows/mails"
_COUNTS: Final[tuple[object, ...]] = (0, -1, 10_001, 1.5, "5", True, [], {})
_SPANS: Final[tuple[object, ...]] = (0, -1, 86_401, 0.5, "60", True, None, [])
_RATES: Final[tuple[object, ...]] = (
    *(0, 5, "5/60", True, [], [5, 60], {}, {"count": 5}, {"per_seconds": 60}),
    *({"count": count, "per_seconds": 60} for count in (*_COUNTS, None)),
    *({"count": 5, "per_seconds": wrong} for wrong in _SPANS),
    *({"count": 5, "per_seconds": 60, "burst": 5}, {"count": 5, "per_second": 60}),
)
_DESTINATIONS: Final[tuple[object, ...]] = (
    *("", "example.com", "ftp://example.com", "https://", "https://exa mple.com", "https:///"),
    *("https://example.com/hook", "https://example.com?a=1", "https://example.com#a"),
    *("https://user@example.com", "https://example.com:99999", "https://example.com:x"),
    *(f"https://{'x' * 2048}.com", None, 1, True, [], {}),
)


def _bad(claim: str, method: str, path: str, body: object = None, **other: Any) -> BadInput:
    content = b"" if body is None else json.dumps(body).encode()
    return BadInput(claim=claim, method=method, path=path, body=content, **other)


def _shown(value: object) -> str:
    return f"{json.dumps(value):.60}"


def _flows() -> Iterator[BadInput]:
    for field, values in (
        ("max_in_flight", _COUNTS),
        ("rate", _RATES),
        ("paused", (None, 0, 1, "true", [], {})),
    ):
        for value in values:
            claim = f"a flow's {field} {_shown(value)}"
            yield _bad(claim, "PUT", _ONE, {field: value}, named=field)
    for field in ("flow_key", "key", "paused_since", "limit"):
        yield _bad(f"a flow's {field}", "PUT", _ONE, {field: "mails"}, named=field)
    yield _bad("a misspelled limit", "PUT", _ONE, {"max_inflight": 5}, named="max_in_flight?")
    yield _bad("no setting of a flow", "PUT", _ONE, {}, named="at least one")
    for text in ("[]", "1", '"a"', "null", "", "{"):
        yield BadInput(
            claim=f"a flow that is {text!r}", method="PUT", path=_ONE, body=text.encode()
        )
    plain = {"Content-Type": "text/plain"}
    yield _bad("a flow as text", "PUT", _ONE, {"paused": True}, status=415, headers=plain)
    yield _bad("a flow put with a parameter", "PUT", f"{_ONE}?a=1", {"paused": True}, named="a")
    yield _bad("a flow of the wrong method", "POST", _ONE, {"paused": True}, status=405)
    for method, body in (("GET", None), ("PUT", {"paused": True}), ("DELETE", None)):
        for key in ("%FF", "a%00b", "x" * 256, "%C3%A4" * 256, "%ED%A0%80"):
            claim = f"{method} a flow {key:.20}"
            yield _bad(claim, method, f"/flows/{key}", body, named="flow_key")
        yield _bad(f"{method} no flow", method, "/flows/", body, status=404, named="route")
        yield _bad(f"{method} a flow with no key", method, _ONE, body, status=401, key=None)
    for method in ("GET", "DELETE"):
        yield _bad(f"{method} a flow that is not there", method, _ONE, status=404, named="flow")
        yield _bad(f"{method} a flow with a parameter", method, f"{_ONE}?force=1", named="force")


def _lists() -> Iterator[BadInput]:
    for paused in ("", "1", "yes", "True", "null"):
        yield _bad(f"flows with paused={paused}", "GET", f"/flows?paused={paused}", named="paused")
    for limit in ("", "0", "201", "-1", "x", "1.5"):
        yield _bad(f"flows with limit={limit}", "GET", f"/flows?limit={limit}", named="limit")
    for cursor in ("", "x", "AAAA", "A" * 60, "%FF", "..", "-_-_-_-_-_-_-_-_"):
        path = f"/flows?cursor={cursor}"
        named = "" if cursor == "%FF" else "cursor"
        yield _bad(f"flows with cursor={cursor}", "GET", path, named=named)
    for name in ("offset", "sort", "flow_key", "status"):
        yield _bad(f"flows with {name}", "GET", f"/flows?{name}=1", named=name)
    yield _bad("flows paused twice over", "GET", "/flows?paused=true&paused=true", named="paused")


def _pauses() -> Iterator[BadInput]:
    for verb in ("pause", "resume"):
        path = f"/destinations/{verb}"
        for value in _DESTINATIONS:
            claim = f"to {verb} {_shown(value)}"
            yield _bad(claim, "POST", path, {"destination": value}, named="destination")
        yield _bad(f"to {verb} no destination", "POST", path, {}, named="destination")
        body = {"destination": "https://example.com", "paused": True}
        yield _bad(f"to {verb} a destination and more", "POST", path, body, named="paused")
        yield _bad(f"to {verb} one by a misspelled field", "POST", path, {"url": "x"}, named="url")
        yield _bad(f"{verb} of a destination read", "GET", path, status=405)
        yield BadInput(claim=f"to {verb} a destination in silence", path=path)
        yield BadInput(claim=f"to {verb} a list", path=path, body=b"[]")
        yield _bad(f"to {verb} all but", "POST", f"/{verb}", {"project": "shop"}, named="project")
        yield _bad(f"to {verb} by a parameter", "POST", f"/{verb}?project=shop", named="project")
        yield _bad(f"{verb} read", "GET", f"/{verb}", status=405)
        yield _bad(f"to {verb} without a key", "POST", f"/{verb}", status=401, key=None)
        yield BadInput(claim=f"to {verb} a word", path=f"/{verb}", body=b'"all"')


BAD_RULES: Final = [*chain(_flows(), _lists(), _pauses())]
