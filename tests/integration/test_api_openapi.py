from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import trio
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from tests.api_under_test import SCHEDULE, WANTED, ApiUnderTest, running_api
from tests.contract.timers import ALICE
from timer_trio.api import asgi
from timer_trio.api.openapi.docs_page import SCRIPT_PATH
from timer_trio.api.routes.batch import MAX_BATCH_BYTES
from timer_trio.domain.errors import (
    CreatesUnknownError,
    CreateUnknownError,
    ProjectNotFoundError,
    StorageUnavailableError,
    TooManyPausesError,
)
from timer_trio.domain.membership import ReplicaStats
from timer_trio.domain.timer import TimerId
from timer_trio.domain.token_buckets import TokenBuckets

JSON = {"Content-Type": "application/json"}
WANTED_EVERY = {"every": 60, "callback_url": "https://example.com/hook"}
SELF_EXPLAINING = {
    *("id", "ids", "name", "status", "version", "created_at", "updated_at"),
    *("callback_url", "flow_key", "scopes", "timers"),
    *("code", "data"),  # of an envelope: the description of the whole tells of them
}


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiUnderTest]:
    monkeypatch.setattr(asgi, "DROP_TIMEOUT_S", 0.05)
    async with running_api() as running:
        running.app.config["BODY_TIMEOUT"] = 0.05
        yield running


async def document_of(api: ApiUnderTest) -> Any:
    return (await api.client.get("/openapi.json")).json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def answers(document: Any) -> Iterator[Any]:
    for _, _, operation in operations(document):
        for described in operation["responses"].values():
            yield resolved(document, described)


def resolved(document: Any, part: Any) -> Any:
    if "$ref" not in part:
        return part
    for step in part["$ref"].removeprefix("#/").split("/"):
        document = document[step]
    return document


def check(document: Any, operation: Any, answer: httpx.Response) -> None:
    """Compare an answer with what the document says of its status."""
    described = resolved(document, operation["responses"][str(answer.status_code)])
    for header, words in described.get("headers", {}).items():
        assert header in answer.headers or words.get("required") is False
    media = answer.headers["content-type"]
    content = described["content"][media]
    if media == "application/json":
        schema = {**content["schema"], "components": document["components"]}
        validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        validator.validate(answer.json())


async def test_the_document_names_every_route_and_no_other(api: ApiUnderTest) -> None:
    served = {
        (method, str(rule).replace("<rest:", "{").replace("<", "{").replace(">", "}"))
        for rule in api.app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in {"HEAD", "OPTIONS"}
    }
    document = await document_of(api)
    named = {(method, path) for method, path, _ in operations(document)}
    assert named == served - {("GET", "/docs/style.css"), ("GET", SCRIPT_PATH)}


async def test_every_schema_is_one_and_every_example_fits_it(api: ApiUnderTest) -> None:
    document = await document_of(api)
    components = {"components": document["components"]}
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
        for field in schema.get("properties", {}).values():
            for example in resolved(document, field).get("examples", ()):
                Draft202012Validator({**field, **components}).validate(example)
    for _, _, operation in operations(document):
        if "requestBody" in operation:
            [content] = operation["requestBody"]["content"].values()
            Draft202012Validator({**content["schema"], **components}).validate(content["example"])
    for described in answers(document):
        for content in described["content"].values():
            Draft202012Validator({**content["schema"], **components}).validate(content["example"])


async def test_every_field_is_told_of_that_does_not_explain_itself(api: ApiUnderTest) -> None:
    document = await document_of(api)
    schemas = document["components"]["schemas"]
    untold = {
        field
        for schema in schemas.values()
        for field, part in schema.get("properties", {}).items()
        if not {**resolved(document, part), **part}.get("description")
    }
    assert untold <= SELF_EXPLAINING


async def test_every_tag_is_told_of(api: ApiUnderTest) -> None:
    document = await document_of(api)
    used = [operation["tags"][0] for _, _, operation in operations(document)]
    assert {tag["name"] for tag in document["tags"]} == set(used)


