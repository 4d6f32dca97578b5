from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest
import trio
from structlog.testing import capture_logs

from tests.api_under_test import API_KEY, WANTED, ApiUnderTest, besides_requests, running_api
from timer_trio import __version__
from timer_trio.api import create_app
from timer_trio.api.openapi.docs_page import SCRIPT_PATH
from timer_trio.calendar import zone_data_version
from timer_trio.clock import Clock
from timer_trio.domain.errors import (
    ContentionError,
    CreateUnknownError,
    RowRefusedError,
    StorageUnavailableError,
)
from timer_trio.domain.timer import TimerId
from timer_trio.telemetry.exposition import OthersSilentError

OPEN = (
    "/",
    "/health",
    "/health/live",
    "/health/ready",
    "/openapi.json",
    "/docs",
    "/docs/style.css",
    SCRIPT_PATH,
)
TIMER_ID = UUID("01b8dac5-b40b-7cfb-a8f9-4098702bd73e")
ONE = f"/timers/{TIMER_ID}"


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with running_api() as running:
        yield running


def failing(error: Exception) -> Callable[..., object]:
    async def fail(*_: object, **__: object) -> None:
        raise error

    return fail


async def test_what_is_open_needs_no_key(api: ApiUnderTest) -> None:
    del api.client.headers["X-API-Key"]
    for path in OPEN:
        assert (await api.client.get(path)).status_code == 200


async def test_the_right_key_opens_everything(api: ApiUnderTest) -> None:
    for path in ("/timers", "/replicas", "/metrics", *OPEN):
        assert (await api.client.get(path)).status_code == 200


async def test_without_a_key_nobody_learns_which_routes_exist(api: ApiUnderTest) -> None:
    del api.client.headers["X-API-Key"]
    answers = [await api.client.get(path) for path in ("/timers", "/replicas", "/nope", ONE)]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["code"] == 4


RIGHT, WRONG = API_KEY, "w" * 32


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", f"Bearer {RIGHT}")],
        [("authorization", f"bEARER   {RIGHT} ")],
        [("X-API-Key", RIGHT), ("Authorization", f"Bearer {RIGHT}")],
        [("X-API-Key", RIGHT), ("Authorization", "Basic dXNlcjp3b3Jk")],
        [("Authorization", "Basic dXNlcjp3b3Jk"), ("Authorization", f"Bearer {RIGHT}")],
    ],
)
async def test_key_is_taken_from_either_header(
    api: ApiUnderTest, headers: list[tuple[str, str]]
) -> None:
    del api.client.headers["X-API-Key"]
    for path in ("/timers", "/metrics"):
        assert (await api.client.get(path, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([], "send the API key in the header X-API-Key, or as Authorization: Bearer"),
        ([("Authorization", f"Basic {RIGHT}")], "or as Authorization: Bearer"),
        ([("Authorization", RIGHT)], "or as Authorization: Bearer"),
        ([("Authorization", f"Bearer{RIGHT}")], "or as Authorization: Bearer"),
        ([("Authorization", "Bearer")], "the API key is wrong"),
        ([("Authorization", f"Bearer {WRONG}")], "the API key is wrong"),
        ([("Authorization", f"Bearer {RIGHT} {RIGHT}")], "the API key is wrong"),
        ([("X-API-Key", RIGHT), ("Authorization", f"Bearer {WRONG}")], "different keys"),
        ([("X-API-Key", WRONG), ("Authorization", f"Bearer {RIGHT}")], "different keys"),
        ([("X-API-Key", WRONG), ("X-API-Key", RIGHT)], "different keys"),
    ],
)
async def test_request_without_the_one_right_key_is_refused_in_words(
    api: ApiUnderTest, headers: list[tuple[str, str]], words: str
) -> None:
    del api.client.headers["X-API-Key"]
    answer = await api.client.get("/timers", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, 4)
    assert words in answer.json()["message"]
    assert answer.headers["www-authenticate"] == 'ApiKey, Bearer realm="timer-trio"'


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "application/json;q=0.5, text/html"])
async def test_browser_finds_a_page_at_the_root(api: ApiUnderTest, accept: str) -> None:
    answer = await api.client.get("/", headers={"Accept": accept})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert f"<h1>timer-trio {__version__}</h1>" in answer.text
    assert "<script" not in answer.text
    for outside in ("src=", 'href="http', "url(", "@import"):
        assert outside not in answer.text
    links = set(re.findall(r'href="([^"]+)"', answer.text))
    assert links == {"/docs", "/docs/style.css", "/health", "/openapi.json"}
    for link in links:
        assert (await api.client.get(link)).status_code == 200


