"""Sends a file of timers to a running service."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, BinaryIO, Final

import click
import httpx

from timer_trio.cli.group import read_settings, version
from timer_trio.config import Settings, StartRefusedError
from timer_trio.embedded import read_api_key

BLOCK_BYTES: Final = 64 * 1024
CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 60.0
"""A service that works tells how far it is every second."""

_NOT_SENT: Final = (
    httpx.InvalidURL,
    httpx.UnsupportedProtocol,
    httpx.ConnectError,
    httpx.ConnectTimeout,
)

_Bar = AbstractContextManager[Any]


class ImportFailedError(StartRefusedError):
    """The service did not take the file, or not to its end."""


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--url",
    envvar="TIMER_TRIO_URL",
    show_envvar=True,
    help="Where the service listens; by default at HOST and PORT of the settings.",
)
@version
@click.pass_context
def import_command(context: click.Context, file: BinaryIO, url: str | None) -> None:
    """Import timers from FILE, one JSON object a line as for POST /timers; - is standard input.

    The key is API_KEY, or what the service keeps in DATA_DIR. Lines that are refused are told on
    stderr, and the others imported. Exit code 0: all are in; 1: some were refused; 2: the service
    cannot be reached or did not take them all.
    """
    settings = read_settings()
    # It would tell of each request, among the words for a person.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    result = _import(file, url or _url(settings), _key(settings))
    counts = result["data"]
    for error in counts["errors"]:
        field = f"{error['field']}: " if error["field"] else ""
        click.echo(f"line {error['line']}: {field}{error['message']}", err=True)
    if (untold := counts["refused"] - len(counts["errors"])) > 0:
        click.echo(f"and {untold:,} more", err=True)
    click.echo(f"{counts['imported']:,} imported, {counts['refused']:,} refused")
    if result["code"] != 0:
        raise ImportFailedError(_interrupted(result))
    context.exit(1 if counts["refused"] else 0)


def _url(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - where to reach it
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _key(settings: Settings) -> str:
    key = settings.api_key or read_api_key(settings.data_dir)
    return key.get_secret_value()


def _import(file: BinaryIO, url: str, key: str) -> dict[str, Any]:
    """Send a file; answers with the envelope that its import ended with."""
    headers = {"X-API-Key": key, "Content-Type": "application/x-ndjson"}
    timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        with (
            _progress(file) as bar,
            httpx.Client(timeout=timeout, trust_env=False) as client,
            client.stream(
                "POST",
                f"{url.rstrip('/')}/timers/import",
                headers=headers,
                content=_blocks(file, bar),
            ) as answer,
        ):
            return _result(answer)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        words = f"no answer from the service at {url}: {reason}"
        if not isinstance(error, _NOT_SENT):
            words += "; some of the lines may be imported"
        raise ImportFailedError(words) from error


def _result(answer: httpx.Response) -> dict[str, Any]:
    last = ""
    for line in answer.iter_lines():
        last = line or last
    try:
        result: dict[str, Any] = json.loads(last)
    except ValueError:
        result = {}
    if answer.status_code != httpx.codes.OK:
        words = result.get("message", "it is no timer service")
        raise ImportFailedError(f"the service answered {answer.status_code}: {words}")
    if "code" not in result:
        raise ImportFailedError(
            "the service ended the answer before it was whole: some of the lines may be imported"
        )
    return result


def _interrupted(result: dict[str, Any]) -> str:
    counts = result["data"]
    words = f"not all was imported: {result['message']} (through_line is {counts['through_line']:,}"
    if unknown := counts["unknown"]:
        lines = f"{unknown['first_line']:,} to {unknown['last_line']:,}"
        words += f"; unknown are the lines {lines}, with the id {unknown['id']}"
    return f"{words})"


def _progress(file: BinaryIO) -> _Bar:
    """Show how much has been sent, where somebody looks and the end is known."""
    if not sys.stderr.isatty() or not file.seekable():
        return nullcontext()
    size = file.seek(0, 2)
    file.seek(0)
    return click.progressbar(length=size, label="importing", file=sys.stderr)


def _blocks(file: BinaryIO, bar: Any) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block
        if bar is not None:
            bar.update(len(block))
