from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import NoReturn

import httpx
import pytest
import trio
import trio.testing

from tests.api_under_test import API_KEY, MAX_BODY_BYTES, WANTED, ApiUnderTest, served_api
from timer_trio.api.body.whole import WholeBody
from timer_trio.server.client_connection import ClientConnection

PATIENCE_S = 30  # for a busy machine; nothing here waits for it
KEY = f"X-API-Key: {API_KEY}\r\n".encode()
HEAD = b"Host: x\r\nContent-Type: application/json\r\n" + KEY


class Server:
    def __init__(self, api: ApiUnderTest, url: str) -> None:
        self.api = api
        self.url = httpx.URL(url)

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(self.url.host, self.url.port or 0)

    async def talk(self, request: bytes, *, say_goodbye: bool = False) -> bytes:
        """Send bytes, and read to the end."""
        with trio.fail_after(PATIENCE_S):
            async with await self.connect() as stream:
                try:
                    await stream.send_all(request)
                    if say_goodbye:
                        await stream.send_eof()
                    return b"".join([part async for part in stream])
                except trio.BrokenResourceError:
                    return b""

    async def still_works(self) -> None:
        with trio.fail_after(PATIENCE_S):
            async with httpx.AsyncClient(headers={"X-API-Key": API_KEY}) as client:
                answer = await client.post(f"{self.url}timers", json=WANTED)
                assert answer.status_code == 201


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with served_api() as (api, url):
        yield Server(api, f"{url}/")


async def answer_head(stream: trio.SocketStream) -> bytes:
    """Read an answer whose body comes with its head."""
    with trio.fail_after(PATIENCE_S):
        read = b""
        while b"\r\n\r\n" not in read or not read.endswith(b"}"):
            read += await stream.receive_some()
        return read


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 1_000,
        bytes(range(256)) * 50,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,  # the hello of TLS
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /timers HTTP/1.1\r\n\r\n",  # no Host
        b"GET /timers HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /timers HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /timers HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET /timers HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
        b"GET /t\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /timers?status=\xff HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"POST /timers HTTP/1.1\r\n" + HEAD + b"Content-Length: -1\r\n\r\n",
        b"POST /timers HTTP/1.1\r\n" + HEAD + b"Content-Length: x\r\n\r\n",
        b"POST /timers HTTP/1.1\r\n" + HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /timers HTTP/1.1\r\n" + HEAD + b"Content-Length: 9" + b"9" * 30 + b"\r\n\r\n",
        b"POST /timers HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        b"POST /timers HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /timers HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n",
        b"POST /timers HTTP/1.1\r\n" + HEAD + b"Content-Length: 500\r\n\r\ncut short",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\xff\xff",
    ],
)
async def test_what_is_no_http_is_closed_and_harms_nothing(server: Server, garbage: bytes) -> None:
    answer = await server.talk(garbage, say_goodbye=True)
    assert b"Traceback" not in answer
    assert b" 500 " not in answer[:20]
    await server.still_works()


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /timers HTTP/1.1\r\nHost: [\r\n", 200),
        (b"GET /timers HTTP/1.1\r\nHost: a b/c@d:99999999\r\n", 200),
        (b"GET /timers HTTP/1.1\r\nHost: \xff\xfe\r\n", 200),
        (b"GET /timers HTTP/1.1\r\nHost: " + b"a" * 70 + b"..\r\n", 200),
        (b"GET http://example.com/timers HTTP/1.1\r\nHost: x\r\n", 200),
        (b"GET http://[/timers HTTP/1.1\r\nHost: x\r\n", 404),
        (b"GET ? HTTP/1.1\r\nHost: x\r\n", 200),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n", 404),
        (b"GET /%zz%00%ff HTTP/1.1\r\nHost: x\r\n", 404),
        (b"GET /timers?a=%ff HTTP/1.1\r\nHost: x\r\n", 400),
        (b"GET /timers HTTP/1.0\r\n", 200),
    ],
)
async def test_strange_http_is_answered_in_the_envelope(
    server: Server, request_head: bytes, status: int
) -> None:
    answer = await server.talk(request_head + KEY + b"Connection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert set(json.loads(body)) == {"code", "message", "data"}


async def test_half_open_connections_hold_nobody_up(server: Server) -> None:
    starts = (b"", b"POST /tim", b"POST /timers HTTP/1.1\r\n" + HEAD + b"Content-Length: 9\r\n\r\n")
    idle = []
    for n in range(150):
        stream = await server.connect()
        await stream.send_all(starts[n % len(starts)])
        idle.append(stream)
    for _ in range(10):
        await server.still_works()
    for stream in idle:
        await stream.aclose()
    await server.still_works()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /timers HTTP/1.1\r\n" + HEAD, b"413"),
        (b"POST /timers HTTP/1.1\r\nHost: x\r\n", b"401"),
        (b"PATCH /timers HTTP/1.1\r\n" + HEAD, b"405"),
        (b"POST /nope HTTP/1.1\r\n" + HEAD, b"404"),
    ],
)
async def test_a_refused_body_is_answered_at_once_and_read_to_its_end(
    server: Server, head: bytes, status: bytes
) -> None:
    size = MAX_BODY_BYTES * 8
    async with await server.connect() as stream:
        await stream.send_all(head + b"Content-Length: %d\r\n\r\n" % size)
        assert (await answer_head(stream)).startswith(b"HTTP/1.1 " + status)
        with trio.fail_after(PATIENCE_S):
            await stream.send_all(b"x" * size)
        await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer_head(stream)).startswith(b"HTTP/1.1 200")


