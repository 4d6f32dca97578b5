from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types
from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from timer_trio.api.errors import FieldError, InvalidRequestError
from timer_trio.api.fields.retry import (
    RETRY_FIELDS,
    RetryField,
    RetryRequest,
    StoreResponseField,
    policy_of,
)
from timer_trio.api.fields.rules import Rules
from timer_trio.api.requests import _validated
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.rendering import retry_data
from timer_trio.domain.retry import RetryPolicy


@with_config(ConfigDict(strict=True, extra="forbid"))
class Body(TypedDict, total=False):
    retry: RetryField
    store_response: StoreResponseField


BODY: Final = TypeAdapter(Body)
RETRY: Final = TypeAdapter[RetryRequest | None](RetryField)
RULES: Final = Rules(timeout_s=30, misfire_grace_s=300, max_metadata_keys=100, guard=AddressGuard())


def read(body: Mapping[str, object]) -> Body:
    return cast("Body", _validated(cast("Any", BODY), body, RULES, []))


def faults_of(body: Mapping[str, object]) -> list[FieldError]:
    try:
        read(body)
    except InvalidRequestError as error:
        return list(error.errors)
    return []


def policy(retry: object) -> RetryPolicy | None:
    return policy_of(read({"retry": retry})["retry"])


# What is wrong is told by its name and with what to do.

WHOLE: Final = "must be a whole number, written without a decimal point"
NUMBER: Final = "must be a number"
NO_OBJECTS: Final[tuple[object, ...]] = (0, 5, 1.5, True, False, "", "x", [])
NO_INTEGERS: Final[tuple[object, ...]] = (None, True, False, 5.0, 1.5, "5", [], {}, math.inf)
NO_NUMBERS: Final[tuple[object, ...]] = (True, "1", "PT5M", [], [1], {})
NO_ARRAYS: Final[tuple[object, ...]] = (0, 10, True, "10", "", {}, {"0": 10})


@pytest.mark.parametrize(
    ("retry", "field", "message"),
    [
        *((wrong, "", "must be a JSON object") for wrong in NO_OBJECTS),
        *(({"max_attempts": wrong}, "max_attempts", WHOLE) for wrong in NO_INTEGERS),
        *(
            ({"max_attempts": wrong}, "max_attempts", "must be at least 1")
            for wrong in (0, -1, -(10**400))
        ),
        *(
            ({"max_attempts": wrong}, "max_attempts", "must be at most 50")
            for wrong in (51, 10**400)
        ),
        *(
            ({name: wrong}, name, NUMBER)
            for name in ("initial_delay_seconds", "factor", "max_delay_seconds", "jitter")
            for wrong in (None, *NO_NUMBERS)
        ),
        *(
            ({name: wrong}, name, "must be a finite number")
            for name in RETRY_FIELDS[2:]
            for wrong in (math.nan, math.inf, -math.inf)
        ),
        ({"initial_delay_seconds": 0}, "initial_delay_seconds", "must be at least 0.1"),
        ({"initial_delay_seconds": 0.0999}, "initial_delay_seconds", "must be at least 0.1"),
        ({"initial_delay_seconds": 86_400.1}, "initial_delay_seconds", "must be at most 86,400"),
        ({"factor": 0.999}, "factor", "must be at least 1"),
        ({"factor": -2}, "factor", "must be at least 1"),
        ({"factor": 10.001}, "factor", "must be at most 10"),
        ({"factor": 1e308}, "factor", "must be at most 10"),
        ({"max_delay_seconds": 0}, "max_delay_seconds", "must be at least 0.1"),
        ({"max_delay_seconds": 604_800.5}, "max_delay_seconds", "must be at most 604,800"),
        ({"jitter": -0.001}, "jitter", "must be at least 0"),
        ({"jitter": 1.001}, "jitter", "must be at most 1"),
        ({"jitter": 20}, "jitter", "must be at most 1"),
        *(
            ({"give_up_after_seconds": wrong}, "give_up_after_seconds", NUMBER)
            for wrong in NO_NUMBERS
        ),
        ({"give_up_after_seconds": 0.999}, "give_up_after_seconds", "must be at least 1"),
        ({"give_up_after_seconds": 0}, "give_up_after_seconds", "must be at least 1"),
        ({"give_up_after_seconds": 1e300}, "give_up_after_seconds", "must be at most 315,576,000"),
        *(({"delays": wrong}, "delays", "must be a JSON array") for wrong in NO_ARRAYS),
        ({"delays": []}, "delays", "must have 1 or more elements"),
        ({"delays": [1] * 51}, "delays", "must have at most 50 elements"),
        ({"delays": [1] * 100_000}, "delays", "must have at most 50 elements"),
        *(({"delays": [1, wrong]}, "delays.1", NUMBER) for wrong in (None, *NO_NUMBERS)),
        ({"delays": [0]}, "delays.0", "must be at least 0.1"),
        ({"delays": [-1]}, "delays.0", "must be at least 0.1"),
        ({"delays": [1, 2, 604_801]}, "delays.2", "must be at most 604,800"),
        ({"delays": [math.nan]}, "delays.0", "must be a finite number"),
        *(
            (
                {"delays": [1], name: value},
                "delays",
                f"cannot stand beside {name}: send one or the other",
            )
            for name, value in (
                ("initial_delay_seconds", 10),
                ("factor", 2),
                ("max_delay_seconds", 3_600),
            )
        ),
        (
            {"delays": [1], "factor": 2, "initial_delay_seconds": 10},
            "delays",
            "cannot stand beside initial_delay_seconds, factor: send one or the other",
        ),
        (
            {"max_attemps": 3},
            "max_attemps",
            "is not a field of retry; did you mean max_attempts?",
        ),
        ({"delay": [3]}, "delay", "is not a field of retry; did you mean delays?"),
        ({"callback_url": "x"}, "callback_url", "is not a field of retry"),
        ({"": 1}, "", "is not a field of retry"),
        ({"a\n" * 40: 1}, "a�" * 32 + "…", "is not a field of retry"),
    ],
)
def test_wrong_retry_is_refused_by_the_name_of_its_member(
    retry: object, field: str, message: str
) -> None:
    named = "retry" if not isinstance(retry, dict) else f"retry.{field}"
    assert faults_of({"retry": retry}) == [FieldError(named, message)]


