"""The OpenAPI document, assembled from the routes and the very models that read and answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from timer_trio import __version__
from timer_trio.api.auth import API_KEY_HEADER, PROJECT_HEADER
from timer_trio.api.body.json_text import MAX_DEPTH, MAX_DIGITS
from timer_trio.api.body.media import JSON
from timer_trio.api.context import ApiContext
from timer_trio.api.errors import MAX_ERRORS, Code
from timer_trio.api.fields.exactly_one import exactly_one
from timer_trio.api.key_limits import POLICY_FIELD, STATE_FIELD
from timer_trio.api.openapi.envelope_schema import (
    answer,
    envelope,
    enveloped,
    refusal_schemas,
    refusals,
    schema_named,
    with_limit_fields,
)
from timer_trio.api.openapi.examples import example_of
from timer_trio.api.page import MEDIA as PAGE
from timer_trio.api.route import FROM_THE_GUARD, REPLAYED, Body, Json, Operation, Route, Success
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.project import Scope
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import Delivery, Method

_Mode = Literal["validation", "serialization"]
_READ: Final = "validation"
_WRITTEN: Final = "serialization"

_Described = tuple[Route, Operation]
_Schemas = Mapping[tuple[str, _Mode], Json]

_DESCRIPTION: Final = f"""\
Tell it when and where, and it makes the HTTP call at that instant.

Every JSON answer is an envelope: `code` (0 success, 1 internal error, 2 invalid request, 3 not \
found, 4 unauthorized, 5 conflict, 6 too many requests, 7 forbidden), `message` in words, and \
`data`. A validation error names the first offending field in `message` and lists them, up to \
{MAX_ERRORS}, in `data.errors`.

Requests are read strictly. An unknown field or parameter, one given twice, and a duplicate key \
are refused; so are NaN and Infinity, lone surrogates, NUL characters, integers of more than \
{MAX_DIGITS:,} digits, more than {MAX_DEPTH} levels of nesting, and bytes that are not UTF-8 or \
begin with a byte order mark. `callback_payload` is passed on as it arrives, so it may hold \
duplicate keys, NUL characters and integers of any size.

Times are RFC 3339 with an offset, from 1970 to 9999; answers are in UTC.

The key goes into `{API_KEY_HEADER}`, or into `Authorization: Bearer …`; two different ones are \
refused. Without it every route but `/`, `/health`, `/health/*`, `/openapi.json`, `/docs` and the \
pages of the console, which have a sign-in of their own, answers 401, unknown ones included; an \
address that sends too many wrong ones gets a 429 for them.

A project may limit how many requests each of its keys sends (`rate_limit`). All answers to such a \
key carry `{POLICY_FIELD}` and `{STATE_FIELD}`, of draft-ietf-httpapi-ratelimit-headers; what goes \
beyond the limit is answered 429, and `Retry-After` says in how many seconds there is room again.

A project may also limit how many of its timers are pending, executing or retrying \
(`max_live_timers`). What would make more live, be it by a create, a batch, a line of an import, a \
redrive, a trigger or a backfill, is answered 403 with code 6 once that is used up, and nothing of \
it is done. Occurrences that a schedule plans and results are neither refused nor counted.

All is in a project, and sees nothing of the others: a foreign id is a 404. A key of \
`POST /keys` is of one project, and for the scopes that it was given; one that lacks what a route \
needs is answered 403. The key of the whole service, `API_KEY`, is for all routes: it acts in the \
project `default`, or in the one that `{PROJECT_HEADER}` names. With any other key that header \
must name the key's own project, or is left out."""

_TAGS: Final = {
    "timers": "Callbacks to be made, each at its instant.",
    "schedules": "Rules whose occurrences are timers, written ahead of their instants.",
    "flows and pauses": "What holds callbacks back: limits of a flow, and pauses of flows, "
    "destinations and the project.",
    "projects": "Spaces of their own, each with its settings; for `API_KEY`.",
    "keys": "Who may use a project, and for what.",
    "signing secrets": "What signs the project's callbacks.",
    "audit": "Who changed what, and when.",
    "operation": "For whoever runs the service.",
    "clock": "Time, on a service for tests.",
}
"""In the order in which they are told of."""