async def test_body_of_a_stranger_is_not_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collect(_body: WholeBody) -> NoReturn:
        raise AssertionError("it is kept")

    monkeypatch.setattr(WholeBody, "_collect", collect)
    sent = b"POST /timers/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n"
    async with await server.connect() as stream:
        await stream.send_all(sent)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await stream.send_all(b" " * 8_000_000)
        assert (await answer_head(stream)).startswith(b"HTTP/1.1 401 ")


async def test_an_endless_body_is_cut_off(server: Server) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = b"POST /timers HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    async with await server.connect() as stream:
        await stream.send_all(head)
        with trio.fail_after(PATIENCE_S), pytest.raises(trio.BrokenResourceError):  # noqa: PT012 - the loop
            for _ in range(10_000):
                await stream.send_all(chunk)
    await server.still_works()


async def test_a_chunked_body_is_read(server: Server) -> None:
    body = json.dumps(WANTED).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    head = b"POST /timers HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    assert (await server.talk(head + chunks)).startswith(b"HTTP/1.1 201 ")


async def test_expect_100_continue_is_honoured(server: Server) -> None:
    body = json.dumps(WANTED).encode()
    head = b"POST /timers HTTP/1.1\r\n" + HEAD + b"Expect: 100-continue\r\n"
    async with await server.connect() as stream:
        await stream.send_all(head + b"Content-Length: %d\r\n\r\n" % len(body))
        with trio.fail_after(PATIENCE_S):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await stream.send_all(body)
        assert (await answer_head(stream)).startswith(b"HTTP/1.1 201 ")


async def test_head_has_no_body_and_nobody_names_the_server(server: Server) -> None:
    answer = await server.talk(b"HEAD /timers HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b""
    assert b"\r\nserver:" not in head.lower()


@pytest.mark.parametrize(
    ("request_head", "body"),
    [
        (b"POST /timers", json.dumps(WANTED).encode()),
        (b"POST /timers", b"{}"),
        (b"GET /nope", b""),
        (b"HEAD /timers", b""),
        (b"OPTIONS /timers", b""),
    ],
)
async def test_answer_is_sent_in_one_piece(
    server: Server, monkeypatch: pytest.MonkeyPatch, request_head: bytes, body: bytes
) -> None:
    sent: list[bytes] = []
    send = ClientConnection._send

    async def told(connection: ClientConnection, data: bytes) -> None:
        sent.append(data)
        await send(connection, data)

    monkeypatch.setattr(ClientConnection, "_send", told)
    head = request_head + b" HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n"
    answer = await server.talk(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert [answer] == sent
