"""The OpenAPI document, assembled from the very models that read requests and shape answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from timer_trio import __version__
from timer_trio.api.auth import API_KEY_HEADER
from timer_trio.api.body.json_text import MAX_DEPTH, MAX_DIGITS
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import MAX_ERRORS, Code
from timer_trio.api.fields.timer import CREATE, UPDATE
from timer_trio.api.openapi.envelope_schema import answer, envelope, refusals
from timer_trio.api.operations import OPERATIONS, Operation
from timer_trio.api.page import MEDIA as PAGE
from timer_trio.api.routes.batch import BATCH
from timer_trio.domain.timer import Delivery, Method

Json = dict[str, Any]
_Mode = Literal["validation", "serialization"]

_DESCRIPTION: Final = f"""\
Tell it when and where, and it makes the HTTP call at that instant.

Every JSON answer is an envelope: `code` (0 success, 1 internal error, 2 invalid request, 3 not \
found, 4 unauthorized), `message` in words, and `data`. A validation error names the first \
offending field in `message` and lists them, up to {MAX_ERRORS}, in `data.errors`.

Requests are read strictly. An unknown field or parameter, one given twice, and a duplicate key \
are refused; so are NaN and Infinity, lone surrogates, NUL characters, integers of more than \
{MAX_DIGITS:,} digits, more than {MAX_DEPTH} levels of nesting, and bytes that are not UTF-8 or \
begin with a byte order mark. `callback_payload` is passed on as it arrives, so it may hold \
duplicate keys, NUL characters and integers of any size.

Times are RFC 3339 with an offset, from 1970 to 9999; answers are in UTC.

The key goes into `{API_KEY_HEADER}`, or into `Authorization: Bearer …`; two different ones are \
refused. Without it every route but `/`, `/health`, `/health/*`, `/openapi.json` and `/docs` \
answers 401, unknown ones included."""


def openapi_document(context: ApiContext) -> Json:
    requests: list[tuple[str, _Mode, TypeAdapter[Any]]] = [
        ("createRequest", "validation", CREATE),
        ("updateRequest", "validation", UPDATE),
        ("batchRequest", "validation", BATCH),
    ]
    answers: list[tuple[str, _Mode, TypeAdapter[Any]]] = [
        (operation.name, "serialization", operation.data)
        for operation in OPERATIONS
        if operation.data is not None
    ]
    schemas, shared = TypeAdapter.json_schemas(
        requests + answers, ref_template="#/components/schemas/{model}"
    )
    _add_rules(shared["$defs"], context)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "timer-trio",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"ApiKey": []}, {"Bearer": []}],
        "paths": _paths({name: schema for (name, _), schema in schemas.items()}, context),
        "components": {
            "schemas": shared["$defs"],
            "responses": refusals(),
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": API_KEY_HEADER},
                "Bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _add_rules(definitions: Json, context: ApiContext) -> None:
    """Write down what the types cannot say: defaults, and which fields exclude each other."""
    definitions["ImportRequest"] = {
        "type": "string",
        "description": "Lines of JSON, each as CreateRequest.",
    }
    create, update = definitions["CreateRequest"], definitions["UpdateRequest"]
    create["oneOf"] = [{"required": ["execute_at"]}, {"required": ["delay"]}]
    update["minProperties"] = 1
    update["not"] = {"required": ["execute_at", "delay"]}
    for request in (create, update):
        _tell_most_metadata(request["properties"]["metadata"], context.max_metadata_keys)
    for field, default in {
        "callback_method": Method.POST.value,
        "timeout_seconds": context.default_timeout_s,
        "delivery": Delivery.AT_LEAST_ONCE.value,
        "misfire_grace_seconds": context.default_misfire_grace_s,
    }.items():
        create["properties"][field]["default"] = default


def _tell_most_metadata(schema: Json, most: int) -> None:
    words = f" At most {most:,} keys and array elements, counted at every depth."
    schema["description"] += words
    next(kind for kind in schema["anyOf"] if kind["type"] == "object")["maxProperties"] = most


def _paths(data: Mapping[str, Json], context: ApiContext) -> Json:
    paths: Json = {}
    for operation in OPERATIONS:
        written = _operation(operation, data.get(operation.name), context)
        paths.setdefault(operation.path, {})[operation.method.lower()] = written
    return paths


def _operation(operation: Operation, data: Json | None, context: ApiContext) -> Json:
    written: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        "responses": _responses(operation, data),
    }
    if operation.parameters:
        written["parameters"] = list(operation.parameters)
    if operation.body is not None:
        schema = {"$ref": f"#/components/schemas/{operation.body}"}
        written["requestBody"] = {
            "required": True,
            "description": operation.body_words.format(max_body_bytes=context.max_body_bytes),
            "content": {operation.takes: {"schema": schema, "example": operation.example}},
        }
    if operation.is_open:
        written["security"] = []
    return written


def _responses(operation: Operation, data: Json | None) -> Json:
    responses: Json = {
        str(status): {"$ref": f"#/components/responses/{status}"}
        for status in (*operation.refusals, 405)
    }
    if data is None:
        kind = "object" if operation.media == "application/json" else "string"
        success = answer(operation.answer, {"type": kind}, media=operation.media)
    else:
        headers = ("Location",) if operation.makes_a_timer else ()
        success = answer(operation.answer, envelope(Code.SUCCESS, data), *headers)
    if operation.has_page:
        success["content"][PAGE] = {"schema": {"type": "string"}}
    if operation.makes_a_timer:
        success["links"] = _links()
    responses[str(operation.status)] = success
    if operation.down_with_data and data is not None:
        down = answer("It is not.", envelope(Code.INTERNAL, data), "Retry-After")
        responses["503"] = down
    return dict(sorted(responses.items()))


def _links() -> Json:
    """Say where the id of a new timer leads."""
    parameters = {"timer_id": "$response.body#/data/id"}
    return {
        operation.name: {"operationId": operation.name, "parameters": parameters}
        for operation in OPERATIONS
        if "{timer_id}" in operation.path
    }
