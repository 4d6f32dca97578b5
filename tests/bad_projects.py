"""Wrong requests for projects and keys, each with the status that it must be answered with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from tests.bad_inputs import BadInput

_KEY: Final[dict[str, Any]] = {"name": "ci", "scopes": ["read"]}
_UNKNOWN_KEY: Final = "0" * 24

_NAMES: Final[tuple[object, ...]] = (
    *("", "A", "Shop", "a_b", "a b", " a", "a.b", "a/b", "ä", "x" * 64, "a\n", "*", "../a"),
    *(None, 1, True, [], {}, ["a"]),
)
_WRONG_RATES: Final[tuple[object, ...]] = (0, 0.09, -1, 100_001, "5", True, [])
_WRONG_BREAKERS: Final[tuple[object, ...]] = (
    *([], 1, "x", True, {}, {"failures": 5}, {"open_seconds": 5}),
    *({"failures": f, "open_seconds": 5} for f in (0, -1, 1.5, 1_001, "5", None, True)),
    *({"failures": 5, "open_seconds": s} for s in (0, 0.9, -1, 3_601, "5", None, True)),
    *({"failures": 5, "open_seconds": 5, "probes": 1}, {"failures": 5, "open_second": 5}),
)
_SETTINGS: Final[tuple[tuple[str, tuple[object, ...]], ...]] = (
    (
        "allowed_hosts",
        (
            *([], "example.com", 1, True, {}, [1], [None], [""], ["*"], ["*."], ["a.*.com"]),
            *(["http://example.com"], ["example.com/a"], ["example.com:443"], ["a b"], ["ä.de"]),
            *(["*.*.com"], ["**.example.com"], ["x" * 300], [f"h{n}.com" for n in range(101)]),
        ),
    ),
    (
        "default_retry",
        (
            *([], 1, "x", True, {"max_attempts": 0}, {"max_attempts": 51}, {"delays": []}),
            *({"delays": [0]}, {"max_attempt": 3}, {"delays": [1], "factor": 2}, {"jitter": 2}),
        ),
    ),
    (
        "rate_limit",
        (
            *([], 1, "x", True, {}, {"burst": 5}, {"requests_per_second": None}),
            *({"requests_per_second": r} for r in _WRONG_RATES),
            *({"requests_per_second": 5, "burst": b} for b in (0, -1, 1.5, 1_000_001, "5", None)),
            *({"requests_per_second": 5, "bursts": 5}, {"requests_per_second": 5, "per": "key"}),
        ),
    ),
    ("max_in_flight", (0, -1, 100_001, 1.5, "5", True, [], {})),
    ("breaker", _WRONG_BREAKERS),
    ("max_live_timers", (0, -1, 1.5, 1_000_001, 10**30, "5", True, [], {}, [5])),
)
_KEY_FIELDS: Final[tuple[tuple[str, tuple[object, ...]], ...]] = (
    ("name", ("", "x" * 256, None, 1, True, [], {})),
    (
        "scopes",
        (
            *([], None, "read", 1, {}, ["READ"], ["read", "read"], ["all"], [1], [None], [""]),
            *(["read", "write", "admin", "metrics", "read"], [["read"]]),
        ),
    ),
    (
        "expires_at",
        ("", "now", 0, True, [], "2030-01-01", "2030-01-01T00:00:00", "2029-12-31T23:59:59Z"),
    ),
)
_NOT_YET: Final = ("name", "settings")


def _bad(claim: str, method: str, path: str, body: object = None, **other: Any) -> BadInput:
    content = b"" if body is None else json.dumps(body).encode()
    return BadInput(claim=claim, method=method, path=path, body=content, **other)


def _shown(value: object) -> str:
    return f"{json.dumps(value):.60}"


def _projects() -> Iterator[BadInput]:
    for name in _NAMES:
        yield _bad(f"a project {_shown(name)}", "POST", "/projects", {"name": name}, named="name")
    yield _bad("a project without a name", "POST", "/projects", {}, named="name")
    yield _bad("a project that is there", "POST", "/projects", {"name": "default"}, status=409)
    yield _bad("a project of more", "POST", "/projects", {"name": "a", "x": 1}, named="x")
    for text in ("[]", "1", '"a"', "null", "", "{"):
        yield BadInput(claim=f"a project that is {text!r}", path="/projects", body=text.encode())
    yield _bad("projects with a parameter", "GET", "/projects?limit=5", named="limit")
    yield _bad("a project of the wrong method", "PATCH", "/projects/default", status=405)
    for name in ("nobody", "Default", "x" * 64, "a%2Fb", "%00", "a%20b"):
        for method, body in (("GET", None), ("PUT", {"default_retry": None}), ("DELETE", None)):
            claim = f"{method} a project {name}"
            yield _bad(claim, method, f"/projects/{name}", body, status=404, named="project")


def _settings() -> Iterator[BadInput]:
    path = "/projects/default"
    for field, values in _SETTINGS:
        for value in values:
            claim = f"the setting {field} {_shown(value)}"
            yield _bad(claim, "PUT", path, {field: value}, named=field)
    for field in _NOT_YET:
        yield _bad(f"the setting {field}", "PUT", path, {field: None}, named=field)
    yield _bad("no setting", "PUT", path, {}, named="at least one")
    yield _bad("a setting misspelled", "PUT", path, {"allowed_host": []}, named="allowed_hosts?")
    plain = {"Content-Type": "text/plain"}
    yield _bad("settings as text", "PUT", path, {}, status=415, headers=plain)
    yield _bad("the default project's end", "DELETE", path, status=409, named="default")
    yield _bad("its end by force", "DELETE", f"{path}?force=true", status=409, named="default")
    for force in ("", "1", "yes", "True", "true&force=true"):
        yield _bad(f"an end by force={force}", "DELETE", f"{path}?force={force}", named="force")
    yield _bad("an end with a parameter", "DELETE", f"{path}?forced=true", named="forced")


def _keys() -> Iterator[BadInput]:
    for field, values in _KEY_FIELDS:
        for value in values:
            claim = f"a key's {field} {_shown(value)}"
            yield _bad(claim, "POST", "/keys", {**_KEY, field: value}, named=field)
    for field in ("name", "scopes"):
        body = {name: value for name, value in _KEY.items() if name != field}
        yield _bad(f"a key without {field}", "POST", "/keys", body, named=field)
    for field in ("key", "secret", "id", "project", "scope"):
        yield _bad(f"a key with {field}", "POST", "/keys", {**_KEY, field: "x"}, named=field)
    yield _bad("keys with a parameter", "GET", "/keys?limit=5", named="limit")
    yield _bad("one key to be read", "GET", f"/keys/{_UNKNOWN_KEY}", status=405)
    for key_id in (_UNKNOWN_KEY, "x", "F" * 24, "0" * 23, "%00", "{id}"):
        yield _bad(f"no key {key_id}", "DELETE", f"/keys/{key_id}", status=404, named="API key")
    yield _bad("a key to be revoked twice over", "DELETE", f"/keys/{_UNKNOWN_KEY}?a=1", named="a")


def _headers() -> Iterator[BadInput]:
    for name in ("", "nobody", "Default", "a b", "x" * 64, "a,b"):
        headers = {"X-Project": name}
        claim = f"the project {name!r} in a header"
        yield _bad(claim, "GET", "/timers", headers=headers, named="X-Project")
    made_up = f"tt_{'0' * 24}_{'0' * 64}"
    for key in ("tt_", "tt__", f"tt_{'0' * 24}", made_up, made_up.upper(), f"{made_up}0", "wrong"):
        yield _bad(f"the key {key}", "GET", "/timers", status=401, key=key, named="wrong")
    for method, path in (("GET", "/keys"), ("POST", "/projects"), ("GET", "/projects/default")):
        yield _bad(f"{method} {path} without a key", method, path, status=401, key=None)


BAD_PROJECTS: Final = [*chain(_projects(), _settings(), _keys(), _headers())]
