"""Wrong requests for schedules, each with the status that it must be answered with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from tests.bad_inputs import BadInput

_GOOD: Final[dict[str, Any]] = {"every": 60, "callback_url": "https://example.com/hook"}
_UNKNOWN_ID: Final = "00000000-0000-7000-8000-000000000000"
_DAY: Final = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}

_CRONS: Final[tuple[object, ...]] = (
    *("", " ", "* * * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *"),
    *("* * 32 * *", "* * * 13 *", "* * * * 8", "0 0 30 2 *", "a * * * *", "@daily"),
    *("*/0 * * * *", "5-1-2 * * * *", "* * * * *\n* * * * *", "0 9 * * MON#9", "x" * 9_000),
    *(None, 5, True, [], {}, ["* * * * *"]),
)
_INTERVALS: Final[tuple[object, ...]] = (
    *(0, -1, 0.5, 0.999, 1e300, 10**400, None, True, [], {}, "", "60", "5m", "P1M", "P1Y"),
    *("PT0S", "PT0.5S", "-PT5M", "P999999999999W"),
)
_RRULES: Final[tuple[object, ...]] = (
    *("", "DAILY", "FREQ=", "FREQ=HOURLY", "FREQ=SECONDLY", "FREQ=DAILY;COUNT=0"),
    *("FREQ=DAILY;INTERVAL=0", "FREQ=DAILY;BYMONTH=13", "FREQ=DAILY;FOO=1", "INTERVAL=2"),
    *("FREQ=DAILY;FREQ=DAILY", "FREQ=MONTHLY;BYMONTHDAY=32", "FREQ=YEARLY;BYDAY=XX"),
    *("FREQ=DAILY;UNTIL=19990101T000000Z", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"),
    *(None, 5, [], {}),
)
_ZONES: Final[tuple[object, ...]] = (
    *("", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "UTC+2", "CEST", "x" * 999),
    *(None, 1, [], {}),
)
_RULES: Final[tuple[tuple[dict[str, Any], str], ...]] = (
    ({}, "cron"),
    ({"every": 60, "cron": "* * * * *"}, "every"),
    ({"rrule": "FREQ=DAILY", "cron": "* * * * *"}, "rrule"),
    ({"every": 60, "rrule": "FREQ=DAILY"}, "rrule"),
    ({"every": 60, "timezone": "Europe/Berlin"}, "timezone"),
    *(({"cron": text}, "cron") for text in _CRONS),
    *(({"every": value}, "every") for value in _INTERVALS),
    *(({"rrule": text}, "rrule") for text in _RRULES),
    *(({"cron": "* * * * *", "timezone": zone}, "timezone") for zone in _ZONES),
)
_FIELDS: Final[tuple[tuple[str, tuple[object, ...]], ...]] = (
    ("start_at", (0, "", "now", "2030-01-01", "2030-01-01T00:00:00", True, [])),
    ("end_at", (0, "", "now", "2030-01-01", "1999-01-01T00:00:00Z", True, [])),
    ("max_occurrences", (0, -1, 1.5, "5", True, [], 1_000_000_001)),
    ("catch_up", ("none", "", 1, None, [], "LATEST")),
    ("overlap", ("none", "", 1, None, [], "SKIP")),
    ("jitter_seconds", (-1, 86_401, "5", True, None, [], 1e300)),
    ("name", ("", "x" * 256, 1, True, [], {})),
    ("metadata", ([], 1, "x", {f"k{n}": 1 for n in range(65)})),
    ("callback_url", ("ftp://example.com/", "http://10.0.0.7/", "", None, 5)),
    ("callback_headers", ({"Host": "x"}, {"a b": "x"}, [], 1)),
    ("callback_method", ("HEAD", "post", None, 1)),
    ("timeout_seconds", (0, 301, "5", None)),
    ("delivery", ("twice", None, 1)),
    ("misfire_grace_seconds", (0, "5", -1)),
    ("retry", ({"max_attempts": 0}, {"max_attempt": 3}, [], 1)),
    ("store_response", ("some", None)),
    ("flow_key", ("", "x" * 256, "a\0b", None, 1, True, [], {})),
    ("signing", ("all", None, True)),
    ("on_completed", ({}, {"url": "x"}, 1)),
    ("on_failed", ({"url": "https://example.com/", "body": 1}, 1)),
)
_NOT_OURS: Final = (
    ("execute_at", "2030-02-01T00:00:00Z", "is for a single timer"),
    ("delay", 5, "is for a single timer"),
    ("key", "x", "is for a single timer"),
    ("on_conflict", "keep", "is for a single timer"),
    ("timzone", "UTC", "did you mean timezone?"),
    ("crn", "* * * * *", "did you mean cron?"),
    ("catchup", "all", "did you mean catch_up?"),
    ("", 1, "is not a field of a schedule"),
)


def _bad(claim: str, body: object, named: str, path: str = "/schedules", **other: Any) -> BadInput:
    return BadInput(
        claim=claim[:150], path=path, body=json.dumps(body).encode(), named=named, **other
    )


def _rules() -> Iterator[BadInput]:
    url = {"callback_url": "https://example.com/"}
    for rule, named in _RULES:
        yield _bad(f"a schedule by {rule!r}", rule | url, named)
        yield _bad(f"a preview of {rule!r}", rule, named, path="/schedules/preview")


def _fields() -> Iterator[BadInput]:
    put = "/schedules/by-name/a"
    for name, values in _FIELDS:
        for value in values:
            claim = f"a schedule with {name} = {value!r}"
            yield _bad(claim, _GOOD | {name: value}, name)
            yield _bad(f"PUT of {claim}", _GOOD | {name: value}, name, path=put, method="PUT")
    for name, value, words in _NOT_OURS:
        yield _bad(f"a schedule with {name!r}", _GOOD | {name: value}, words)
    yield _bad("a schedule without a URL", {"every": 60}, "callback_url")
    ends = {"start_at": "2030-06-01T00:00:00Z", "end_at": "2030-06-01T00:00:00Z"}
    yield _bad("a schedule that ends as it starts", _GOOD | ends, "end_at")
    late = {"start_at": "9999-12-31T23:59:59Z"}
    yield _bad("a schedule that starts last", _GOOD | late, "start_at")
    yield _bad("another name than its path", _GOOD | {"name": "b"}, "name", path=put, method="PUT")
    yield _bad("no name in its path", _GOOD | {"name": None}, "name", path=put, method="PUT")
    long = f"/schedules/by-name/{'x' * 256}"
    yield _bad("a long name in its path", _GOOD, "name", path=long, method="PUT")


def _others() -> Iterator[BadInput]:
    for member, value in (
        *(("from", value) for value in (None, 0, "now", "2020-01-03T00:00:00Z")),
        *(("to", value) for value in (None, 0, "now", "2019-01-01T00:00:00Z")),
        ("to", "9000-01-01T00:00:00Z"),
        *(("limit", value) for value in (0, -1, 10_001, 1.5, "5", None, True)),
        *(("rate_per_second", value) for value in (0, -1, 10_001, "5", True)),
        ("rate", 5),
        ("cron", "* * * * *"),
    ):
        path = f"/schedules/{_UNKNOWN_ID}/backfill"
        yield _bad(f"a backfill with {member} = {value!r}", _DAY | {member: value}, "", path=path)
    for member, value in (
        *(("count", value) for value in (0, 101, 1.5, "5", None)),
        *(("from", value) for value in (None, 0, "now", "2030-01-01")),
        ("jitter_seconds", 5),
        ("callback_url", "https://example.com/"),
    ):
        body = {"every": 60, member: value}
        yield _bad(f"a preview with {member} = {value!r}", body, member, path="/schedules/preview")
    for raw in (b"", b"[]", b"{", b'"cron"', b'{"every": 60, "every": 61}', b"\xff"):
        for path in ("/schedules", "/schedules/preview", f"/schedules/{_UNKNOWN_ID}/backfill"):
            yield BadInput(claim=f"{raw!r} to {path}", path=path, body=raw)
    for query in (
        *("status=pending", "status=", "name=", "limit=0", "limit=201", "offset=5", "cursor=AAAA"),
        *("sort=created_at", "nme=x", "name=a&name=b", "cursor=", "total=1"),
    ):
        yield BadInput(claim=f"schedules?{query}", method="GET", path=f"/schedules?{query}")
    for query in ("schedule_id=", "schedule_id=x", "schedule_id=0", "schedule_ids=x"):
        yield BadInput(claim=f"timers?{query}", method="GET", path=f"/timers?{query}")


def _routes() -> Iterator[BadInput]:
    one = f"/schedules/{_UNKNOWN_ID}"
    named = "no schedule has this id"
    for method in ("GET", "DELETE"):
        for path in (one, "/schedules/x", "/schedules/{id}"):
            yield BadInput(
                claim=f"{method} {path}", status=404, method=method, path=path, named=named
            )
        path = "/schedules/by-name/nobody"
        yield BadInput(
            claim=f"{method} by name",
            status=404,
            method=method,
            path=path,
            named="no schedule has this name",
        )
    yield _bad("PUT to nothing", {"every": 5}, named, path=one, method="PUT", status=404)
    yield _bad("PUT of nothing", {}, "at least one field", path=one, method="PUT")
    for verb in ("pause", "resume", "trigger", "replan"):
        path = f"{one}/{verb}"
        yield BadInput(claim=f"{verb} of nothing", status=404, path=path, named=named)
        yield _bad(f"{verb} with a field", {"a": 1}, "takes none", path=path)
        yield BadInput(claim=f"{verb} with a parameter", path=f"{path}?a=1", named="a")
        yield BadInput(claim=f"GET {verb}", status=405, method="GET", path=path)
    yield _bad("backfill of nothing", _DAY, named, path=f"{one}/backfill", status=404)
    yield _bad("a schedule as text", _GOOD, "", status=415, headers={})
    yield _bad("a schedule without a key", _GOOD, "", status=401, key=None)
    yield _bad("a bad idempotency key", _GOOD, "Idempotency-Key", headers=_ill_keyed())
    yield BadInput(claim="a preview by GET", status=405, method="GET", path="/schedules/preview")
    yield BadInput(claim="schedules by DELETE", status=405, method="DELETE", path="/schedules")
    yield BadInput(claim="a great schedule", status=413, path="/schedules", body=b" " * 1_000_000)


def _ill_keyed() -> dict[str, str]:
    return {"Content-Type": "application/json", "Idempotency-Key": "a b"}


BAD_SCHEDULES: Final = tuple(chain(_rules(), _fields(), _others(), _routes()))
