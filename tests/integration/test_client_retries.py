"""The client at services that fail, over real sockets: what is sent again, and what is not."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import anyio
import pytest
import trio

from tests.api_under_test import API_KEY, WANTED, ApiUnderTest, in_thread, served_api
from tests.receivers import Received, Stream, never_answers, read_request, receiver, reset
from timer_trio.client import (
    AsyncClient,
    Client,
    IncompleteError,
    NoAnswerError,
    RateLimitedError,
    TimerSummary,
    UnavailableError,
    UnexpectedAnswerError,
    drivers,
)

URL: Final = WANTED["callback_url"]
NOTHING: Final = "http://127.0.0.1:9"
PATIENCE_S: Final = 30

Ask = Callable[[str], Awaitable[Any]]


def answer(status: int, body: Any, *fields: str) -> bytes:
    content = json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", *fields, "", ""]
    return "\r\n".join(head).encode() + content


SUMMARY: Final = {
    "id": "a",
    "created_at": "2030-01-01T00:00:00Z",
    "execute_at": "2030-01-01T00:01:00Z",
    "callback_url": URL,
    "status": "pending",
    "executed_at": None,
}
CREATED: Final = answer(201, {"code": 0, "message": "success", "data": SUMMARY})
AWAY: Final = answer(503, {"code": 1, "message": "away", "data": None}, "Retry-After: 1")
TOO_OFTEN: Final = answer(429, {"code": 6, "message": "slowly", "data": None}, "Retry-After: 7")
CUT: Final = b""


class Failing:
    """Answers its requests with these bytes, one after the other; resets in place of none."""

    def __init__(self, *answers: bytes) -> None:
        self.requests: list[Received] = []
        self._answers = iter(answers)

    async def __call__(self, stream: Stream) -> None:
        while request := await read_request(stream):
            self.requests.append(request)
            reply = next(self._answers)
            if not reply:
                reset(stream)
                return
            await stream.send_all(reply)

    @property
    def keys(self) -> list[list[bytes]]:
        return [request.header(b"idempotency-key") for request in self.requests]


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have no client wait; names how long it would have waited."""
    seconds: list[float] = []

    async def note(wait_s: float) -> None:
        seconds.append(wait_s)

    monkeypatch.setattr(drivers, "_sleep", seconds.append)
    monkeypatch.setattr(anyio, "sleep", note)
    return seconds


async def by_blocking(url: str, **fields: Any) -> TimerSummary:
    def work() -> TimerSummary:
        with Client(url, API_KEY) as client:
            return client.timers.create(URL, delay=60, **fields)

    return await in_thread(work)


async def by_trio(url: str, **fields: Any) -> TimerSummary:
    async with AsyncClient(url, API_KEY) as client:
        return await client.timers.create(URL, delay=60, **fields)


async def by_asyncio(url: str, **fields: Any) -> TimerSummary:
    return await in_thread(lambda: asyncio.run(by_trio(url, **fields)))


WAYS: Final = [by_blocking, by_trio, by_asyncio]


@pytest.mark.parametrize("create", WAYS)
async def test_create_whose_answer_is_lost_is_sent_again_under_its_key(
    create: Ask, waited: list[float]
) -> None:
    service = Failing(CUT, AWAY, TOO_OFTEN, CREATED)
    async with receiver(service) as listening:
        created = await create(listening.url().rstrip("/"))
    assert created.id == "a"
    ((key,),) = {tuple(keys) for keys in service.keys}
    assert re.fullmatch(rb"[0-9a-f]{32}", key)
    assert len({request.body for request in service.requests}) == 1
    assert waited[0] < 1
    assert waited[1:] == [1, 7]


@pytest.mark.parametrize("create", WAYS)
async def test_named_timer_whose_answer_is_lost_is_not_sent_again(
    create: Callable[..., Awaitable[Any]], waited: list[float]
) -> None:
    service = Failing(CUT, CREATED)
    async with receiver(service) as listening:
        with pytest.raises(NoAnswerError) as caught:
            await create(listening.url().rstrip("/"), key="cart-4711")
    assert caught.value.may_have_happened
    assert service.keys == [[]]
    assert waited == []


async def test_service_that_is_not_there_is_asked_for_until_it_is(waited: list[float]) -> None:
    with pytest.raises(NoAnswerError, match=f"no answer from the service at {NOTHING}") as caught:
        await by_trio(NOTHING, key="cart-4711")
    assert not caught.value.may_have_happened
    assert len(waited) == 3


