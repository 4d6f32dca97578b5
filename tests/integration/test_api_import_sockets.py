"""Imports over real connections: slow and greedy clients, and such as leave."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import httpx
import pytest
import trio

from tests.api_under_test import API_KEY, WANTED, ApiUnderTest, served_api
from timer_trio.api.asgi import MAX_DROPPED_BYTES
from timer_trio.domain.timer import NewTimer

PATIENCE_S = 30  # for a busy machine; nothing here waits for it
HEAD = f"Host: x\r\nX-API-Key: {API_KEY}\r\nContent-Type: application/x-ndjson\r\n".encode()
POST = b"POST /timers/import HTTP/1.1\r\n"
GOOD = json.dumps(WANTED).encode() + b"\n"
GREAT = json.dumps({**WANTED, "callback_payload": "x" * 250_000}).encode() + b"\n"
GREAT_COUNT = 200
"""50 MB: far more than the buffers of two sockets hold."""
BUFFERS = 24 * 1024 * 1024


class Server:
    def __init__(self, api: ApiUnderTest, url: str) -> None:
        self.api = api
        self.url = url

    async def begin(self, length: int) -> trio.SocketStream:
        url = httpx.URL(self.url)
        stream = await trio.open_tcp_stream(url.host, url.port or 0)
        await stream.send_all(POST + HEAD + b"Content-Length: %d\r\n\r\n" % length)
        return stream

    async def total(self) -> int:
        headers = {"X-API-Key": API_KEY}
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_S) as client:
            answer = await client.get(f"{self.url}/timers?limit=1")
            return int(answer.json()["data"]["total"])

    async def wait_total(self, count: int) -> None:
        with trio.fail_after(PATIENCE_S):
            while await self.total() != count:  # noqa: ASYNC110 - as a consumer would
                await trio.sleep(0.05)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with served_api() as (api, url):
        yield Server(api, url)


async def answer_of(stream: trio.SocketStream) -> bytes:
    with trio.fail_after(PATIENCE_S):
        read = b""
        while not read.endswith(b"\r\n0\r\n\r\n"):
            part = bytes(await stream.receive_some())
            assert part, read
            read += part
        return read


async def test_client_waits_while_the_database_does(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_many = server.api.storage.create_many
    opened = trio.Event()
    sent = 0

    async def wait_and_create(timers: Sequence[NewTimer], now: datetime) -> None:
        await opened.wait()
        await create_many(timers, now)

    async def send() -> None:
        nonlocal sent
        for _ in range(GREAT_COUNT):
            await stream.send_all(GREAT)
            sent += len(GREAT)

    monkeypatch.setattr(server.api.storage, "create_many", wait_and_create)
    async with await server.begin(len(GREAT) * GREAT_COUNT) as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            before = -1
            while sent != before:
                before = sent
                await trio.sleep(0.5)
            assert 0 < sent < BUFFERS
            opened.set()
        assert b'"imported": %d,' % GREAT_COUNT in (await answer_of(stream))[-300:]
    assert await server.total() == GREAT_COUNT


async def test_what_was_sent_before_a_client_left_stays(server: Server) -> None:
    stream = await server.begin(1_000_000)
    await stream.send_all(GOOD * 10 + GOOD[:20])
    await server.wait_total(10)
    await stream.aclose()
    again = await server.begin(len(GOOD))
    await again.send_all(GOOD)
    assert b'"imported": 1,' in await answer_of(again)
    await again.aclose()
    assert await server.total() == 11


async def test_answer_comes_while_the_client_still_sends(server: Server) -> None:
    async with await server.begin(len(GOOD) * 2) as stream:
        await stream.send_all(GOOD)
        with trio.fail_after(PATIENCE_S):
            read = b""
            while b'{"lines": 1, "imported": 1, "refused": 0, "through_line": 1}\n' not in read:
                read += await stream.receive_some()
        await stream.send_all(GOOD)
        assert b'"code": 0' in await answer_of(stream)


async def test_connection_serves_the_next_request_after_an_import(server: Server) -> None:
    async with await server.begin(len(GOOD)) as stream:
        for _ in range(2):
            await stream.send_all(GOOD)
            assert b'"imported": 1,' in await answer_of(stream)
            await stream.send_all(POST + HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD))
    assert await server.total() == 2


async def test_chunked_import_is_read(server: Server) -> None:
    url = httpx.URL(server.url)
    async with await trio.open_tcp_stream(url.host, url.port or 0) as stream:
        await stream.send_all(POST + HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for part in (GOOD[:10], GOOD[10:] + GOOD, GOOD[:-1]):
            await stream.send_all(b"%x\r\n%b\r\n" % (len(part), part))
        await stream.send_all(b"0\r\n\r\n")
        assert b'"imported": 3,' in await answer_of(stream)


async def test_stop_is_told_to_a_client_that_sends_on(server: Server) -> None:
    server.api.stopping.set()
    size = MAX_DROPPED_BYTES // 2
    async with await server.begin(size) as stream:
        with trio.fail_after(PATIENCE_S):
            await stream.send_all(GOOD * (size // len(GOOD)) + b" " * (size % len(GOOD)))
        answer = await answer_of(stream)
    assert b'"code": 1, "message": "the service stops' in answer
    (last,) = [line for line in answer.split(b"\r\n") if line.startswith(b'{"code"')]
    told = json.loads(last)["data"]
    assert told["imported"] == told["through_line"] == await server.total()


async def test_import_without_a_key_is_read_to_its_end(server: Server) -> None:
    url = httpx.URL(server.url)
    size = MAX_DROPPED_BYTES // 2
    async with await trio.open_tcp_stream(url.host, url.port or 0) as stream:
        head = b"Host: x\r\nContent-Type: application/x-ndjson\r\n"
        await stream.send_all(POST + head + b"Content-Length: %d\r\n\r\n" % size)
        with trio.fail_after(PATIENCE_S):
            assert b" 401 " in await stream.receive_some()
            await stream.send_all(b"x" * size)
            await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            read = b""
            while b"HTTP/1.1 200" not in read:
                read += await stream.receive_some()