async def test_a_body_with_the_defaults_of_what_it_leaves_out_is_accepted(
    api: ApiUnderTest,
) -> None:
    """Generated clients send them."""
    document = await document_of(api)
    schemas = document["components"]["schemas"]
    for path, body in (
        ("/timers", {**WANTED, "retry": {"delays": [1]}}),
        ("/timers", {**WANTED, "retry": {}}),
        ("/schedules", SCHEDULE),
        ("/schedules", {**WANTED_EVERY, "retry": {"delays": [1]}}),
    ):
        reference = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        whole = with_defaults(resolved(document, reference["schema"]), body, document)
        answer = await api.client.post(path, json=whole)
        assert answer.status_code == 201, answer.text
    for name in ("UpdateRequest", "ScheduleUpdateRequest"):
        assert not any("default" in field for field in schemas[name]["properties"].values())


async def test_a_list_can_be_tried_with_what_its_parameters_offer(api: ApiUnderTest) -> None:
    """The page for people sends each parameter that has an example or a default."""
    document = await document_of(api)
    for method, path, operation in operations(document):
        offered = {
            parameter["name"]: parameter["schema"]["default"]
            for parameter in operation.get("parameters", ())
            if parameter["in"] == "query" and "default" in parameter["schema"]
        }
        if method == "GET" and "{" not in path:
            assert (await api.client.get(path, params=offered)).is_success
        for parameter in operation.get("parameters", ()):
            assert not {"example", "examples"} & {*parameter, *parameter["schema"]}


def with_defaults(schema: Any, body: dict[str, Any], document: Any) -> dict[str, Any]:
    """Fill in what an object leaves out, and what the objects in it do."""
    properties = schema["properties"]
    defaults = {name: each["default"] for name, each in properties.items() if "default" in each}
    if isinstance(body.get("retry"), dict):
        retry = document["components"]["schemas"]["RetryRequest"]
        body = {**body, "retry": with_defaults(retry, body["retry"], document)}
    return {**defaults, **body}


async def test_the_examples_are_accepted(api: ApiUnderTest) -> None:
    document = await document_of(api)
    for method, path, operation in operations(document):
        if "requestBody" in operation:
            created = await api.create()
            if path.endswith("/redrive"):
                await api.client.delete(f"/timers/{created['id']}")
            schedule = await api.create_schedule()
            [(media, content)] = operation["requestBody"]["content"].items()
            example = content["example"]
            raw = example if isinstance(example, str) else json.dumps(example)
            answer = await api.client.request(
                method,
                path.replace("{timer_id}", created["id"])
                .replace("{schedule_id}", schedule["id"])
                .replace("{key}", "free")
                .replace("{flow_key}", "free")
                .replace("{name}", "default" if path.startswith("/projects") else "free"),
                content=raw,
                headers={"Content-Type": media},
            )
            assert answer.is_success, answer.text
            assert '"refused": 1' not in answer.text


