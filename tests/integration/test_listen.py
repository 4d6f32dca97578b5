from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httptools
import pytest
import trio

from tests.command import run_command
from timer_trio.cli.errors import ListenFailedError
from timer_trio.cli.trial_receiver import Callback, Reply, describe, listen
from timer_trio.domain.signing import SecretText, Signer

NOW = datetime(2030, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)
REQUEST = (
    b"POST /hook?a=1 HTTP/1.1\r\nHost: x\r\nX-Timer-Scheduled-At: 2030-01-01T00:00:00Z\r\n"
    b"Content-Type: application/json\r\nContent-Length: 19\r\n\r\n" + b'{"b":1,"a":"gr\xc3\xbcn"}'
)
Connect = Callable[[], Awaitable[trio.SocketStream]]


@asynccontextmanager
async def listening(reply: Reply) -> AsyncIterator[Connect]:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(listen, "127.0.0.1", 0, reply))
        with trio.fail_after(10):
            yield partial(trio.open_tcp_stream, "127.0.0.1", port)
        nursery.cancel_scope.cancel()


class Answers:
    """Statuses of the answers on a connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._parser = httptools.HttpResponseParser(self)
        self._statuses: list[int] = []

    def on_message_complete(self) -> None:
        self._statuses.append(self._parser.get_status_code())

    async def read(self, count: int) -> list[int]:
        while len(self._statuses) < count:
            data = await self._stream.receive_some(1000)
            assert data, "closed before the answer"
            self._parser.feed_data(data)
        return self._statuses


def callback(**headers: str) -> Callback:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Callback("POST", b"/hook", named, bytearray(), keeps_alive=True)


async def test_callback_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    async with listening(Reply()) as connect, await connect() as stream:
        await stream.send_all(REQUEST)
        assert await Answers(stream).read(1) == [200]
    printed = capsys.readouterr().out
    assert "POST /hook?a=1" in printed
    assert "  Content-Type: application/json\n" in printed
    assert '  {\n    "b": 1,\n    "a": "grün"\n  }\n' in printed


async def test_connection_serves_one_request_after_another() -> None:
    async with listening(Reply()) as connect, await connect() as stream:
        answers = Answers(stream)
        for byte in REQUEST:
            await stream.send_all(bytes([byte]))
        await answers.read(1)
        await stream.send_all(REQUEST + REQUEST)
        assert await answers.read(3) == [200, 200, 200]


@pytest.mark.parametrize("status", [204, 302, 418, 503, 599])
async def test_answer_is_the_chosen_status(status: int) -> None:
    async with listening(Reply(status)) as connect, await connect() as stream:
        await stream.send_all(REQUEST + REQUEST)
        assert await Answers(stream).read(2) == [status, status]


async def test_slow_answers_wait_beside_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with listening(Reply(delay_s=0.2)) as connect:
        started_at = trio.current_time()
        streams = [await connect() for _ in range(20)]
        for stream in streams:
            await stream.send_all(REQUEST)
        for stream in streams:
            await Answers(stream).read(1)
            await stream.aclose()
        assert 0.2 <= trio.current_time() - started_at < 2
    assert capsys.readouterr().out.count("POST /hook") == 20


@pytest.mark.parametrize(
    "broken",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nxx",
        b"POST / HTTP/1.1\r\nContent-Le",
    ],
)
async def test_broken_request_harms_nobody(broken: bytes) -> None:
    async with listening(Reply()) as connect:
        async with await connect() as stream:
            await stream.send_all(broken)
            await stream.send_eof()
            while await stream.receive_some(1000):
                pass
        async with await connect() as stream:
            await stream.send_all(REQUEST)
            assert await Answers(stream).read(1) == [200]


async def test_sender_that_goes_away_harms_nobody() -> None:
    async with listening(Reply(delay_s=0.05)) as connect:
        stream = await connect()
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await stream.send_all(REQUEST)
        await stream.aclose()
        async with await connect() as stream:
            await stream.send_all(REQUEST)
            assert await Answers(stream).read(1) == [200]


async def test_port_in_use_is_told_in_words() -> None:
    (taken,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with taken:
        port = taken.socket.getsockname()[1]
        with pytest.raises(ListenFailedError, match=f"port {port}: .*in use"):
            await listen("127.0.0.1", port, Reply())


@pytest.mark.parametrize(
    ("scheduled_at", "words"),
    [
        ("2030-01-02T03:04:05.676Z", "3 ms late"),
        ("2030-01-02T05:04:05.6789+02:00", "0 ms late"),
        ("2030-01-02T03:04:05.700Z", "21 ms EARLY"),
        ("2030-01-02T03:03:05.6789Z", "60000 ms late"),
        ("2030-01-02T03:04:05", "no time"),
        ("soon", "no time"),
    ],
)
def test_lateness_is_told_to_the_millisecond(scheduled_at: str, words: str) -> None:
    first_line = describe(callback(x_timer_scheduled_at=scheduled_at), NOW).splitlines()[0]
    assert first_line.startswith("2030-01-02 03:04:05.678Z")
    assert words in first_line


@pytest.mark.parametrize(
    "body", [b"\x1b[2J plain", b'"\xc2\x9b2J"', b'["\\u001b]0;x"]', b"\xff\x00"]
)
def test_callback_cannot_steer_the_terminal(body: bytes) -> None:
    hostile = callback(x_note="\x1b[31m\x9b")
    hostile.body += body
    assert all(char.isprintable() or char == "\n" for char in describe(hostile, NOW))


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the examples of Standard Webhooks
OTHER_SECRET = SECRET.replace("M", "N", 1)


def signed(secret: str, at: datetime) -> Callback:
    timestamp = str(int(at.timestamp()))
    signature = Signer(SecretText(secret)).sign(f"id.{timestamp}.".encode(), b"{}")
    given = callback(
        webhook_id="id",
        webhook_timestamp=timestamp,
        webhook_signature=f"v1,x {signature.decode()}",
    )
    given.body += b"{}"
    return given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (callback(), "not signed"),
        (signed(SECRET, NOW), "signature holds"),
        (signed(SECRET, NOW - timedelta(minutes=6)), "signature holds, but is TOO OLD or too new"),
        (signed(OTHER_SECRET, NOW), "signed, but NOT by this secret"),
        (
            callback(webhook_id="ä", webhook_timestamp="x", webhook_signature="v1,ä"),
            "signed, but NOT by this secret",
        ),
    ],
)
def test_signature_is_judged_if_the_secret_is_known(given: Callback, words: str) -> None:
    shown = describe(given, NOW, Signer(SecretText(SECRET)))
    assert shown.split("\n")[1] == f"  {words}"
    assert words not in describe(given, NOW)


def test_what_is_no_secret_is_refused_and_not_shown(tmp_path: Path) -> None:
    code, out, err = run_command(tmp_path, "listen", "--secret", "whsec_nothing!")
    assert (code, out) == (2, "")
    assert "is no signing secret" in err
    assert "nothing!" not in err
