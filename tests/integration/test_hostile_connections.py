"""Connections that end in the middle, stall, or speak something else: each costs itself alone."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme
from structlog.testing import capture_logs

from tests.api_under_test import API_KEY, ApiUnderTest, served_api, tls_config
from tests.hostile_requests import FATAL, PREFACE, UPGRADE, WEBSOCKET
from timer_trio.server.protocol import Http1

PATIENCE_S = 30  # for a busy machine; nothing here waits for it
PROMPT_S = 5  # far below what it takes without the limit
KEY = b"X-API-Key: %b\r\n" % API_KEY.encode()
ALIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /timers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + KEY
CHUNKED = b"POST /timers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
RESET = struct.pack("ii", 1, 0)
GREAT = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
"""Its answer is greater than what two sockets hold, asked for a few times."""


class Server:
    def __init__(self, api: ApiUnderTest, url: str, tls: ssl.SSLContext | None = None) -> None:
        self.api = api
        self._port = int(url.rpartition(":")[2])
        self._tls = tls

    async def connect(self) -> Any:
        """Connect; the stream knows `send_all` and `receive_some`."""
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        if self._tls is None:
            return stream
        secured = trio.SSLStream(stream, self._tls, server_hostname="127.0.0.1")
        await secured.do_handshake()
        return secured

    async def talk(self, request: bytes) -> bytes:
        """Send bytes, and read to the end."""
        stream = await self.connect()
        await stream.send_all(request)
        return await read_to_end(stream)

    async def is_alive(self) -> bool:
        return b" 200 " in (await self.talk(ALIVE + b"Connection: close\r\n\r\n"))[:20]

    async def wait_closed(self, reason: str, count: int = 1) -> None:
        with trio.fail_after(PATIENCE_S):
            while self.closed(reason) < count:  # noqa: ASYNC110 - as a scrape would
                await trio.sleep(0.01)

    def closed(self, reason: str) -> int:
        registry, labels = self.api.metrics.registry, {"reason": reason}
        return int(registry.get_sample_value("timer_trio_connections_closed_total", labels) or 0)

    @property
    def open(self) -> int:
        return int(self.api.metrics.registry.get_sample_value("timer_trio_connections") or 0)


async def read_to_end(stream: Any) -> bytes:
    read = bytearray()
    with trio.fail_after(PATIENCE_S):
        with suppress(trio.BrokenResourceError):
            while part := await stream.receive_some():
                read += part
        await trio.aclose_forcefully(stream)
    return bytes(read)


async def answer_of(stream: Any) -> tuple[int, Any]:
    """Read one answer: its status, and what its body holds."""
    head = b""
    with trio.fail_after(PATIENCE_S):
        while b"\r\n\r\n" not in head:
            part = await stream.receive_some()
            assert part, head
            head += part
        head, _, body = head.partition(b"\r\n\r\n")
        (length,) = re.findall(rb"content-length: (\d+)", head.lower())
        while len(body) < int(length):
            body += await stream.receive_some()
    assert len(body) == int(length)
    return int(head.split()[1]), json.loads(body)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with served_api() as (api, url):
        yield Server(api, url)


@pytest.fixture(params=["tcp", "tls"])
async def either_server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    """A server over TCP, and one over TLS."""
    if request.param == "tcp":
        async with served_api() as (api, url):
            yield Server(api, url)
        return
    authority = trustme.CA()
    async with served_api(tls_config(tmp_path, authority)) as (api, url):
        yield Server(api, url, client_context(authority, "h2"))


def client_context(authority: trustme.CA, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(protocols)
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("name", FATAL)
async def test_request_that_breaks_its_connection_breaks_no_other(
    either_server: Server, name: str
) -> None:
    server = either_server
    other = await server.connect()
    with capture_logs() as log:
        stream = await server.connect()
        await stream.send_all(FATAL[name])
        status, answer = await answer_of(stream)
        assert (status, answer["code"]) in {(200, 0), (401, 4), (505, 2)}
        await trio.aclose_forcefully(stream)
        assert await server.is_alive()
    await other.send_all(ALIVE + b"\r\n")
    assert (await answer_of(other))[0] == 200
    await trio.aclose_forcefully(other)
    assert not [line for line in log if line["log_level"] in {"error", "warning"}]


async def test_exception_of_a_connection_is_told_in_a_line_and_ends_it_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle_events = Http1._handle_events

    async def break_at_times(protocol: Http1) -> None:
        if b"break" in bytes(protocol._received):
            raise ZeroDivisionError
        await handle_events(protocol)

    monkeypatch.setattr(Http1, "_handle_events", break_at_times)
    with capture_logs() as log:
        assert await server.talk(ALIVE + b"A: break\r\n\r\n") == b""
    assert await server.is_alive()
    (line,) = log
    assert line.pop("peer").startswith("127.0.0.1:")
    assert line == {
        "event": "connection_broken",
        "error": "ZeroDivisionError",
        "log_level": "info",
    }
    await server.wait_closed("broken")


async def test_mistake_of_our_own_is_an_internal_error_with_its_traceback(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server.api.app, "asgi_app", fail)
    stream = await server.connect()
    await stream.send_all(ALIVE + b"\r\n")
    assert await answer_of(stream) == (500, {"code": 1, "message": "internal error", "data": None})
    assert await read_to_end(stream) == b""
    (record,) = caplog.records
    assert record.exc_info


@pytest.mark.parametrize(
    "upgrade", [UPGRADE.replace(b"/health/live", b"/timers") % b"AAMAAABk", WEBSOCKET + b"\r\n"]
)
async def test_upgrade_is_ignored_and_gets_nobody_past_the_key(
    server: Server, upgrade: bytes
) -> None:
    stream = await server.connect()
    await stream.send_all(upgrade)
    assert (await answer_of(stream))[0] == 401
    await stream.send_all(upgrade.replace(b"Host: x\r\n", b"Host: x\r\n" + KEY))
    assert (await answer_of(stream))[0] == 200
    await stream.aclose()


@pytest.mark.parametrize(
    "line", [PREFACE, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", b"HEAD / HTTP/0.9\r\n\r\n"]
)
async def test_every_other_version_is_refused(server: Server, line: bytes) -> None:
    answer = await server.talk(line)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 505 "), answer
    assert b"\r\nconnection: close" in head.lower()
    if not line.startswith(b"HEAD"):
        refusal = {"code": 2, "message": "only HTTP/1.1 is spoken here", "data": None}
        assert json.loads(body) == refusal
    await server.wait_closed("refused")


async def test_tls_offers_http_1_alone(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = client_context(authority, "h2", "http/1.1")
    more = 'alpn_protocols = ["h2"]\n'
    async with served_api(tls_config(tmp_path, authority, more)) as (api, url):
        stream = await Server(api, url, context).connect()
        assert stream.selected_alpn_protocol() == "http/1.1"
        await trio.aclose_forcefully(stream)


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (b"nonsense\r\n\r\n", 400, "this is not HTTP/1.1: illegal request line: 'nonsense'"),
        (ALIVE + b"a b: 'c'\r\n\r\n", 400, """illegal header line: "a b: 'c'\""""),
        (CHUNKED + b"zz\r\n", 400, "illegal chunk header: 'zz\\r\\n'"),
        (CHUNKED + b"1\r\nabc\r\n", 400, "malformed chunk footer: 'bc' (expected '\\r\\n')"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "this is not HTTP/1.1: Missing mandatory Host: header"),
        (ALIVE + b"A: " + b"a" * 20_000 + b"\r\n\r\n", 431, "at most 100 headers in 16,384 bytes"),
        (ALIVE + b"a:\r\n" * 100 + b"\r\n", 431, "at most 100 headers in 16,384 bytes"),
        (
            CHUNKED + b"0\r\n" + b"a:\r\n" * 4_000 + b"\r\n",
            431,
            "at most 100 headers",
        ),
        (ALIVE + b"Transfer-Encoding: gzip\r\n\r\n", 501, "Transfer-Encoding"),
        (POST + b"Content-Length: 9\r\n\r\nhalf", 400, "closed connection"),
    ],
)
async def test_what_the_server_refuses_itself_is_told_in_the_envelope(
    server: Server, request_: bytes, status: int, words: str
) -> None:
    stream = await server.connect()
    await stream.send_all(request_)
    await stream.send_eof()
    answers = await read_to_end(stream)
    head, _, body = answers[answers.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status, answers
    assert b"\r\nconnection: close" in head.lower()
    refusal = json.loads(body)
    assert (refusal["code"], refusal["data"]) == (2, None)
    assert words in refusal["message"]


async def test_refusal_after_an_answer_without_a_body_has_one(server: Server) -> None:
    stream = await server.connect()
    await stream.send_all(b"HEAD /health/live HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n")
    answers = await read_to_end(stream)
    assert json.loads(answers.rpartition(b"\r\n\r\n")[2])["code"] == 2


async def test_request_cut_short_is_answered_by_whoever_is_first(server: Server) -> None:
    for _ in range(20):
        stream = await server.connect()
        await stream.send_all(b"POST /timers HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        await stream.send_eof()
        assert (await answer_of(stream))[0] in {400, 401}
        await trio.aclose_forcefully(stream)


async def test_so_many_headers_are_taken(server: Server) -> None:
    assert b" 200 " in await server.talk(ALIVE + b"a:\r\n" * 98 + b"Connection: close\r\n\r\n")


async def test_refusal_reaches_a_client_that_sends_on(server: Server) -> None:
    answer = await server.talk(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 4_000_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_half_closed_connection_gets_its_answers(server: Server) -> None:
    stream = await server.connect()
    await stream.send_all((ALIVE + b"\r\n") * 3)
    await stream.send_eof()
    assert (await read_to_end(stream)).count(b"HTTP/1.1 200") == 3
    await server.wait_closed("answered")


async def test_name_that_is_not_served_is_told(tmp_path: Path) -> None:
    path = tmp_path / "hypercorn.toml"
    path.write_text('server_names = ["timers.example"]\nbind = "127.0.0.1:0"\n')
    async with served_api(path) as (api, url):
        server = Server(api, url)
        for host in (b"other.example", b"\xff"):
            answer = await server.talk(b"GET /health/live HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
            assert answer.startswith(b"HTTP/1.1 421 ")
        assert (await answer_of_host(server, b"timers.example")) == 200


async def answer_of_host(server: Server, host: bytes) -> int:
    stream = await server.connect()
    await stream.send_all(b"GET /health/live HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
    status, _ = await answer_of(stream)
    await trio.aclose_forcefully(stream)
    return status


async def test_pipelined_requests_whose_answers_nobody_reads_lose_no_descriptor(
    server: Server,
) -> None:
    assert await server.is_alive()
    before = open_files()
    with capture_logs() as log:
        for _ in range(10):
            stream = await server.connect()
            await stream.send_all(GREAT * 10)
            await trio.testing.wait_all_tasks_blocked(0.02)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            stream.socket.close()
        await server.wait_closed("reset", 10)
    assert await server.is_alive()
    assert not log
    with trio.fail_after(PATIENCE_S):
        while open_files() > before:  # noqa: ASYNC110 - a probe
            await trio.sleep(0.01)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, of no path's


async def test_client_that_does_not_read_is_dropped() -> None:
    async with served_api(send_s=0.2) as (api, url):
        server = Server(api, url)
        stream = await server.connect()
        await stream.send_all(GREAT * 1_000)
        await server.wait_closed("send_timeout")
        assert server.open == 0
        stream.socket.close()


async def test_slow_reader_is_served_as_long_as_it_reads() -> None:
    last = GREAT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with served_api(send_s=0.5) as (api, url):
        stream = await Server(api, url).connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, GREAT * 99 + last)
            read = 0
            for _ in range(30):
                read += (await stream.receive_some(32_768)).count(b"HTTP/1.1 200")
                await trio.sleep(0.05)
            read += (await read_to_end(stream)).count(b"HTTP/1.1 200")
        assert 99 <= read <= 100  # one may stand across two reads


async def test_trickled_head_is_answered_408() -> None:
    async with served_api(head_s=0.3) as (api, url):
        server = Server(api, url)
        stream = await server.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle, stream, ALIVE + b"A: " + b"a" * 1_000)
            with trio.fail_after(PROMPT_S):
                status, refusal = await answer_of(stream)
            nursery.cancel_scope.cancel()
        assert status == 408
        assert (refusal["code"], refusal["data"]) == (2, None)
        assert await read_to_end(stream) == b""
        await server.wait_closed("head_timeout")


async def trickle(stream: trio.SocketStream, data: bytes) -> None:
    for byte in data:
        try:
            await stream.send_all(bytes([byte]))
        except trio.BrokenResourceError:
            return
        await trio.sleep(0.02)


async def test_body_that_stalls_is_answered_408() -> None:
    async with served_api(read_s=0.2) as (api, url):
        server = Server(api, url)
        stream = await server.connect()
        await stream.send_all(POST + b"Content-Length: 9\r\n\r\n{")
        assert (await answer_of(stream))[0] == 408
        assert await read_to_end(stream) == b""
        await server.wait_closed("body_timeout")


async def test_handshake_that_stalls_is_ended(tmp_path: Path) -> None:
    config = tls_config(tmp_path, trustme.CA())
    async with served_api(config, handshake_s=0.1) as (api, url):
        server = Server(api, url)
        for beginning in (b"", b"\x16\x03\x01", ALIVE + b"\r\n"):
            assert b"HTTP" not in await server.talk(beginning)
        await server.wait_closed("handshake", 3)


async def test_connection_waits_for_its_next_request_so_long() -> None:
    async with served_api(keep_alive_s=0.3) as (api, url):
        server = Server(api, url)
        stream = await server.connect()
        for _ in range(3):
            await trio.sleep(0.15)
            await stream.send_all(ALIVE + b"\r\n")
            assert (await answer_of(stream))[0] == 200
        began = trio.current_time()
        assert await read_to_end(stream) == b""
        assert trio.current_time() - began >= 0.25
        await server.wait_closed("idle")


async def test_new_connection_takes_the_place_of_the_one_that_waits_longest() -> None:
    async with served_api(max_connections=3, max_connections_per_address=3) as (api, url):
        server = Server(api, url)
        first, second, third = [await server.connect() for _ in range(3)]
        for stream in (second, first, third):
            await stream.send_all(ALIVE + b"\r\n")
            assert (await answer_of(stream))[0] == 200
        fourth = await server.connect()
        await fourth.send_all(ALIVE + b"\r\n")
        assert (await answer_of(fourth))[0] == 200
        assert await read_to_end(second) == b""
        assert server.open == 3
        for stream in (first, third, fourth):
            await stream.send_all(ALIVE + b"\r\n")
            assert (await answer_of(stream))[0] == 200
            await stream.aclose()


async def test_beyond_the_limit_of_its_address_a_connection_is_closed_at_once() -> None:
    async with served_api(max_connections=9, max_connections_per_address=2) as (api, url):
        server = Server(api, url)
        busy = [await server.connect() for _ in range(2)]
        for stream in busy:
            await stream.send_all(ALIVE)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert await read_to_end(await server.connect()) == b""
        await server.wait_closed("address_limit")
        for stream in busy:
            await stream.send_all(b"\r\n")
            assert (await answer_of(stream))[0] == 200
            await stream.aclose()


async def test_beyond_the_limit_of_all_a_connection_waits_in_the_backlog() -> None:
    async with served_api(max_connections=2, max_connections_per_address=2) as (api, url):
        server = Server(api, url)
        busy = [await server.connect() for _ in range(2)]
        for stream in busy:
            await stream.send_all(ALIVE)
        await trio.testing.wait_all_tasks_blocked(0.05)
        waiting = await server.connect()
        await waiting.send_all(ALIVE + b"\r\n")
        with trio.move_on_after(0.2) as nothing:
            await waiting.receive_some()
        assert nothing.cancelled_caught
        await busy[0].send_all(b"\r\n")
        assert (await answer_of(busy[0]))[0] == 200
        assert (await answer_of(waiting))[0] == 200
        for stream in (*busy, waiting):
            await stream.aclose()


async def test_stop_closes_what_waits_and_answers_what_is_under_way() -> None:
    async with served_api(stop_read_s=0.2) as (api, url):
        server = Server(api, url)
        idle, head, body, stalled = [await server.connect() for _ in range(4)]
        post = POST + b"Content-Length: 2\r\n\r\n"
        await head.send_all(ALIVE)
        await body.send_all(post)
        await stalled.send_all(post)
        await trio.testing.wait_all_tasks_blocked(0.05)
        api.closing.set()
        for stream in (idle, head):
            assert await read_to_end(stream) == b""
        await body.send_all(b"{}")
        assert (await answer_of(body))[0] == 400
        assert await read_to_end(body) == b""
        with trio.fail_after(PROMPT_S):
            assert (await answer_of(stalled))[0] == 408
            assert await read_to_end(stalled) == b""
        assert server.open == 0
        with pytest.raises(OSError, match="all attempts to connect"):
            await server.connect()
