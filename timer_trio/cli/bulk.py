"""Has a running service cancel, redrive or delete many timers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NotRequired, TypeVar

import click
import httpx
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from timer_trio.cli.errors import BulkFailedError
from timer_trio.cli.group import version
from timer_trio.cli.service import (
    NO_TIMER_SERVICE,
    REQUEST_ERRORS,
    Service,
    last_line,
    named_service,
    project_option,
    reason_of,
    url_option,
)
from timer_trio.cli.terminal import shows_progress
from timer_trio.cli.timer_filters import filter_options, parameters_of

ANSWER_TIMEOUT_S: Final = 60.0
"""A service that works tells how far it is every second."""
_ERASE: Final = "\r\x1b[K"
_DONE: Final[Mapping[str, str]] = {
    "cancel": "canceled",
    "redrive": "redriven",
    "delete": "deleted",
}
_OTHERS: Final = frozenset({"as_json", "as_of", "dry_run", "limit", "rate"})
"""Options that are no filters."""
_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Counts(TypedDict):
    as_of: NotRequired[str]
    matched: int
    done: int
    skipped: int


class _Opening(TypedDict):
    as_of: str


class _Result(TypedDict):
    code: int
    message: str
    data: _Counts


_OPENING: Final = TypeAdapter(_Opening)
_COUNTS: Final = TypeAdapter(_Counts)
_RESULT: Final = TypeAdapter(_Result)


@click.group("bulk")
@url_option
@project_option
@version
@click.pass_context
def bulk_command(context: click.Context, url: str | None) -> None:
    """Cancel, redrive or delete all timers that a filter finds, in a running service.

    The key is API_KEY, or what the service keeps in DATA_DIR. Timers that were changed since the
    command began are left alone. Ctrl-C stops it; what is done stays.

    Exit code 2: the service cannot be reached, refuses, or did not come to the end: the words say
    how to go on.
    """
    context.obj = url


def _bulk_options(command: _Command) -> _Command:
    for option in (
        version,
        click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON."),
        click.option("--as-of", metavar="INSTANT", help="Go on with one that broke off."),
        click.option("--dry-run", is_flag=True, help="Change nothing, and count."),
        click.option("--limit", type=click.IntRange(1), help="How many, the oldest first."),
        filter_options,
    ):
        command = option(command)
    return command


@bulk_command.command("cancel")
@_bulk_options
@click.pass_obj
def cancel_command(url: str | None, /, **asked: Any) -> None:
    """Cancel the pending and retrying timers among them: what is counted never fires."""
    _run("cancel", url, asked)


@bulk_command.command("redrive")
@_bulk_options
@click.option(
    "--rate", type=click.FloatRange(0.1, 10_000), help="Due so many a second; by default at once."
)
@click.pass_obj
def redrive_command(url: str | None, /, **asked: Any) -> None:
    """Make the failed, completed and canceled timers among them pending again."""
    _run("redrive", url, asked)


@bulk_command.command("delete")
@_bulk_options
@click.pass_obj
def delete_command(url: str | None, /, **asked: Any) -> None:
    """Delete the failed, completed and canceled timers among them, and what is kept of them."""
    _run("delete", url, asked)


def _run(action: str, url: str | None, asked: Mapping[str, Any]) -> None:
    body = _body_of(action, asked)
    following = _Following()
    service = named_service(url)
    with following.shown():
        counts = _ask(service, body, following)
    if asked["as_json"]:
        click.echo(json.dumps({"as_of": following.as_of, **counts}))
        return
    would_be = "would be " if asked["dry_run"] else ""
    click.echo(f"{counts['done']:,} {would_be}{_DONE[action]}, {counts['skipped']:,} skipped")


def _body_of(action: str, asked: Mapping[str, Any]) -> Mapping[str, object]:
    filters = parameters_of({name: asked[name] for name in asked.keys() - _OTHERS})
    if not filters:
        raise click.UsageError("name at least one filter, such as --status failed")
    rate = asked.get("rate")
    if rate is not None and math.isnan(rate):
        raise click.UsageError("--rate must be a number")
    others = {
        "rate_per_second": rate,
        "limit": asked["limit"],
        "as_of": asked["as_of"],
        "dry_run": asked["dry_run"],
    }
    given = {name: value for name, value in others.items() if value is not None}
    return {"action": action, "filter": filters, **given}


@dataclass
class _Following:
    """What the service has told so far."""

    as_of: str = ""
    done: int = 0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Erase in the end what was shown of the progress."""
        try:
            yield
        finally:
            self._show("")

    def take(self, line: str) -> None:
        """Take a line of progress: the first one has the instant alone."""
        try:
            self.as_of = _OPENING.validate_json(line)["as_of"]
            counts = _COUNTS.validate_json(line)
        except ValidationError:
            return
        self.done = counts["done"]
        self._show(f"{counts['done']:,} done, {counts['skipped']:,} skipped")

    def words(self) -> str:
        """Return how to go on, in words."""
        if not self.as_of:
            return "some of it may be done; look with --dry-run"
        return (
            f"{self.done:,} are done, and some more may be; "
            f"repeat it with --as-of {self.as_of} to go on"
        )

    def _show(self, words: str) -> None:
        if shows_progress():
            click.echo(f"{_ERASE}{words}", nl=False, err=True)


def _ask(service: Service, body: Mapping[str, object], following: _Following) -> _Counts:
    """Have it done; returns the counts that it ended with."""
    try:
        with (
            service.client(ANSWER_TIMEOUT_S) as client,
            client.stream("POST", service.at("/timers/bulk"), json=body) as answer,
        ):
            return _counts(answer, service, following)
    except KeyboardInterrupt:
        raise BulkFailedError(f"stopped: {following.words()}") from None
    except REQUEST_ERRORS as error:
        words = service.no_answer(error)
        if following.as_of:
            words = f"the connection to the service at {service.url} broke: {reason_of(error)}"
            words += f"; {following.words()}"
        raise BulkFailedError(words) from error


def _counts(answer: httpx.Response, service: Service, following: _Following) -> _Counts:
    if answer.status_code != httpx.codes.OK:
        answer.read()
        raise BulkFailedError(service.refused(answer))
    try:
        result = _RESULT.validate_json(last_line(answer, following.take))
    except ValidationError:
        words = f"what answered 200 did nothing: {NO_TIMER_SERVICE}"
        if following.as_of:
            words = f"the service ended the answer before it was whole: {following.words()}"
        raise BulkFailedError(words) from None
    if result["code"] != 0:
        following.done = result["data"]["done"]
        raise BulkFailedError(f"{result['message']} ({following.words()})")
    return result["data"]
