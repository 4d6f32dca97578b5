"""Sends a file of timers to a running service."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from select import select
from types import FrameType
from typing import Any, BinaryIO, Final, NotRequired

import click
import httpx
from pydantic import TypeAdapter, ValidationError
from typing_extensions import Buffer, TypedDict

from timer_trio.cli.errors import ImportFailedError
from timer_trio.cli.group import version
from timer_trio.cli.service import (
    NO_TIMER_SERVICE,
    NOT_SENT,
    REQUEST_ERRORS,
    Service,
    is_of_a_proxy,
    last_line,
    named_service,
    project_option,
    reason_of,
    url_option,
)
from timer_trio.cli.terminal import shows_progress

BLOCK_BYTES: Final = 64 * 1024
ANSWER_TIMEOUT_S: Final = 60.0
"""A service that works tells how far it is every second."""

_Bar = AbstractContextManager[Any]


class _LineError(TypedDict):
    line: int
    field: str
    message: str


class _Unknown(TypedDict):
    first_line: int
    last_line: int
    id: str


class _Progress(TypedDict):
    imported: int
    refused: int
    through_line: NotRequired[int]


class _Counts(_Progress):
    errors: list[_LineError]
    unknown: NotRequired[_Unknown | None]


class _Result(TypedDict):
    code: int
    message: NotRequired[str]
    data: _Counts


_PROGRESS: Final = TypeAdapter(_Progress)
_RESULT: Final = TypeAdapter(_Result)


class _Input(click.File):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-" and sys.stdin is None:
            self.fail("standard input is closed", param, ctx)
        return super().convert(value, param, ctx)


class _Stop:
    """Ctrl-C: the first one ends the sending, the second one everything."""

    def __init__(self) -> None:
        self.is_wanted = False
        self.woken, self._wake = os.pipe()
        """Readable from the first Ctrl-C on, even before Python has called the handler."""
        os.set_blocking(self._wake, False)

    @contextmanager
    def listening(self) -> Iterator[None]:
        wake_before = signal.set_wakeup_fd(self._wake)
        before = signal.signal(signal.SIGINT, self._take)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            signal.set_wakeup_fd(wake_before)
            os.close(self._wake)
            os.close(self.woken)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        again, self.is_wanted = self.is_wanted, True
        if again:
            raise KeyboardInterrupt


class _UntilStopped(io.RawIOBase):
    """The file, which may take for ever, to its end or to the first Ctrl-C.

    A handler cannot interrupt a read that is about to begin: no read begins before there is input.
    """

    def __init__(self, file: BinaryIO, stop: _Stop) -> None:
        self._descriptor = file.fileno()
        self._stop = stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        while not self._stop.is_wanted:
            ready, _, _ = select([self._descriptor, self._stop.woken], [], [])
            if self._descriptor in ready:
                return os.readv(self._descriptor, [buffer])
        return 0


class _Sending:
    """What goes to the service, and how much of it that service is known to have taken."""

    def __init__(self, file: BinaryIO, bar: Any, stop: _Stop) -> None:
        self._file = io.BufferedReader(_UntilStopped(file, stop), BLOCK_BYTES)
        self._bar = bar
        self._stop = stop
        self._lines = 0
        self.through_line = 0
        """Up to this line all are imported or refused for certain."""
        self.is_known = False
        """Whether it was an import that answered."""
        self.was_stopped = False

    def blocks(self) -> Iterator[bytes]:
        """Whole lines, so that the service has read no part of one when the user stops."""
        while lines := self._read():
            block = b"".join(lines)
            yield block
            self._lines += len(lines)
            if self._bar is not None:
                self._bar.update(len(block))

    def _read(self) -> list[bytes]:
        lines = self._file.readlines(BLOCK_BYTES)
        self.was_stopped = self._stop.is_wanted
        return [] if self.was_stopped else lines

    def take_progress(self, line: str) -> None:
        try:
            progress = _PROGRESS.validate_json(line)
        except ValidationError:
            return
        self.is_known = True
        self.through_line = progress.get("through_line", 0)

    def take_end(self, result: _Result) -> None:
        sent_through = self._lines if result["code"] == 0 else 0
        self.through_line = result["data"].get("through_line", sent_through)

    def words(self) -> str:
        """Return what is to be sent again, in words."""
        if not self.through_line:
            return "some of the lines may be imported"
        return (
            f"lines up to {self.through_line:,} are imported or refused, and some behind them may "
            "be imported; send what follows again"
        )


@click.command("import")
@click.argument("file", type=_Input("rb"))
@url_option
@project_option
@version
@click.pass_context
def import_command(context: click.Context, file: BinaryIO, url: str | None) -> None:
    """Import timers from FILE, one JSON object a line as for POST /timers; - is standard input.

    The key is API_KEY, or what the service keeps in DATA_DIR. Lines that are refused are told on
    stderr, and the others imported. Ctrl-C sends no more, and tells how far it came; a second one
    does not wait for that.

    Exit code 0: all are in; 1: some were refused; 2: the service cannot be reached, did not take
    them all, or was kept from it by Ctrl-C or a broken connection.
    """
    service = named_service(url)
    stop = _Stop()
    with stop.listening(), _progress(file) as bar:
        sending = _Sending(file, bar, stop)
        result = _import(sending, service)
    _print_counts(result["data"])
    if result["code"] != 0:
        raise ImportFailedError(_interrupted(result))
    if sending.was_stopped:
        through_line = f"{sending.through_line:,}"
        raise ImportFailedError(
            f"stopped: lines up to {through_line} are imported or refused; send what follows again"
        )
    context.exit(1 if result["data"]["refused"] else 0)


def _print_counts(counts: _Counts) -> None:
    for error in counts["errors"]:
        field = f"{error['field']}: " if error["field"] else ""
        click.echo(f"line {error['line']}: {field}{error['message']}", err=True)
    if (unlisted := counts["refused"] - len(counts["errors"])) > 0:
        click.echo(f"and {unlisted:,} more", err=True)
    click.echo(f"{counts['imported']:,} imported, {counts['refused']:,} refused")


def _import(sending: _Sending, service: Service) -> _Result:
    """Send a file; returns the envelope that its import ended with."""
    try:
        with (
            service.client(ANSWER_TIMEOUT_S) as client,
            client.stream(
                "POST",
                service.at("/timers/import"),
                headers={"Content-Type": "application/x-ndjson"},
                content=sending.blocks(),
            ) as answer,
        ):
            return _result(answer, sending, service)
    except KeyboardInterrupt:
        raise ImportFailedError(f"stopped: {sending.words()}") from None
    except REQUEST_ERRORS as error:
        words = service.no_answer(error)
        if sending.is_known:
            words = f"the connection to the service at {service.url} broke: {reason_of(error)}"
        if not isinstance(error, NOT_SENT):
            words += f"; {sending.words()}"
        raise ImportFailedError(words) from error


def _result(answer: httpx.Response, sending: _Sending, service: Service) -> _Result:
    if answer.status_code != httpx.codes.OK:
        answer.read()
        words = service.refused(answer)
        if is_of_a_proxy(answer):
            words += f"; {sending.words()}"
        raise ImportFailedError(words)
    sending.is_known = answer.headers.get("Content-Type") == "application/x-ndjson"
    try:
        result = _RESULT.validate_json(last_line(answer, sending.take_progress))
    except ValidationError:
        words = f"what answered 200 did not import: {NO_TIMER_SERVICE}"
        if sending.is_known:
            words = f"the service ended the answer before it was whole: {sending.words()}"
        raise ImportFailedError(words) from None
    sending.take_end(result)
    return result


def _interrupted(result: _Result) -> str:
    counts = result["data"]
    words = (
        f"not all was imported: {result.get('message', '')} "
        f"(through_line is {counts.get('through_line', 0):,}"
    )
    if unknown := counts.get("unknown"):
        lines = f"{unknown['first_line']:,} to {unknown['last_line']:,}"
        words += f"; unknown are the lines {lines}, with the id {unknown['id']}"
    return f"{words})"


def _progress(file: BinaryIO) -> _Bar:
    """Show how much has been sent, where somebody looks and the end is known."""
    if not shows_progress() or not file.seekable():
        return nullcontext()
    size = file.seek(0, 2)
    file.seek(0)
    return click.progressbar(length=size, label="importing", file=sys.stderr)