def test_all_wrong_members_are_listed_and_the_misspelled_one_first() -> None:
    wrong = {"max_attempts": 0, "jitter": 2, "facter": 2, "delays": [0, 1, 0]}
    assert [error.field for error in faults_of({"retry": wrong})] == [
        "retry.facter",
        "retry.max_attempts",
        "retry.delays.0",
        "retry.delays.2",
        "retry.jitter",
    ]


@pytest.mark.parametrize("wrong", [None, True, 0, "", "failure", "FAILURES", [], {}, ["all"]])
def test_wrong_store_response_is_refused_with_its_choices(wrong: object) -> None:
    words = "must be 'failures', 'all' or 'none'"
    assert faults_of({"store_response": wrong}) == [FieldError("store_response", words)]


@pytest.mark.parametrize("choice", StoreResponse)
def test_every_choice_of_store_response_is_taken(choice: StoreResponse) -> None:
    assert read({"store_response": choice.value})["store_response"] is choice


def test_unknown_field_of_the_timer_itself_is_still_told_as_such() -> None:
    words = "is not a field of a timer; did you mean callback_url?"
    assert faults_of({"callback_ulr": 1}) == [FieldError("callback_ulr", words)]


# What is right becomes a policy, and comes back.


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (None, None),
        ({}, RetryPolicy()),
        ({"delays": None}, RetryPolicy()),
        ({"delays": None, "factor": 3}, RetryPolicy(factor=3)),
        ({"give_up_after_seconds": None}, RetryPolicy()),
        ({"delays": [10, 60.5]}, RetryPolicy(delays=(10, 60.5))),
        ({"delays": [0.1] * 50, "jitter": 0}, RetryPolicy(delays=(0.1,) * 50, jitter=0)),
        (
            {
                "max_attempts": 50,
                "initial_delay_seconds": 86_400,
                "factor": 10,
                "max_delay_seconds": 604_800,
                "jitter": 1,
                "give_up_after_seconds": 1,
            },
            RetryPolicy(
                max_attempts=50,
                initial_delay_s=86_400,
                factor=10,
                max_delay_s=604_800,
                jitter=1,
                give_up_after_s=1,
            ),
        ),
        (
            {
                "max_attempts": 1,
                "initial_delay_seconds": 0.1,
                "factor": 1,
                "max_delay_seconds": 0.1,
            },
            RetryPolicy(max_attempts=1, initial_delay_s=0.1, factor=1, max_delay_s=0.1),
        ),
    ],
)
def test_policy_is_what_was_asked_for_with_the_defaults(
    retry: object, expected: RetryPolicy | None
) -> None:
    assert policy(retry) == expected