@pytest.mark.parametrize("accept", [None, "*/*", "", "application/json", "text/plain", "\xff;q=x,"])
async def test_program_finds_json_at_the_root(api: ApiUnderTest, accept: str | None) -> None:
    del api.client.headers["Accept"]
    headers = {} if accept is None else {b"Accept": accept.encode("latin-1")}
    answer = await api.client.get("/", headers=headers)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == 0
    assert answer.json()["data"]["version"] == __version__


async def test_the_key_is_not_in_the_repr_of_the_app(api: ApiUnderTest) -> None:
    assert API_KEY not in repr(api.app)


async def test_health_up(api: ApiUnderTest) -> None:
    answer = await api.client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "code": 0,
        "message": "success",
        "data": {
            "status": "up",
            "database": "connected",
            "timestamp": "2030-01-01T00:00:00Z",
            "zone_data": zone_data_version(),
        },
    }


async def test_health_without_a_database(api: ApiUnderTest) -> None:
    api.health.database_connected = False
    answer = await api.client.get("/health")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    envelope = answer.json()
    assert envelope["code"] == 1
    assert envelope["data"]["status"] == "degraded"
    assert envelope["data"]["database"] == "disconnected"


async def test_health_shows_warnings_when_there_are_any(api: ApiUnderTest) -> None:
    api.health.warnings.append("fsync is off")
    assert (await api.client.get("/health")).json()["data"]["warnings"] == ["fsync is off"]


