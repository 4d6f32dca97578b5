from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from timer_trio.api.fields.exactly_one import exactly_one
from timer_trio.api.openapi.examples import ID, INSTANT, example_of

DEFINITIONS: dict[str, Any] = {
    "Color": {"enum": ["red", "blue"]},
    "Shape": {
        "type": "object",
        "properties": {
            "color": {"$ref": "#/components/schemas/Color"},
            "corners": {"type": "integer", "examples": [3]},
            "remark": {"type": "string"},
        },
        "required": ["color", "corners"],
    },
}


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"const": "up"}, "up"),
        ({"enum": [2, 7]}, 2),
        ({"type": "boolean"}, False),
        ({"type": "string", "format": "uuid"}, ID),
        ({"type": "string", "format": "date-time"}, INSTANT),
        ({"type": "string", "format": "date-time", "examples": ["now"]}, "now"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "examples": ["a"]}, "a"),
        ({"$ref": "#/components/schemas/Color"}, "red"),
        ({"$ref": "#/components/schemas/Color", "examples": ["blue"]}, "blue"),
        ({"$ref": "#/components/schemas/Shape"}, {"color": "red", "corners": 3}),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Color"}}, ["red"]),
    ],
)
def test_example_is_a_schema_own_or_made_of_its_parts(schema: Any, example: object) -> None:
    assert example_of(schema, DEFINITIONS) == example


@pytest.mark.parametrize("kind", ["string", "integer", "number"])
def test_what_no_type_tells_needs_an_example(kind: str) -> None:
    with pytest.raises(LookupError, match="needs an example"):
        example_of({"type": kind}, DEFINITIONS)


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c"), ("a", "b", "c", "d")])
def test_exactly_one_is_required(names: tuple[str, ...]) -> None:
    validator = Draft202012Validator(exactly_one(names))
    for count in range(len(names) + 1):
        for given in combinations(names, count):
            assert validator.is_valid(dict.fromkeys(given, 1)) == (count == 1)