GROWING: Final = st.fixed_dictionaries(
    {},
    optional={
        "initial_delay_seconds": st.floats(0.1, 86_400) | st.integers(1, 86_400),
        "factor": st.floats(1, 10) | st.integers(1, 10),
        "max_delay_seconds": st.floats(0.1, 604_800),
    },
)
LISTED: Final = st.fixed_dictionaries(
    {"delays": st.lists(st.floats(0.1, 604_800), min_size=1, max_size=50)}
)
COMMON: Final = st.fixed_dictionaries(
    {},
    optional={
        "max_attempts": st.integers(1, 50),
        "jitter": st.floats(0, 1),
        "give_up_after_seconds": st.none() | st.floats(1, 315_576_000),
    },
)
ASKED: Final = st.builds(lambda a, b: {**a, **b}, COMMON, GROWING | LISTED)


@given(ASKED)
def test_what_is_answered_can_be_sent_again_and_means_the_same(retry: dict[str, object]) -> None:
    wanted = policy(retry)
    answered = json.loads(json.dumps(retry_data(wanted)))
    assert policy(answered) == wanted
    assert answered.items() >= {n: v for n, v in retry.items() if v is not None}.items()


ANY_VALUE: Final = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.floats())
)


@given(ANY_VALUE | st.dictionaries(st.sampled_from([*RETRY_FIELDS, "x"]), ANY_VALUE))
def test_any_value_is_a_policy_or_refused_in_words(retry: object) -> None:
    for error in faults_of({"retry": retry}):
        assert error.field.startswith("retry")
        assert error.message.startswith(("must", "is not a field of retry", "cannot stand"))


# The schema says what the code does.

SCHEMA: Final = RETRY.json_schema()
CHECKER: Final = Draft202012Validator(SCHEMA)


@given(ASKED)
def test_schema_takes_what_the_code_takes_and_what_it_answers(retry: dict[str, object]) -> None:
    CHECKER.validate(retry)
    CHECKER.validate(retry_data(policy(retry)))


@pytest.mark.parametrize(
    "retry",
    [
        5,
        {"x": 1},
        {"max_attempts": 0},
        {"max_attempts": 51},
        {"delays": []},
        {"delays": [1] * 51},
        {"delays": [0]},
        {"delays": [604_801]},
        {"delays": [1], "factor": 2},
        {"delays": [1], "max_delay_seconds": 2},
        {"delays": [1], "initial_delay_seconds": 2},
        {"jitter": 2},
        {"give_up_after_seconds": 0},
    ],
)
def test_schema_refuses_what_the_code_refuses(retry: object) -> None:
    assert not CHECKER.is_valid(retry)
    assert faults_of({"retry": retry})


def test_schema_describes_every_member_and_takes_its_own_examples_and_defaults() -> None:
    assert SCHEMA["description"]
    members = SCHEMA["$defs"]["RetryRequest"]["properties"]
    assert set(members) == set(RETRY_FIELDS)
    assert all(member["description"] for member in members.values())
    defaults = {n: member["default"] for n, member in members.items() if "default" in member}
    usual = retry_data(RetryPolicy())
    assert usual is not None
    for name in ("initial_delay_seconds", "factor", "max_delay_seconds"):
        # Not as defaults, which generated clients send: these cannot stand beside `delays`.
        assert f"Left out: {usual.pop(name):g}" in members[name]["description"]
    assert defaults == usual
    for example in (None, {}, {"delays": None, "factor": 2}, defaults, *SCHEMA["examples"]):
        CHECKER.validate(example)
        policy(example)
