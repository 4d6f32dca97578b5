"""Fields that exclude each other, one of which is required, as JSON Schema."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic.config import JsonDict


def exactly_one(names: Sequence[str]) -> JsonDict:
    """Return members of an object's schema: exactly one of these fields is there.

    Generators of clients take `oneOf` for a choice between types, and lose the fields beside it;
    what `if` says they leave to the service.
    """
    first, *others = names
    if not others:
        return {"required": [first]}
    none_else: JsonDict = {"not": {"anyOf": [{"required": [name]} for name in others]}}
    return {"if": {"required": [first]}, "then": none_else, "else": exactly_one(others)}