async def test_ready_follows_the_service_and_live_does_not(api: ApiUnderTest) -> None:
    assert (await api.client.get("/health/ready")).json()["data"] == {"status": "ready"}
    api.health.ready = False
    answer = await api.client.get("/health/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, 1)
    assert answer.headers["retry-after"] == "1"
    assert (await api.client.get("/health/live")).status_code == 200


async def test_health_and_503_before_the_database_told_the_time(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.clock, "now", Clock().now)
    assert (await api.client.get("/health")).status_code == 200
    assert (await api.client.post("/timers", json=WANTED)).status_code == 503


async def test_metrics_are_prometheus_text(api: ApiUnderTest) -> None:
    answer = await api.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "timer_trio_cached" in answer.text


async def test_requests_are_counted_by_the_template_of_their_route(api: ApiUnderTest) -> None:
    def count(**labels: str) -> float | None:
        return api.metrics.registry.get_sample_value("timer_trio_requests_total", labels)

    one = {"route": "/timers/{timer_id}", "method": "GET"}
    assert count(**one, status="200") == count(**one, status="404") == 0
    for _ in range(2):
        await api.client.get(ONE)
    await api.client.get("/of-a-stranger")
    await api.client.get("/timers", headers={"X-API-Key": "wrong"})
    await api.client.request("BREW", "/timers")
    assert count(**one, status="404") == 2
    assert count(route="unmatched", method="GET", status="404") == 1
    assert count(route="/timers", method="GET", status="401") == 1
    assert count(route="unmatched", method="other", status="405") == 1
    under_way = api.metrics.registry.get_sample_value("timer_trio_requests_under_way")
    seconds = api.metrics.registry.get_sample_value("timer_trio_request_seconds_count", one)
    assert (under_way, seconds) == (0, 2)
    assert "stranger" not in (await api.client.get("/metrics")).text


async def test_each_answer_that_is_described_is_shown_before_its_first(api: ApiUnderTest) -> None:
    document = (await api.client.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status in operation["responses"].keys() - {"405"}:  # that of no route
                labels = {"route": path, "method": method.upper(), "status": status}
                name = "timer_trio_requests_total"
                assert api.metrics.registry.get_sample_value(name, labels) is not None, labels


async def test_metrics_are_503_while_other_workers_do_not_tell(api: ApiUnderTest) -> None:
    async def silent() -> bytes:
        await trio.lowlevel.checkpoint()
        raise OthersSilentError

    # Quart's types of the ASGI messages are narrower than httpx's.
    app: Any = create_app(replace(api.context, metrics_text=silent))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://api", headers=api.client.headers
    ) as client:
        answer = await client.get("/metrics")
    assert (answer.status_code, answer.json()["code"]) == (503, 1)
    assert "workers" in answer.json()["message"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StorageUnavailableError("secret SELECT"), 503, 1),
        (ContentionError("secret SELECT"), 503, 1),
        (RowRefusedError("secret SELECT"), 400, 2),
        (RuntimeError("secret SELECT"), 500, 1),
        (ExceptionGroup("secret", [RuntimeError("secret SELECT")]), 500, 1),
        (ExceptionGroup("secret", [StorageUnavailableError("secret SELECT")]), 503, 1),
    ],
)
async def test_failures_of_the_storage_are_told_without_its_words(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: int
) -> None:
    for verb in ("get", "list", "cancel", "replicas"):
        monkeypatch.setattr(api.storage, verb, failing(error))
    monkeypatch.setattr(api.intake, "create", failing(error))
    monkeypatch.setattr(api.intake, "update", failing(error))
    with capture_logs() as logs:
        answers = [
            await api.client.post("/timers", json={**WANTED, "callback_payload": "private"}),
            await api.client.put(ONE, json={"delay": 1, "callback_payload": "private"}),
            await api.client.get(ONE),
            await api.client.get("/timers"),
            await api.client.delete(ONE),
            await api.client.get("/replicas"),
        ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json()["data"] is None
        assert "secret" not in answer.text
        assert (answer.headers.get("retry-after") == "1") == (status == 503)
    failures = besides_requests(logs)
    assert len(failures) == (len(answers) if status == 500 else 0)
    assert all(log["exc_info"] for log in failures)
    assert API_KEY not in str(logs)
    assert "private" not in str(logs)


async def test_a_create_of_unknown_outcome_names_its_id(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.intake, "create", failing(CreateUnknownError(TimerId(TIMER_ID))))
    answer = await api.client.post("/timers", json=WANTED)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["data"] == {"id": str(TIMER_ID)}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"query_string": b"a=\xff"}, 400),
        ({"headers": [(b"x-api-key", b"\xff\xfe")]}, 401),
        ({"headers": [(b"host", b"\xff"), (b"x-api-key", API_KEY.encode())]}, 200),
        ({"headers": [(b"host", b"a" * 70), (b"x-api-key", API_KEY.encode())]}, 200),
        ({"path": ""}, 200),
        ({"path": "\udcff/timers"}, 404),
        ({"path": "/timers/\0"}, 404),
        ({"method": "\u00e9"}, 405),
    ],
)
async def test_what_only_other_servers_let_through_is_answered_too(
    api: ApiUnderTest, changes: dict[str, Any], status: int
) -> None:
    scope = {
        "type": "http",
        "http_version": "2",
        "method": "GET",
        "scheme": "http",
        "path": "/timers",
        "query_string": b"",
        "headers": [(b"host", b"api"), (b"x-api-key", API_KEY.encode())],
        **changes,
    }
    messages = iter([{"type": "http.request"}])
    sent: list[Any] = []

    async def receive() -> Any:
        message = next(messages, None)
        if message is None:
            await trio.sleep_forever()
        return message

    async def send(message: Any) -> None:
        sent.append(message)

    await api.app(scope, receive, send)  # type: ignore[arg-type]  # as wrong as a server can be
    assert sent[0]["status"] == status


async def test_contention_is_told_apart_from_an_outage(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, words in (
        (ContentionError(), "somebody else"),
        (StorageUnavailableError(), "cannot be reached"),
    ):
        monkeypatch.setattr(api.intake, "update", failing(error))
        answer = await api.client.put(ONE, json={"delay": 1})
        assert words in answer.json()["message"]


async def test_405_names_what_is_allowed(api: ApiUnderTest) -> None:
    for path, allowed in (
        ("/timers", {"GET", "HEAD", "OPTIONS", "POST"}),
        (ONE, {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}),
        ("/health", {"GET", "HEAD", "OPTIONS"}),
    ):
        answer = await api.client.patch(path)
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == allowed


async def test_options_names_the_methods_of_a_route(api: ApiUnderTest) -> None:
    answer = await api.client.options("/timers")
    assert (answer.status_code, answer.content) == (204, b"")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


async def test_once_a_stop_has_begun_clients_are_asked_for_another_connection(
    api: ApiUnderTest,
) -> None:
    assert "connection" not in (await api.client.get("/health")).headers
    api.stopping.set()
    for path in ("/health", "/timers", "/nowhere"):
        assert (await api.client.get(path)).headers["connection"] == "close"
