"""Results as consumers ask for them, see them and get them."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any, Final

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.receivers import Received, Stream, answers, read_request, receiver
from tests.replicas import api_client, replica_on, running
from timer_trio.config import Settings
from timer_trio.domain.addresses import AddressGuard
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.testing import Callback, TimerService, start_timer_service
from timer_trio.transport import CallbackTransport

LOOPBACK: Final = (ip_network("127.0.0.0/8"),)
WORK: Final = "https://example.com/work"
DONE: Final = {"url": "https://example.org/done", "headers": {"Authorization": "Bearer x"}}
LOST: Final = {"url": "https://example.org/lost", "headers": {}}
BOTH: Final = {"on_completed": DONE, "on_failed": LOST}
PATIENCE_S: Final = 20


async def create(client: httpx.AsyncClient, **fields: Any) -> str:
    timer = {"delay": 60, "callback_url": WORK, **fields}
    answer = await client.post("/timers", json=timer)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


async def get(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def put(client: httpx.AsyncClient, timer_id: str, **fields: Any) -> httpx.Response:
    return await client.put(f"/timers/{timer_id}", json=fields)


def as_shown(timer: dict[str, Any]) -> dict[str, Any]:
    """Leave out when the row was written, which a result cannot know, and mask what it masks."""
    shown = {name: value for name, value in timer.items() if name != "updated_at"}
    for name in ("on_completed", "on_failed"):
        if target := shown[name]:
            shown[name] = {**target, "headers": masked(target["headers"])}
    return shown


def masked(headers: dict[str, str]) -> dict[str, str]:
    return {name: "…" if name == "Authorization" else value for name, value in headers.items()}


async def check_result(service: TimerService, result: Callback, timer_id: str, kind: str) -> None:
    told_of = result.json()
    assert list(told_of) == ["type", "timer", "last_attempt"]
    assert told_of["type"] == kind
    shown = await get(service.client, f"/timers/{timer_id}")
    assert as_shown(told_of["timer"]) == as_shown(shown)
    attempts = (await get(service.client, f"/timers/{timer_id}/attempts"))["attempts"]
    assert told_of["last_attempt"] == attempts[0]


async def test_who_is_named_gets_the_result(autojump_clock: MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(nursery)
        fields: dict[str, Any] = {"callback_payload": {"n": 10**30}, "metadata": {"a": "\u00e9"}}
        timer_id = await create(service.client, **BOTH, **fields)
        work, result = await service.wait_callbacks(2)
        assert (work.url, result.url, result.method) == (WORK, DONE["url"], "POST")
        assert result.headers["authorization"] == "Bearer x"
        assert result.headers["content-type"] == "application/json"
        assert (result.sent_at - work.sent_at).total_seconds() < 1
        await check_result(service, result, timer_id, "timer.completed")
        own = await get(service.client, f"/timers/{result.headers['x-timer-id']}")
        assert (own["parent_id"], own["on_completed"], own["on_failed"]) == (timer_id, None, None)
        assert (own["retry"]["max_attempts"], own["delivery"]) == (5, "at_least_once")
        listed = (await get(service.client, "/timers"))["timers"]
        assert {each["id"]: each.get("parent_id") for each in listed} == {
            timer_id: None,
            own["id"]: timer_id,
        }
        await trio.sleep(86_400)
        assert len(service.callbacks) == 2
        nursery.cancel_scope.cancel()


async def test_who_is_named_is_told_of_the_last_failure_alone(autojump_clock: MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0

    def answer(callback: Callback) -> int | httpx.Response:
        return httpx.Response(503, text="sorry") if callback.url == WORK else 200

    async with trio.open_nursery() as nursery:
        service = await start_timer_service(nursery, answer=answer)
        timer_id = await create(service.client, **BOTH, retry={"max_attempts": 3})
        *work, result = await service.wait_callbacks(4)
        assert [each.url for each in work] == [WORK] * 3
        assert result.url == LOST["url"]
        await check_result(service, result, timer_id, "timer.failed")
        assert result.json()["last_attempt"]["response"]["body"] == "sorry"
        nursery.cancel_scope.cancel()


async def test_a_result_that_fails_is_tried_again_as_the_same(autojump_clock: MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(
            nursery, answer=lambda callback: 200 if callback.url == WORK else 500
        )
        await create(service.client, **BOTH)
        _, *results = await service.wait_callbacks(6)
        assert len({result.headers["webhook-id"] for result in results}) == 1
        assert [result.headers["x-timer-attempt"] for result in results] == [*"12345"]
        await trio.sleep(7 * 86_400)
        assert len(service.callbacks) == 6
        nursery.cancel_scope.cancel()


async def test_nobody_is_told_who_does_not_want_to_be(autojump_clock: MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(nursery)
        client = service.client
        canceled = await create(client, **BOTH)
        assert (await client.delete(f"/timers/{canceled}")).status_code == 200
        taken_away = await create(client, **BOTH)
        assert (await put(client, taken_away, on_completed=None)).status_code == 200
        assert (await get(client, f"/timers/{taken_away}"))["on_failed"] == LOST
        await create(client, on_failed=LOST)
        await create(client, on_completed=None, on_failed=None)
        await trio.sleep(86_400)
        assert [callback.url for callback in service.callbacks] == [WORK] * 3
        nursery.cancel_scope.cancel()


async def test_results_are_asked_for_wherever_a_timer_is(autojump_clock: MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(nursery)
        client = service.client
        timer = {"delay": 60, "callback_url": WORK, "on_completed": {"url": DONE["url"]}}
        assert (await client.post("/timers/batch", json={"timers": [timer]})).status_code == 201
        ndjson = {"Content-Type": "application/x-ndjson"}
        content = json.dumps({**timer, "delay": 120})
        answer = await client.post("/timers/import", content=content, headers=ndjson)
        assert '"imported": 1' in answer.text
        changed = await create(client, delay=180)
        assert (await put(client, changed, on_completed=DONE)).status_code == 200
        callbacks = await service.wait_callbacks(6)
        assert [callback.url for callback in callbacks] == [WORK, DONE["url"]] * 3
        nursery.cancel_scope.cancel()


async def test_a_result_that_waits_can_be_changed_but_has_none_of_its_own(
    autojump_clock: MockClock,
) -> None:
    assert autojump_clock.autojump_threshold == 0
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(
            nursery, answer=lambda callback: 200 if callback.url == WORK else 500
        )
        client = service.client
        await create(client, **BOTH)
        result = (await service.wait_callbacks(2))[1].headers["x-timer-id"]
        await trio.sleep(1)
        answer = await put(client, result, on_completed=DONE, on_failed=None)
        assert (answer.status_code, answer.json()["code"]) == (400, 2)
        assert [error["field"] for error in answer.json()["data"]["errors"]] == ["on_completed"]
        answer = await put(client, result, callback_url="https://example.org/elsewhere")
        assert answer.status_code == 200
        assert (await service.wait_callbacks(3))[2].url == "https://example.org/elsewhere"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("field", "value", "named", "words"),
    [
        ("on_completed", {"url": "http://10.0.0.7/"}, "on_completed.url", "CALLBACK_ALLOW"),
        ("on_failed", {"ulr": DONE["url"], "url": WORK}, "on_failed.ulr", "did you mean url?"),
        ("on_failed", {}, "on_failed.url", "is required"),
        (
            "on_completed",
            {"url": WORK, "headers": {"Host": "x"}},
            "on_completed.headers",
            "is set by the service",
        ),
    ],
)
async def test_what_is_wrong_with_a_result_is_named(
    autojump_clock: MockClock, field: str, value: object, named: str, words: str
) -> None:
    assert autojump_clock.autojump_threshold == 0
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(nursery, settings=Settings())
        wanted = {"delay": 60, "callback_url": WORK, field: value}
        answer = await service.client.post("/timers", json=wanted)
        (error,) = answer.json()["data"]["errors"]
        assert error["field"] == named
        assert words in error["message"]
        nursery.cancel_scope.cancel()


async def test_a_receiver_gets_the_result_over_postgres_and_sockets(database_url: str) -> None:
    requests: list[Received] = []

    async def keeps(stream: Stream) -> None:
        while request := await read_request(stream):
            requests.append(request)
            await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")

    refusal = b"HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\nnope"
    async with (
        receiver(answers(refusal)) as work,
        receiver(keeps) as told,
        CallbackTransport(guard=AddressGuard(LOOPBACK)) as transport,
        PostgresStorage(database_url, pool_size=2) as storage,
    ):
        replica = replica_on(storage, transport, Settings(callback_allow=LOOPBACK))
        async with running(replica):
            client = api_client(replica)
            target = {"url": told.url("/result?x=1"), "headers": {"X-Own": "y"}}
            timer_id = await create(
                client, delay=0, callback_url=work.url(), on_failed=target, callback_payload=[1.50]
            )
            with trio.fail_after(PATIENCE_S):
                while not requests:  # noqa: ASYNC110 - a probe
                    await trio.sleep(0.01)
            shown = await get(client, f"/timers/{timer_id}")
            attempts = (await get(client, f"/timers/{timer_id}/attempts"))["attempts"]
    (request,) = requests
    assert request.head.startswith(b"POST /result?x=1 HTTP/1.1\r\n")
    assert request.header(b"x-own") == [b"y"]
    assert request.header(b"webhook-signature")[0].startswith(b"v1,")
    told_of = json.loads(request.body)
    assert (told_of["type"], told_of["last_attempt"]) == ("timer.failed", attempts[0])
    assert as_shown(told_of["timer"]) == as_shown(shown)
    assert told_of["last_attempt"]["response"]["body"] == "nope"
