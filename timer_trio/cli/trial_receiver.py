"""A receiver to try the service with: prints each callback as it comes, and how late it was."""

from __future__ import annotations

import json
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from hmac import compare_digest
from http import HTTPStatus
from typing import Final

import httptools
import trio

from timer_trio.cli.errors import ListenFailedError
from timer_trio.cli.terminal import printable
from timer_trio.domain.signing import Signer

_READ_BYTES: Final = 65_536
# Far beyond what the service sends; what is larger is cut off.
_MAX_BODY_BYTES: Final = 16 * 1024 * 1024
# A client that sends nothing more must not hold a connection for ever.
_IDLE_S: Final = 300
# What the libraries for Standard Webhooks allow.
_TOLERANCE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the receiver answers, and after how long."""

    status: int = 200
    delay_s: float = 0

    def __bytes__(self) -> bytes:
        try:
            reason = HTTPStatus(self.status).phrase
        except ValueError:
            reason = ""
        head = f"HTTP/1.1 {self.status} {reason}\r\n"
        # These have no body, and say nothing of its length.
        if self.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            return f"{head}\r\n".encode()
        return f"{head}Content-Length: 0\r\n\r\n".encode()


@dataclass(slots=True)
class Callback:
    """One request as it arrived."""

    method: str = ""
    target: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    keeps_alive: bool = False

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


async def listen(
    host: str,
    port: int,
    reply: Reply,
    signer: Signer | None = None,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Receive callbacks until canceled; `task_status` has the port once it listens.

    `signer`: it is told of each whether its signature holds.

    Raises:
        ListenFailedError: the address cannot be listened on.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise ListenFailedError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}"
        ) from error
    bound: int = listeners[0].socket.getsockname()[1]
    print(f"Waiting for callbacks on http://{host}:{bound}/ (Ctrl-C ends it)\n", flush=True)  # noqa: T201 - what a person reads
    # The kernel queues connections from here on.
    task_status.started(bound)
    await trio.serve_listeners(partial(_receive, reply=reply, signer=signer), listeners)


async def _receive(stream: trio.SocketStream, reply: Reply, signer: Signer | None) -> None:
    async with stream:
        with suppress(trio.BrokenResourceError):
            try:
                await _converse(stream, reply, signer)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                print(f"{_stamp(_now())}  not a request: {printable(str(error))}\n", flush=True)  # noqa: T201 - what a person reads
                await stream.send_all(bytes(Reply(HTTPStatus.BAD_REQUEST)))


async def _converse(stream: trio.SocketStream, reply: Reply, signer: Signer | None) -> None:
    requests = _Requests()
    while callback := await requests.next(stream):
        print(describe(callback, _now(), signer), flush=True)  # noqa: T201 - what a person reads
        await trio.sleep(reply.delay_s)
        await stream.send_all(bytes(reply))
        if not callback.keeps_alive:
            return


class _Requests:
    """Requests out of a stream of bytes; the methods in `on_` are httptools'."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._current = Callback()
        self._whole: deque[Callback] = deque()

    async def next(self, stream: trio.SocketStream) -> Callback | None:
        while not self._whole:
            with trio.move_on_after(_IDLE_S):
                if data := await stream.receive_some(_READ_BYTES):
                    self._parser.feed_data(data)
                    continue
            return None
        return self._whole.popleft()

    def on_message_begin(self) -> None:
        self._current = Callback()

    def on_url(self, url: bytes) -> None:
        self._current.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._current.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        room = _MAX_BODY_BYTES - len(self._current.body)
        self._current.body += body[:room]

    def on_message_complete(self) -> None:
        self._current.method = self._parser.get_method().decode("latin-1")
        self._current.keeps_alive = self._parser.should_keep_alive()
        self._whole.append(self._current)


def describe(callback: Callback, now: datetime, signer: Signer | None = None) -> str:
    """Return all of a callback as lines for a terminal."""
    target = printable(callback.target.decode("latin-1"))
    lines = [f"{_stamp(now)}  {_lateness(callback, now)}  {callback.method} {target}"]
    lines += [f"  {_genuineness(callback, now, signer)}"] if signer else []
    lines += [f"  {printable(name)}: {printable(value)}" for name, value in callback.headers]
    lines += (
        ["", *(f"  {line}" for line in _payload(bytes(callback.body)))] if callback.body else []
    )
    return "\n".join([*lines, ""])


def _stamp(now: datetime) -> str:
    return f"{now:%Y-%m-%d %H:%M:%S}.{now.microsecond // 1000:03d}Z"


def _lateness(callback: Callback, now: datetime) -> str:
    scheduled_at = callback.header("x-timer-scheduled-at")
    try:
        late = now - datetime.fromisoformat(scheduled_at or "")
    except (TypeError, ValueError):
        return "no time in X-Timer-Scheduled-At"
    milliseconds = round(late / timedelta(milliseconds=1))
    return f"{abs(milliseconds)} ms {'late' if milliseconds >= 0 else 'EARLY'}"


def _genuineness(callback: Callback, now: datetime, signer: Signer) -> str:
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    webhook_id, timestamp, given = (callback.header(name) or "" for name in names)
    if not (webhook_id and timestamp and given):
        return "not signed"
    head = f"{webhook_id}.{timestamp}.".encode("latin-1")
    signature = signer.sign(head, bytes(callback.body))
    if not any(compare_digest(signature, each.encode("latin-1")) for each in given.split(" ")):
        return "signed, but NOT by this secret"
    try:
        away = abs(now - datetime.fromtimestamp(int(timestamp), UTC))
    except (ValueError, OverflowError, OSError):
        away = timedelta.max
    return "signature holds" if away <= _TOLERANCE else "signature holds, but is TOO OLD or too new"


def _payload(body: bytes) -> list[str]:
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (RecursionError, ValueError):
        text = body.decode(errors="backslashreplace")
    return [printable(line) for line in text.split("\n")]


def _now() -> datetime:
    # How late a callback is for the world outside: by the receiver's own clock.
    return datetime.now(UTC)  # noqa: TID251 - it schedules nothing