async def test_service_that_stays_away_is_given_up(waited: list[float]) -> None:
    service = Failing(*[AWAY] * 9)
    async with (
        receiver(service) as listening,
        AsyncClient(listening.url(), API_KEY, retries=2) as client,
    ):
        with pytest.raises(UnavailableError, match="away"):
            await client.timers.get("a")
    assert len(service.requests) == 3
    assert waited == [1, 1]


async def test_service_that_wants_to_be_left_alone_for_long_is(waited: list[float]) -> None:
    service = Failing(TOO_OFTEN)
    async with (
        receiver(service) as listening,
        AsyncClient(listening.url(), API_KEY, max_wait_s=5) as client,
    ):
        with pytest.raises(RateLimitedError) as caught:
            await client.timers.get("a")
    assert caught.value.retry_after_s == 7
    assert waited == []


async def test_silent_service_is_waited_for_as_long_as_was_said(waited: list[float]) -> None:
    async with (
        receiver(never_answers) as listening,
        AsyncClient(listening.url(), API_KEY, timeout_s=0.05, retries=1) as client,
    ):
        with trio.fail_after(PATIENCE_S), pytest.raises(NoAnswerError, match="ReadTimeout"):
            await client.timers.get("a")
    assert len(waited) == 1


class CutsAnswers:
    """Passes requests on to a service, and hangs up in place of its first answers."""

    def __init__(self, url: str, cuts: int) -> None:
        self._port = int(url.rpartition(":")[2])
        self.cuts_left = cuts

    async def __call__(self, stream: Stream) -> None:
        request = await read_request(stream)
        assert request is not None
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as service:
            await service.send_all(request.head + b"\r\n\r\n" + request.body)
            reply = await service.receive_some()
        if self.cuts_left:
            self.cuts_left -= 1
            reset(stream)
            return
        await stream.send_all(reply)


@pytest.mark.parametrize("create", WAYS)
async def test_create_whose_answers_were_lost_is_one_timer(
    create: Ask, waited: list[float]
) -> None:
    async with served_api() as (api, url):
        between = CutsAnswers(url, cuts=2)
        async with receiver(between) as listening:
            created = await create(listening.url().rstrip("/"))
        assert await ids_of(api) == [created.id]
    assert len(waited) == 2


async def ids_of(api: ApiUnderTest) -> list[str]:
    listed = (await api.client.get("/timers")).json()["data"]["timers"]
    return [timer["id"] for timer in listed]


@pytest.mark.parametrize(
    ("lines", "end", "progress"),
    [
        ([{"as_of": "2030-01-01T00:00:00Z"}], CUT, 0),
        (
            [
                {"as_of": "2030-01-01T00:00:00Z"},
                {"as_of": "2030-01-01T00:00:00Z", "matched": 7, "done": 5, "skipped": 2},
            ],
            b"0\r\n\r\n",
            5,
        ),
    ],
)
async def test_action_whose_connection_breaks_tells_how_far_it_came(
    lines: list[dict[str, Any]], end: bytes, progress: int
) -> None:
    async def begin(stream: Stream) -> None:
        await read_request(stream)
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await stream.send_all(b"%x\r\n%b\r\n%b" % (len(text), text, end))

    def by_blocking(url: str) -> None:
        with Client(url, API_KEY) as client:
            client.timers.bulk("cancel", {"status": "pending"})

    async def by_trio(url: str) -> None:
        async with AsyncClient(url, API_KEY) as client:
            await client.timers.bulk("cancel", {"status": "pending"})

    async with receiver(begin) as listening:
        for ask in (by_trio, lambda url: in_thread(partial(by_blocking, url))):
            with pytest.raises(IncompleteError) as caught:
                await ask(listening.url())
            assert caught.value.progress.done == progress
            assert caught.value.progress.as_of.year == 2030


async def test_action_is_not_begun_twice() -> None:
    service = Failing(AWAY, CUT, b"HTTP/1.1 404 X\r\nContent-Length: 1\r\n\r\nx")
    async with receiver(service) as listening, AsyncClient(listening.url(), API_KEY) as client:
        for error in (UnavailableError, NoAnswerError, UnexpectedAnswerError):
            with pytest.raises(error):
                await client.timers.bulk("cancel", {"status": "pending"})
    assert len(service.requests) == 3
