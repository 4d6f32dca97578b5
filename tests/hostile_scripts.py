"""What hostile clients do on a connection, drawn at random out of a seed."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, StrEnum, auto
from random import Random
from typing import Final, NamedTuple

import trio
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.hostile_requests import FATAL, PREFACE, UPGRADE, WEBSOCKET, asking, prior_knowledge

PAUSE_S: Final = 0.02
PATIENCE_S: Final = 2.0
MAX_SIZE: Final = 200_000
_RESET: Final = struct.pack("ii", 1, 0)
TIMER: Final = json.dumps({"delay": "P30D", "callback_url": "https://hooks.example/x"}).encode()
TOKENS: Final = (
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\xff\xfe",
    b" ",
    b":",
    b"%00%zz",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"Content-Length: 7\r\n",
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: y\r\n",
    b"A: " + b"a" * 20_000 + b"\r\n",
    b"a:\r\n" * 150,
    b"FFFFFFFFFFFFFFFFF\r\n",
    b"0\r\n\r\n",
)


class Kind(StrEnum):
    HTTP_1 = auto()
    HTTP_2 = auto()
    WEBSOCKET = auto()


class End(Enum):
    """How a client leaves."""

    READ = auto()
    """After it has read what comes."""
    HALF_CLOSE = auto()
    """The same, having said that it sends no more."""
    CLOSE = auto()
    RESET = auto()


class Script(NamedTuple):
    pieces: Sequence[bytes]
    end: End


def script_of(seed: int, kind: Kind, api_key: str) -> Script:
    """Draw a script; the same one for the same seed."""
    chance = Random(f"{seed}-{kind}")
    data = _DRAW[kind](chance, api_key.encode())[:MAX_SIZE]
    return Script(list(_pieces(chance, data)), chance.choice(list(End)))


async def play(script: Script, port: int) -> None:
    """Do on a connection what a script says, as far as the other side lets us."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    try:
        with trio.move_on_after(PATIENCE_S):
            await _play(script, stream)
    except trio.BrokenResourceError:
        pass
    finally:
        if script.end is End.RESET:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        stream.socket.close()


async def _play(script: Script, stream: trio.SocketStream) -> None:
    for number, piece in enumerate(script.pieces):
        if number:
            await trio.sleep(PAUSE_S)
        await stream.send_all(piece)
    if script.end is End.HALF_CLOSE:
        await stream.send_eof()
    if script.end in {End.READ, End.HALF_CLOSE}:
        with trio.move_on_after(PATIENCE_S / 10):
            async for _ in stream:
                pass


def _pieces(chance: Random, data: bytes) -> Iterator[bytes]:
    count = chance.choice([1, 1, 1, 2, 5])
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(count - 1))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if start < end:
            yield data[start:end]


def _http_1(chance: Random, key: bytes) -> bytes:
    requests = [_request(chance, key) for _ in range(chance.choice([1, 1, 2, 10]))]
    return _mutated(chance, b"".join(requests), chance.choice([0, 1, 1, 2, 4, 16]))


def _request(chance: Random, key: bytes) -> bytes:
    method = chance.choice([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"CONNECT"])
    paths = (
        b"/timers",
        b"/timers/batch",
        b"/timers/import",
        b"/timers/0199d5c0-0000-7000-8000-000000000000",
        b"/health",
        b"/openapi.json",
        b"/metrics",
        b"*",
    )
    head = [method + b" " + chance.choice(paths) + b" HTTP/1.1", b"Host: x"]
    if chance.random() < 0.7:
        head.append(b"X-API-Key: " + key)
    media = chance.choice([b"application/json", b"application/x-ndjson"])
    head.append(b"Content-Type: " + media)
    body = chance.choice([b"", TIMER, TIMER + b"\n", b'{"timers": [' + TIMER + b"]}"])
    if chance.random() < 0.3:
        head.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    else:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def _mutated(chance: Random, data: bytes, count: int) -> bytes:
    changed = bytearray(data)
    for _ in range(count):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0:
                changed[at : at + 1] = chance.randbytes(1)
            case 1:
                del changed[at : at + chance.randrange(30)]
            case 2:
                changed[at:at] = changed[at : at + chance.randrange(200)]
            case 3:
                changed[at:at] = chance.choice(TOKENS)
            case _:
                del changed[at:]
    return bytes(changed)


def _http_2(chance: Random, _key: bytes) -> bytes:
    opening = chance.choice(
        [
            PREFACE,
            prior_knowledge(asking("/health/live")),
            prior_knowledge(*[asking("/timers")] * 20),
            UPGRADE % b"AAMAAABkAAQAAP__" + PREFACE,
            UPGRADE % chance.randbytes(6).hex().encode(),
            chance.choice(list(FATAL.values())),
        ]
    )
    frames = b"".join(_frame(chance) for _ in range(chance.choice([0, 1, 5, 50])))
    return _mutated(chance, opening + frames, chance.choice([0, 0, 1, 3]))


def _frame(chance: Random) -> bytes:
    stream = chance.choice([0, 1, 1, 3, 2, 2**31 - 1])
    noise = chance.randbytes(chance.randrange(40))
    # Some are for stream 0 alone, some for any other: hyperframe refuses to make wrong ones.
    own = max(stream, 1)
    some: list[Frame] = [
        DataFrame(own, noise, flags=["END_STREAM"]),
        HeadersFrame(own, noise, flags=["END_HEADERS"]),
        ContinuationFrame(own, noise),
        PriorityFrame(own, depends_on=own, stream_weight=255),
        RstStreamFrame(own, error_code=chance.randrange(2**32)),
        PushPromiseFrame(own, promised_stream_id=2, data=noise),
        SettingsFrame(0, settings={chance.randrange(1, 9): chance.randrange(2**32)}),
        PingFrame(0, opaque_data=chance.randbytes(8)),
        GoAwayFrame(0, error_code=1, additional_data=noise),
        WindowUpdateFrame(stream, window_increment=2**31 - 1),
    ]
    wire = bytearray(chance.choice(some).serialize())
    wire[5:9] = stream.to_bytes(4, "big")
    return bytes(wire)


def _websocket(chance: Random, key: bytes) -> bytes:
    opening = WEBSOCKET
    if chance.random() < 0.5:
        opening += b"X-API-Key: " + key + b"\r\n"
    extra = (
        b"Sec-WebSocket-Protocol: caf\xc3\xa9\r\n",
        b"Sec-WebSocket-Extensions: permessage-deflate; x=\xff\r\n",
        b"Sec-WebSocket-Version: 99\r\n",
        b"Sec-WebSocket-Key: x\r\n",
        b"",
    )
    opening += chance.choice(extra) + b"\r\n"
    frames = b"".join(_websocket_frame(chance) for _ in range(chance.choice([0, 1, 5, 50])))
    return _mutated(chance, opening + frames, chance.choice([0, 0, 1, 3]))


def _websocket_frame(chance: Random) -> bytes:
    length = chance.randrange(126)
    start = bytes([chance.randrange(256), 0x80 | length])
    return start + chance.randbytes(4 + chance.randrange(length + 1))


_DRAW: Final[dict[Kind, Callable[[Random, bytes], bytes]]] = {
    Kind.HTTP_1: _http_1,
    Kind.HTTP_2: _http_2,
    Kind.WEBSOCKET: _websocket,
}
