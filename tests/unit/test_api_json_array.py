from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_api_json_body import TEXT, VALUES
from timer_trio.api.body.json_array import objects_in
from timer_trio.api.errors import InvalidRequestError

MOST = 262_144


def objects(raw: bytes, member: str, most_bytes: int) -> list[bytes]:
    return [each for each in objects_in(raw, member, most_bytes) if each is not None]


@given(
    wanted=st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=4),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 2]),
)
def test_every_object_comes_as_it_was_written(
    wanted: list[dict[str, object]], *, ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps({"timers": wanted}, ensure_ascii=ascii_only, indent=indent).encode()
    found = objects(raw, "timers", MOST)
    assert [json.loads(each) for each in found] == wanted
    assert all(each in raw for each in found)


@given(st.binary(max_size=60) | st.text('{}[]":,\\u0timers \n', max_size=60).map(str.encode))
def test_any_bytes_are_split_or_refused(raw: bytes) -> None:
    for body in (raw, b'{"timers":[' + raw, b'{"timers":[' + raw + b"]}"):
        try:
            objects(body, "timers", MOST)
        except InvalidRequestError:
            continue


@given(st.text('{}[]":,\\e1 \n', max_size=40))
def test_what_json_reads_is_split_as_json_reads_it(text: str) -> None:
    raw = f'{{"timers": [{text}]}}'
    try:
        expected = json.loads(raw)["timers"]
    except ValueError:
        return
    if all(isinstance(each, dict) for each in expected):
        found = objects(raw.encode(), "timers", MOST)
        assert [json.loads(each) for each in found] == expected


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 50])
def test_braces_end_an_object_however_deep_it_is(levels: int) -> None:
    deep = b'{"}{":' * levels + b'"}]"' + b"}" * levels
    raw = b'{"timers":[' + deep + b" , " + deep + b"]}"
    assert objects(raw, "timers", MOST) == [deep, deep]


def test_an_object_is_as_long_as_it_may_be() -> None:
    raw = b'{"timers":[{"a":"bcd"}]}'
    assert objects(raw, "timers", 11) == [b'{"a":"bcd"}']
    with pytest.raises(InvalidRequestError, match=r"timers\[0\]: is too large"):
        objects(raw, "timers", 10)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":' * 1_000_000,
        b'{"a":"' + b'\\"' * 4_000_000,
        b"{" + b'"",' * 2_000_000,
        b"{" + b"{}," * 2_000_000,
        b'{"a":' + b"[" * 8_000_000,
    ],
)
def test_a_hostile_object_costs_no_more_than_its_limit(raw: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(InvalidRequestError, match="too large"):
        objects(b'{"timers":[' + raw, "timers", MOST)
    assert time.process_time() - begun < 1  # without the limit it would take many