def openapi_document(routes: Sequence[Route], context: ApiContext) -> Json:
    """Describe those of the routes that have an operation."""
    described = [(route, route.operation) for route in routes if route.operation]
    schemas, shared = TypeAdapter.json_schemas(
        list(_models(described)), ref_template="#/components/schemas/{model}"
    )
    definitions = shared["$defs"]
    _add_rules(definitions, context)
    paths = _paths(described, schemas, definitions)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "timer-trio",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": context.root_path or "/"}],
        "security": [{"ApiKey": []}, {"Bearer": []}],
        "tags": [
            {"name": name, "description": words}
            for name, words in _TAGS.items()
            if any(operation.tag == name for _, operation in described)
        ],
        "paths": paths,
        "components": {
            "schemas": {**definitions, **refusal_schemas()},
            "responses": refusals(),
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": API_KEY_HEADER},
                "Bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _models(described: Iterable[_Described]) -> Iterator[tuple[str, _Mode, TypeAdapter[Any]]]:
    adapter_of = cache(TypeAdapter)  # some data is answered with by many routes
    for route, operation in described:
        if route.body is not None:
            yield operation.name, _READ, route.body.model
        if operation.success.data is not None:
            yield operation.name, _WRITTEN, adapter_of(operation.success.data)


def _add_rules(definitions: Json, context: ApiContext) -> None:
    """Write down what the types cannot say: defaults, and which fields exclude each other."""
    creates = [definitions[f"{kind}CreateRequest"] for kind in ("", "Named", "OneOfMany")]
    update = definitions["UpdateRequest"]
    update["minProperties"] = 1
    for request in (update, definitions["RedriveRequest"]):
        request["not"] = {"required": ["execute_at", "delay"]}
    for request in (*creates, update):
        _tell_most_metadata(request["properties"]["metadata"], context.max_metadata_keys)
    for create in creates:
        create.update(exactly_one(["execute_at", "delay"]))
        _add_defaults(create, context)
    for kind in ("Create", "Update"):
        schedule = definitions[f"Schedule{kind}Request"]["properties"]["metadata"]
        _tell_most_metadata(schedule, context.max_metadata_keys)
    _add_defaults(definitions["ScheduleCreateRequest"], context)
    for field in definitions["ScheduleUpdateRequest"]["properties"].values():
        field.pop("default", None)  # what is left out of an update stays as it is


def _add_defaults(create: Json, context: ApiContext) -> None:
    for field, default in {
        "callback_method": Method.POST.value,
        "timeout_seconds": context.default_timeout_s,
        "delivery": Delivery.AT_LEAST_ONCE.value,
        "misfire_grace_seconds": context.default_misfire_grace_s,
        "retry": None,
        "store_response": StoreResponse.FAILURES.value,
        "signing": Signing.DEFAULT.value,
    }.items():
        create["properties"][field]["default"] = default


def _tell_most_metadata(schema: Json, most: int) -> None:
    words = f" At most {most:,} keys and array elements, counted at every depth."
    schema["description"] += words
    next(kind for kind in schema["anyOf"] if kind["type"] == "object")["maxProperties"] = most


def _paths(described: Sequence[_Described], schemas: _Schemas, definitions: Json) -> Json:
    """Describe the routes, and add the envelopes of what they answer to the definitions."""
    paths: Json = {}
    to_timer, to_schedule = (_links(described, name) for name in ("timer_id", "schedule_id"))
    for route, operation in described:
        written, success = _operation(route, operation, schemas, definitions), operation.success
        if success.makes_a_timer or success.makes_a_schedule:
            links = to_timer if success.makes_a_timer else to_schedule
            written["responses"][str(success.status)]["links"] = links
        paths.setdefault(route.path, {})[route.method.lower()] = written
    return paths


def _operation(route: Route, operation: Operation, schemas: _Schemas, definitions: Json) -> Json:
    data = schemas.get((operation.name, _WRITTEN))
    written: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        "responses": _responses(route, operation, data, definitions),
    }
    if operation.parameters:
        written["parameters"] = list(operation.parameters)
    if route.body is not None:
        written["requestBody"] = _request_body(route.body, schemas[operation.name, _READ])
    if route.is_open:
        written["security"] = []
    else:
        scope = route.needed_scope.value
        written["description"] += f"\n\n{_who_may(route)}"
        written["security"] = [{"ApiKey": [scope]}, {"Bearer": [scope]}]
    return written


