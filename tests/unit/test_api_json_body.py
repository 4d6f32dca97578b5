from __future__ import annotations

import json
import time
from collections.abc import Container, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from timer_trio.api.body import json_body
from timer_trio.api.body.json_body import MAX_MEMBERS, reading_object
from timer_trio.api.body.json_text import MAX_DEPTH
from timer_trio.api.errors import InvalidRequestError

MOST_VALUES = 10_000


class Everything:
    def __contains__(self, _name: object) -> bool:
        return True


def parse_object(
    raw: bytes, *, verbatim: str, known: Container[str] = Everything()
) -> dict[str, object]:
    """Read a body without a pause."""
    steps = reading_object(raw, verbatim=verbatim, known=known, most_values=MOST_VALUES)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return dict(end.value)


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


@pytest.fixture(scope="module", autouse=True, params=["at once", "in steps"])
def _way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Read every body of this module at once if it is short, and again in steps whatever it is."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in steps":
            patch.setattr(json_body, "AT_ONCE_BYTES", -1)
        yield


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
    keys = ", ".join(f'"{number}": 1' for number in (*range(MOST_VALUES - 1), MOST_VALUES - 2))
    with pytest.raises(InvalidRequestError, match=f"the key '{MOST_VALUES - 2}' appears twice"):
        parse_object(f'{{"metadata": {{{keys}}}}}'.encode(), verbatim="payload")


def test_what_is_built_has_only_so_many_values() -> None:
    raw = b'{"payload": [%b], "other": {"a": [%b]}}'
    great = b"0," * MOST_VALUES + b"0"
    parse_object(raw % (great, b"0," * (MOST_VALUES - 2) + b"0"), verbatim="payload")
    with pytest.raises(InvalidRequestError, match="other: has too many keys and array elements"):
        parse_object(raw % (great, great), verbatim="payload")


def test_a_great_value_that_nobody_knows_is_not_built() -> None:
    raw = b'{"payolad": [%b], "a": 1}' % (b"0," * 200_000 + b"0")
    members = parse_object(raw, verbatim="payload", known=("a", "payload"))
    assert members == {"payolad": None, "a": 1}


def test_body_of_very_many_members_is_read_no_further() -> None:
    raw = b"{%b" % b",".join(b'"%d":1' % number for number in range(100_000))
    assert len(parse_object(raw, verbatim="payload")) == MAX_MEMBERS + 1


TOKENS = ["{", "}", "[", "]", ",", ":", '"', "a", "\\", "u0000", "ud83d", "\\ude00", "1", "0"]
TOKENS += ["-", ".", "e99", "E999", "null", "true", "NaN", " ", "\n", "\x7f", "é", '"a":', '"b",']


@given(st.lists(st.sampled_from(TOKENS), max_size=14).map("".join))
def test_a_value_is_the_same_whichever_way_it_is_read(text: str) -> None:
    for member in ("payload", "other"):
        raw = f'{{"{member}": [{text}]}}'.encode()
        results: list[object] = []
        for at_once in (4_096, -1):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(json_body, "AT_ONCE_BYTES", at_once)
                try:
                    results.append(parse_object(raw, verbatim="payload"))
                except InvalidRequestError:
                    results.append("refused")
        assert results[0] == results[1]


NAMES = ['"payload"', '"a"', '"\\"payload"', '"p\\u0061yload"', '""', '"payload" ', " 'a'"]
MEMBER_VALUES = ["1", '"x"', '"payload"', '{"payload":1}', '[{"a":1,"a":2}]', '"\\"payload"', "NaN"]
MEMBER_VALUES += ['"\\u0000"', '"\\ud800"', '"é"', "[", '{"b":{}}', "01", '"payload":2', " null "]


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(MEMBER_VALUES)), max_size=4),
    st.sampled_from(["payload", ""]),
)
@example([('"a"', '{"payload":1}'), ('"payload"', "2")], "payload")
@example([('"a"', '{"payload":1}')], "payload")
def test_space_behind_an_object_changes_nothing(
    members: list[tuple[str, str]], verbatim: str
) -> None:
    text = "{" + ",".join(f"{name}:{value}" for name, value in members) + "}"
    results: list[object] = []
    for raw in (text.encode(), f"{text} ".encode()):
        try:
            results.append(parse_object(raw, verbatim=verbatim))
        except InvalidRequestError as error:
            results.append(error.errors)
    assert results[0] == results[1]
