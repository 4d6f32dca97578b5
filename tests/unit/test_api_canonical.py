"""Fingerprints: equal for what is equal, however it is written, and different for all else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.api.body.canonical import Fingerprint

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def digest(*texts: str, route: str = "POST /timers") -> bytes:
    fingerprint = Fingerprint(route)
    for text in texts:
        for _ in fingerprint.reading(text.encode()):
            pass
    fingerprint.end()
    return fingerprint.digest


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return [*map(reordered, value)] if isinstance(value, list) else value


@given(JSON)
def test_how_a_value_is_written_makes_no_difference(value: Any) -> None:
    plain = digest(json.dumps(value))
    assert digest(json.dumps(reordered(value), ensure_ascii=False, indent=1)) == plain
    assert digest(f" \n{json.dumps(value, separators=(',', ':'))}\t") == plain


@given(JSON, JSON)
def test_different_values_are_told_apart(one: Any, other: Any) -> None:
    is_equal = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(json.dumps(one)) == digest(json.dumps(other))) is is_equal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[1,2]", "[12]"),
        ("[1,2]", "[2,1]"),
        ('["1,2"]', '["1","2"]'),
        ('{"a":1}', '["a",1]'),
        ('{"a":"b","c":"d"}', '{"a":"d","c":"b"}'),
        ("[[]]", "[{}]"),
        ("[[],[]]", "[[[]]]"),
        ("null", '"null"'),
        ("1", "true"),
        ('{"b":1,"b":2}', '{"b":2}'),
        ('{"b":1,"b":2}', '{"b":2,"b":1}'),
        ("12345678901234567890123", "12345678901234567890124"),
        ("1.5", "1.25"),
        ('"a b"', '"ab"'),
        ('"\\ud800"', '"\\ud801"'),
    ],
)
def test_these_are_no_equals(one: str, other: str) -> None:
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1.50", "15e-1"), ('"\\u00fc\\/"', '"ü/"'), ('{"\\u0061":0}', '{ "a" : 0 }'), ("-1", " -1 ")],
)
def test_these_are_equals(one: str, other: str) -> None:
    assert digest(one) == digest(other)


def test_a_request_is_its_route_and_all_its_texts_to_their_end() -> None:
    alone = digest("{}")
    assert digest("{}", "{}") != alone
    assert digest("{}", route="POST /timers/batch") != alone
    unended = Fingerprint("POST /timers")
    for _ in unended.reading(b"{}"):
        pass
    assert unended.digest != alone


def test_great_texts_are_read_in_steps() -> None:
    fingerprint = Fingerprint("POST /timers")
    steps = sum(1 for _ in fingerprint.reading(json.dumps([{"a": [1]}] * 10_000).encode()))
    assert steps > 200
