from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_trio.api.errors import InvalidRequestError
from timer_trio.api.json_body import MAX_DEPTH, parse_object

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@given(
    members=st.dictionaries(TEXT, VALUES, max_size=5),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 2]),
)
def test_every_json_object_is_read_as_json_reads_it(
    members: dict[str, object], *, ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps(members, ensure_ascii=ascii_only, indent=indent).encode()
    assert parse_object(raw, verbatim="\0") == members


@given(VALUES, st.sampled_from(["", " ", "\n\t\r "]))
def test_the_verbatim_member_is_the_text_that_arrived(value: object, space: str) -> None:
    text = json.dumps(value, indent=1)
    raw = f'{{"a": 1, "payload"{space}:{space}{text}{space}, "b": [2]}}'.encode()
    assert parse_object(raw, verbatim="payload") == {"a": 1, "payload": text, "b": [2]}


@given(st.binary())
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    try:
        parse_object(raw, verbatim="payload")
    except InvalidRequestError:
        return
    assert isinstance(json.loads(raw), dict)


@given(st.text('{}[]":,\\u0d8dc1eE+-.nulltruefs \n', max_size=60))
def test_what_is_accepted_is_json(text: str) -> None:
    try:
        members = parse_object(f'{{"a":{text}}}'.encode(), verbatim="payload")
    except InvalidRequestError:
        return
    assert json.loads(f'{{"a":{text}}}') == members


@pytest.mark.parametrize("name", ["payload", "other"])
def test_nesting_is_allowed_up_to_the_limit(name: str) -> None:
    def nested(levels: int) -> bytes:
        return f'{{"{name}": {"[" * levels}"]{{"{"]" * levels}}}'.encode()

    parse_object(nested(MAX_DEPTH - 1), verbatim="payload")
    with pytest.raises(InvalidRequestError, match="nested too deep"):
        parse_object(nested(MAX_DEPTH), verbatim="payload")


def test_brackets_in_strings_are_no_nesting() -> None:
    text = '\\"' + "[{" * 500
    parse_object(f'{{"a": "{text}"}}'.encode(), verbatim="payload")


def test_duplicate_keys_stay_only_in_the_verbatim_member() -> None:
    twice = '{"x": 1, "x": 2}'
    members = parse_object(f'{{"payload": {twice}}}'.encode(), verbatim="payload")
    assert members == {"payload": twice}
    with pytest.raises(InvalidRequestError, match="other: the key 'x' appears twice"):
        parse_object(f'{{"other": {twice}}}'.encode(), verbatim="payload")


def test_a_surrogate_pair_is_a_character() -> None:
    assert parse_object(b'{"a": "\\ud83d\\ude00"}', verbatim="payload") == {"a": "\U0001f600"}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": "' + b'\\"' * 120_000,
        b'{"a": "' + b"\\" * 240_001,
        b"[" * 240_000,
        b'{"a": ' + b"[[]," * 60_000,
        b'{"a": ' + b"9" * 240_000 + b"}",
        b'{"a": ' + b" " * 240_000,
        b'{"a": "' + b"\\ud800" * 40_000 + b'"}',
    ],
)
def test_hostile_bodies_cost_linear_time(raw: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(InvalidRequestError):
        parse_object(raw, verbatim="payload")
    assert time.process_time() - begun < 1  # quadratic time would take minutes


def test_an_integer_of_any_size_passes_through_in_linear_time() -> None:
    digits = "9" * 240_000
    members = parse_object(f'{{"payload": {digits}}}'.encode(), verbatim="payload")
    assert members == {"payload": digits}


def test_a_key_that_comes_twice_is_found_among_very_many() -> None:
    keys = ", ".join(f'"{number}": 1' for number in (*range(300_000), 299_999))
    with pytest.raises(InvalidRequestError, match="the key '299999' appears twice"):
        parse_object(f'{{"metadata": {{{keys}}}}}'.encode(), verbatim="payload")