class Walk:
    """Provokes every documented answer of an operation."""

    def __init__(self, api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
        self._api = api
        self._monkeypatch = monkeypatch

    async def answer(  # noqa: C901, PLR0911, PLR0912 - one return a status
        self, status: int, method: str, path: str
    ) -> httpx.Response:
        match status:
            case 200 | 201:
                return await self._success(status, method, path)
            case 400 if path == "/metrics":
                return await self._good(method, path, headers={"X-Project": "?"})
            case 400:
                return await self._good(method, f"{path}?unknown=1")
            case 401:
                return await self._good(method, path, headers={"X-API-Key": "wrong"})
            case 403:
                scope = "read" if path == "/metrics" else "metrics"
                key = await self._api.create_key(scope)
                return await self._good(method, path, headers={"X-API-Key": key})
            case 429:
                with self._monkeypatch.context() as patch:
                    patch.setattr(TokenBuckets, "take", lambda *_: 1.5)
                    return await self._good(method, path, headers={"X-API-Key": "wrong"})
            case 404 if path == "/keys":
                with self._monkeypatch.context() as patch:
                    gone = _failing(ProjectNotFoundError())
                    patch.setattr(self._api.storage, "create_api_key", gone)
                    return await self._good(method, path)
            case 404:
                path = path.replace("{key_id}", "0" * 24)
                path = path.replace("{timer_id}", str(uuid4()))
                path = path.replace("{schedule_id}", str(uuid4()))
                path = path.replace("{secret_id}", str(uuid4()))
                return await self._good(method, path, name=str(uuid4()))
            case 405:
                return await self._api.client.request("BREW", path)
            case 409 if "{key}" in path:
                key = await self._named()
                await self._api.begin((await self._by_key(key))["id"])
                return await self._good(method, path, key=key)
            case 409 if path == "/destinations/pause":
                with self._monkeypatch.context() as patch:
                    refused = _failing(TooManyPausesError(1))
                    patch.setattr(self._api.storage, "pause_destination", refused)
                    return await self._good(method, path)
            case 409 if path.startswith("/signing-secrets"):
                return await self._refused_secret(method, path)
            case 409 if path.endswith("/redrive"):
                return await self._good(method, path, is_ended=False)
            case 409 if "{schedule_id}" in path:
                schedule_id = (await self._api.create_schedule())["id"]
                await self._api.client.delete(f"/schedules/{schedule_id}")
                return await self._good(method, path.replace("{schedule_id}", schedule_id))
            case 409 if path.startswith("/projects"):
                return await self._good(method, path, name="default")
            case 409:
                await self._good(method, path, headers={"Idempotency-Key": path})
                body = json.dumps({**WANTED, "delay": 61})
                raw = body if path != "/timers/batch" else f'{{"timers": [{body}]}}'
                if path == "/schedules":
                    raw = json.dumps({**SCHEDULE, "timezone": "UTC"})
                return await self._send(method, path, raw.encode(), {"Idempotency-Key": path})
            case 408:
                return await self._send(method, path, _endless())
            case 413:
                return await self._send(method, path, b" " * (MAX_BATCH_BYTES + 1))
            case 415:
                if path.endswith(_WITHOUT_FIELDS) and not path.startswith("/destinations"):
                    return await self._send(method, path, b"{}", {"Content-Type": "text/plain"})
                return await self._good(method, path, headers={"Content-Type": "text/plain"})
            case 500:
                return await self._broken(method, path, RuntimeError())
            case 503 if path == "/metrics":
                key = await self._api.create_key("metrics")
                return await self._broken(
                    method, path, StorageUnavailableError(), {"X-API-Key": key}
                )
            case _:
                self._api.health.database_connected = self._api.health.ready = False
                return await self._broken(method, path, StorageUnavailableError())

    async def _success(self, status: int, method: str, path: str) -> httpx.Response:
        if "{key}" in path:
            key = await self._named() if status == 200 else None
            return await self._good(method, path, key=key)
        if "{name}" in path and status == 201:
            return await self._good(method, path, name=str(uuid4()))
        if (status, method, path) == (200, "POST", "/timers"):
            wanted = {**WANTED, "key": await self._named(), "on_conflict": "keep"}
            return await self._send(method, path, json.dumps(wanted).encode())
        return await self._good(method, path)

    async def _named(self) -> str:
        key = str(uuid4())
        await self._api.create(key=key)
        return key

    async def _by_key(self, key: str) -> Any:
        return (await self._api.client.get(f"/timers/by-key/{key}")).json()["data"]

    async def _good(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        key: str | None = None,
        name: str | None = None,
        *,
        is_ended: bool = True,
    ) -> httpx.Response:
        if path.startswith("/schedules"):
            return await self._good_schedule(method, path, headers, name)
        if path.startswith(("/projects", "/keys", *_OF_RULES)):
            good = self._good_rule if path.startswith(_OF_RULES) else self._good_project
            return await good(method, path, headers, name)
        if path.startswith("/signing-secrets"):
            return await self._good_secret(method, path, headers)
        if "{key}" in path and method == "PUT":
            content = json.dumps(WANTED).encode()
            return await self._send(method, _with_key(path, key), content, headers)
        path = _with_key(path, key)
        created = (await self._api.create())["id"] if "{timer_id}" in path else ""
        body: object = {"POST": WANTED, "PUT": {"delay": 1}}.get(method)
        path_alone = path.partition("?")[0]
        if path_alone == "/timers/batch":
            body = {"timers": [WANTED]}
        if path_alone == "/timers/bulk":
            body = {"action": "cancel", "filter": {"status": "pending"}}
        if path_alone.endswith("/redrive"):
            body = {"delay": 1}
            if created and is_ended:
                await self._api.client.delete(f"/timers/{created}")
        if path_alone == "/timers/import":
            headers = {"Content-Type": "application/x-ndjson", **(headers or {})}
        content = b"" if body is None else json.dumps(body).encode()
        return await self._send(method, path.replace("{timer_id}", created), content, headers)

    async def _good_secret(
        self, method: str, path: str, headers: dict[str, str] | None
    ) -> httpx.Response:
        if "{secret_id}" in path:
            await self._api.client.post("/signing-secrets/rotate")
            path = path.replace("{secret_id}", (await self._secret_ids() or [str(uuid4())])[0])
        content = b'{"overlap_seconds": 60}' if method == "POST" else b""
        return await self._send(method, path, content, headers)

    async def _good_rule(
        self, method: str, path: str, headers: dict[str, str] | None, name: str | None
    ) -> httpx.Response:
        if "{flow_key}" in path and name is None:
            name = str(uuid4())
            await self._api.client.put(f"/flows/{name}", json={"max_in_flight": 1})
        body: object = {"PUT": {"rate": {"count": 1, "per_seconds": 1}, "paused": True}}.get(method)
        if path.startswith("/destinations/"):
            body = {"destination": "https://example.com"}
        content = b"" if body is None else json.dumps(body).encode()
        return await self._send(method, path.replace("{flow_key}", name or ""), content, headers)

    async def _refused_secret(self, method: str, path: str) -> httpx.Response:
        answer = await self._good_secret(method, path, None)
        while answer.is_success:
            secret_id = (await self._secret_ids())[0]
            answer = await self._send(method, path.replace("{secret_id}", secret_id), b"")
        return answer

    async def _secret_ids(self) -> list[str]:
        listed = await self._api.client.get("/signing-secrets")
        return [each["id"] for each in (listed.json()["data"] or {}).get("signing_secrets", ())]

    async def _good_schedule(
        self, method: str, path: str, headers: dict[str, str] | None, name: str | None
    ) -> httpx.Response:
        if "{schedule_id}" in path:
            schedule_id = (await self._api.create_schedule())["id"]
            path = path.replace("{schedule_id}", schedule_id)
        if "{name}" in path:
            if name is None:
                name = str(uuid4())
                await self._api.create_schedule(name=name)
            path = path.replace("{name}", name)
        body: object = {"PUT": SCHEDULE}.get(method)
        last = path.partition("?")[0].rpartition("/")[2]
        if method == "POST":
            body = _SCHEDULE_BODIES.get(last)
        content = b"" if body is None else json.dumps(body).encode()
        return await self._send(method, path, content, headers)

    async def _good_project(
        self, method: str, path: str, headers: dict[str, str] | None, name: str | None
    ) -> httpx.Response:
        if name is None:
            name = str(uuid4())
            if "{name}" in path:
                await self._api.client.post("/projects", json={"name": name})
        if "{key_id}" in path:
            path = path.replace("{key_id}", (await self._api.create_key("read")).split("_")[1])
        body: object = {"PUT": {"default_retry": {}}}.get(method)
        if method == "POST":
            is_key = path.startswith("/keys")
            body = {"name": "ci", "scopes": ["admin"]} if is_key else {"name": name}
        content = b"" if body is None else json.dumps(body).encode()
        return await self._send(method, path.replace("{name}", name), content, headers)

    async def _send(
        self,
        method: str,
        path: str,
        content: bytes | AsyncIterator[bytes],
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        path = path.replace("{timer_id}", str(uuid4())).replace("{schedule_id}", str(uuid4()))
        path = path.replace("{name}", str(uuid4()))
        return await self._api.client.request(
            method, path, content=content, headers={**JSON, **(headers or {})}
        )

    async def _broken(
        self, method: str, path: str, error: Exception, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        with self._monkeypatch.context() as patch:
            patch.setattr("timer_trio.intake.names.CREATE_DEADLINE_S", 0.05)
            path = path.replace("{timer_id}", str(uuid4())).replace("{schedule_id}", str(uuid4()))
            path = path.replace("{name}", str(uuid4()))
            patch.setattr("timer_trio.intake.schedules.CREATE_DEADLINE_S", 0.05)
            for verb in _BROKEN:
                patch.setattr(self._api.storage, verb, _failing(error))
            for verb in ("create", "create_all", "update"):
                patch.setattr(self._api.intake, verb, _failing(error))
            patch.setattr(self._api.redriver, "redrive", _failing(error))
            patch.setattr(self._api.bulk_writer, "require_allowed", _failing(error))
            return await self._good(method, path.replace("{key_id}", "0" * 24), headers)


_SCHEDULE_BODIES = {
    "schedules": SCHEDULE,
    "preview": {"every": 60},
    "backfill": {"from": "2029-12-01T00:00:00Z", "to": "2029-12-02T00:00:00Z"},
}
_OF_RULES = ("/flows", "/destinations", "/pause", "/resume")
_WITHOUT_FIELDS = ("/pause", "/resume", "/trigger", "/replan")
_BROKEN = (
    *("get", "list", "cancel", "replicas", "name_holder"),
    *("create_project", "projects", "project_named", "change_project"),
    *("create_api_key", "api_keys", "revoke_api_key", "known_key", "audit"),
    *("create_schedule", "schedule", "schedules", "schedule_named", "change_schedule"),
    *("signing_secrets", "change_signing_secrets"),
    *("put_flow", "get_flow", "list_flows", "delete_flow"),
    *("pause_destination", "resume_destination", "pause_project", "resume_project"),
    "destinations",
)


def _with_key(path: str, key: str | None) -> str:
    return path.replace("{key}", key or str(uuid4()))


def _failing(error: Exception) -> Callable[..., object]:
    async def fail(*_: object, **__: object) -> None:
        raise error

    return fail


async def _endless() -> AsyncIterator[bytes]:
    yield b"{"
    await trio.sleep_forever()


async def test_every_documented_answer_is_given_as_documented(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = await document_of(api)
    walk = Walk(api, monkeypatch)
    for method, path, operation in operations(document):
        for status in operation["responses"]:
            answer = await walk.answer(int(status), method, path)
            assert answer.status_code == int(status), (method, path, status, answer.text)
            check(document, operation, answer)
            api.health.database_connected = api.health.ready = True


async def test_rarer_answers_are_documented_too(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = await document_of(api)
    of = {operation["operationId"]: operation for _, _, operation in operations(document)}
    api.health.warnings.append("fsync is off")
    check(document, of["getHealth"], await api.client.get("/health"))
    await api.storage.join(ALICE, api.clock.now())
    check(document, of["listReplicas"], await api.client.get("/replicas"))
    await api.storage.beat(ALICE, ReplicaStats(clock_offset_s=0.1))
    check(document, of["listReplicas"], await api.client.get("/replicas"))
    created = await api.create(callback_payload=[1], metadata={"a": 1})
    await api.create()
    page = await api.client.get("/timers?limit=1")
    check(document, of["listTimers"], page)
    cursor = page.json()["data"]["next_cursor"]
    check(document, of["listTimers"], await api.client.get(f"/timers?cursor={cursor}"))
    check(document, of["getTimer"], await api.client.get(f"/timers/{created['id']}"))
    await api.client.delete(f"/timers/{created['id']}")
    changed = await api.client.put(f"/timers/{created['id']}", json={"delay": 1})
    check(document, of["updateTimer"], changed)
    check(document, of["createTimer"], await api.client.post("/timers", json={"a": 1, "b": 2}))
    for _ in range(2):
        repeated = await api.client.post("/timers", json=WANTED, headers={"Idempotency-Key": "a"})
        check(document, of["createTimer"], repeated)
    assert repeated.headers["Idempotent-Replayed"] == "true"
    monkeypatch.setattr(api.intake, "create", _failing(CreateUnknownError(TimerId(uuid4()))))
    check(document, of["createTimer"], await api.client.post("/timers", json=WANTED))
    unknown = CreatesUnknownError([TimerId(uuid4()), TimerId(uuid4())])
    monkeypatch.setattr(api.intake, "create_all", _failing(unknown))
    batch = await api.client.post("/timers/batch", json={"timers": [WANTED, WANTED]})
    assert batch.status_code == 503
    check(document, of["createTimers"], batch)
    page = await api.client.get("/", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    check(document, of["getHome"], page)
