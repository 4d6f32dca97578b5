"""The OpenAPI document as a page for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from timer_trio.api.auth import API_KEY_HEADER
from timer_trio.api.body.media import JSON
from timer_trio.api.page import page

Json = Mapping[str, Any]


def page_of(document: Json) -> str:
    info = document["info"]
    operations = [
        _operation(document, method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    title = f"{info['title']} {info['version']}"
    intro = f"<h1>{escape(title)}</h1>{_prose(info['description'])}"
    link = '<p>For machines: <a href="/openapi.json">/openapi.json</a></p>'
    return page(title, f"{intro}{link}{''.join(operations)}")


def _operation(document: Json, method: str, path: str, operation: Json) -> str:
    parts = [
        f"<h2><b>{method.upper()}</b> {escape(path)}</h2>",
        f"<p class='summary'>{escape(operation['summary'])}</p>",
        _prose(operation["description"]),
    ]
    if operation.get("parameters"):
        rows = [_row(p["name"], p["schema"], p["description"]) for p in operation["parameters"]]
        parts.append(_table("Parameters", rows))
    body = operation.get("requestBody", {"content": {}})
    if fields := body["content"].get(JSON):
        parts.append(_fields("Fields", document, fields["schema"]))
    if body["content"]:
        parts.append(_prose(body["description"]))
    parts.append(_curl(method, path, body["content"], is_open="security" in operation))
    parts += _answers(document, operation["responses"])
    return f"<section>{''.join(parts)}</section>"


def _answers(document: Json, responses: Json) -> Iterable[str]:
    described = {status: _resolved(document, answer) for status, answer in responses.items()}
    cells = ((status, answer["description"]) for status, answer in described.items())
    rows = (f"<tr><td>{status}</td><td>{_inline(words)}</td></tr>" for status, words in cells)
    yield _table("Answers", rows)
    for status, answer in described.items():
        schema = answer["content"].get("application/json", {}).get("schema", {})
        if status.startswith("2") and "properties" in schema:
            data = schema["properties"]["data"]
            yield _fields("Data", document, data)
            for name, field in _resolved(document, data)["properties"].items():
                if "properties" in _resolved(document, field.get("items", {})):
                    yield _fields(f"Each of <code>{name}</code>", document, field["items"])


def _fields(title: str, document: Json, schema: Json) -> str:
    schema = _resolved(document, schema)
    rows = []
    for name, field in schema["properties"].items():
        whole = {**_resolved(document, field), **field}
        rows.append(_row(name, whole, whole.get("description", "")))
    return _table(title, rows)


def _row(name: str, schema: Json, words: str) -> str:
    facts = escape("; ".join(_facts(schema)))
    told = f"{_inline(words)}<div class='facts'>{facts}</div>"
    return f"<tr><td><code>{escape(name)}</code></td><td>{told}</td></tr>"


_LIMITS: Final = {
    "minimum": "at least {:,}",
    "maximum": "at most {:,}",
    "maxLength": "at most {:,} characters",
    "maxProperties": "at most {} entries",
    "default": "default {}",
}


def _facts(schema: Json) -> Iterable[str]:
    """Yield what a schema allows, in words."""
    parts = (schema, *schema.get("anyOf", ()))
    kinds = [str(part.get("format", part["type"])) for part in parts if "type" in part]
    if kinds:
        yield " or ".join(kinds)
    for part in parts:
        if "enum" in part:
            yield "one of " + ", ".join(part["enum"])
        yield from (words.format(part[key]) for key, words in _LIMITS.items() if key in part)


def _curl(method: str, path: str, content: Json, *, is_open: bool) -> str:
    key = "" if is_open else f" -H '{API_KEY_HEADER}: …'"
    words = f"curl -X {method.upper()}{key} http://localhost:8080{path}"
    for media, described in content.items():
        example = described["example"]
        written = f"-d '{json.dumps(example)}'" if media == JSON else f"--data-binary '{example}'"
        words += f" \\\n  -H 'Content-Type: {media}' \\\n  {written}"
    return f"<pre>{escape(words)}</pre>"


def _resolved(document: Json, schema: Json) -> Json:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found  # type: ignore[no-any-return]


def _table(title: str, rows: Iterable[str]) -> str:
    return f"<h3>{title}</h3><table>{''.join(rows)}</table>"


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n"))


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