def _who_may(route: Route) -> str:
    scope = f"`{route.needed_scope.value}`"
    if not route.is_of_service:
        return f"Scope: {scope}."
    if route.needed_scope is Scope.METRICS:
        return f"For `API_KEY`, and keys of the project `default` with the scope {scope}."
    return "For `API_KEY` alone."


def _request_body(body: Body, schema: Json) -> Json:
    return {
        "required": body.is_required,
        "description": body.limits,
        "content": {body.media: {"schema": schema, "example": body.example}},
    }


def _responses(route: Route, operation: Operation, data: Json | None, definitions: Json) -> Json:
    success = operation.success
    of_guard = () if route.is_open else FROM_THE_GUARD
    responses: Json = {
        str(status): {"$ref": f"#/components/responses/{status}"}
        for status in (*operation.refusals, *of_guard, 405)
    }
    written = _success(success, data, definitions)
    responses[str(success.status)] = written if route.is_open else with_limit_fields(written)
    if success.also is not None:
        also = replace(success, makes_a_timer=False, makes_a_schedule=False, may_be_replayed=False)
        responses[str(success.also)] = _success(also, data, definitions)
    if success.down is not None and data is not None:
        told = {**example_of(data, definitions), **success.down}
        schema = _schema_of_envelope(Code.INTERNAL, data, definitions)
        example = enveloped(Code.INTERNAL, str(success.down["status"]), told)
        responses["503"] = answer("It is not.", schema, "Retry-After", example=example)
    return dict(sorted(responses.items()))


def _success(success: Success, data: Json | None, definitions: Json) -> Json:
    if data is None:
        kind = "object" if success.media == JSON else "string"
        return answer(success.words, {"type": kind}, example=success.example, media=success.media)
    headers = ("Location",) if success.makes_a_timer or success.makes_a_schedule else ()
    schema = _schema_of_envelope(Code.SUCCESS, data, definitions)
    told = {**example_of(data, definitions), **(success.example or {})}
    example = enveloped(Code.SUCCESS, "success", told)
    written = answer(success.words, schema, *headers, example=example)
    if success.may_be_replayed:
        words = "The answer is that of an earlier request with this key."
        written.setdefault("headers", {})[REPLAYED] = {
            "description": words,
            "required": False,
            "schema": {"const": "true"},
        }
    if success.has_page:
        written["content"][PAGE] = {"schema": {"type": "string"}, "example": "<!doctype html>…"}
    return written


def _schema_of_envelope(code: Code, data: Json, definitions: Json) -> Json:
    """Name the envelope around data among the definitions."""
    told = data["$ref"].rpartition("/")[2].removesuffix("Data")
    name = f"{told}Answer" if code is Code.SUCCESS else f"{told}FailedAnswer"
    definitions[name] = envelope(code, data)
    return schema_named(name)


def _links(described: Iterable[_Described], name: str) -> Json:
    """Return where the id of what is new leads, as the parameter of this name."""
    parameters = {name: "$response.body#/data/id"}
    return {
        operation.name: {"operationId": operation.name, "parameters": parameters}
        for route, operation in described
        if f"{{{name}}}" in route.path
    }
