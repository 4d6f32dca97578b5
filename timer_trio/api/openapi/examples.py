"""Examples of answers, put together from those of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Json = Mapping[str, Any]

ID: Final = "01b8dac5-b40b-7cfb-a8f9-4098702bd73e"
INSTANT: Final = "2030-01-31T09:25:00Z"
_OF_FORMAT: Final = {"uuid": ID, "date-time": INSTANT}


def example_of(schema: Json, definitions: Json) -> Any:
    """Return a value that fits the schema: its own example, or one made of those of its parts.

    What may be null and has no example is null; what may be left out and has none is left out.

    Raises:
        LookupError: it has no example, and its type alone does not tell one.
    """
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example_of(definitions[name], definitions)
    if {"type": "null"} in schema.get("anyOf", ()):
        return None
    return _plain_example(schema, definitions)


def _plain_example(schema: Json, definitions: Json) -> Any:
    match schema:
        case {"const": value} | {"enum": [value, *_]}:
            example = value
        case {"format": str(kind)} if kind in _OF_FORMAT:
            example = _OF_FORMAT[kind]
        case {"type": "boolean"}:
            example = False
        case {"type": "array", "items": items}:
            example = [example_of(items, definitions)]
        case {"type": "object", "properties": properties}:
            example = {
                name: example_of(part, definitions)
                for name, part in properties.items()
                if name in schema["required"] or "examples" in part
            }
        case _:
            raise LookupError(f"{schema} needs an example")
    return example
