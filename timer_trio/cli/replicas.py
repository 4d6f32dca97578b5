"""Asks a running service which replicas there are, and how they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import click
import httpx
from pydantic import AwareDatetime, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from timer_trio.cli.errors import ListFailedError
from timer_trio.cli.group import version
from timer_trio.cli.service import (
    NO_TIMER_SERVICE,
    REQUEST_ERRORS,
    Service,
    named_service,
    says_no_such_route,
    url_option,
)
from timer_trio.cli.table import aligned, in_columns
from timer_trio.domain.words import in_words

ANSWER_TIMEOUT_S: Final = 20.0
"""A service that cannot reach its database says so before."""

_HEADINGS: Final = (
    "  status",
    "host:pid",
    "version",
    "up since (UTC)",
    "shards",
    "in flight",
    "cached",
    "last heartbeat",
    "clock offset",
)
_NUMBERS: Final = range(4, len(_HEADINGS))


class Replica(TypedDict):
    """What is shown of one; a service of another version may tell more."""

    host: str
    pid: int
    version: str
    started_at: AwareDatetime
    status: str
    shards: int
    in_flight: int
    cached: int
    heartbeat_at: AwareDatetime | None
    clock_offset_seconds: float | None
    is_this_one: bool


class Replicas(TypedDict):
    timestamp: AwareDatetime
    replicas: list[Replica]


class _Answer(TypedDict):
    code: int
    data: Replicas


_ANSWER: Final = TypeAdapter(_Answer)


@click.command("replicas")
@url_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, the data of GET /replicas.")
@version
def replicas_command(url: str | None, *, as_json: bool) -> None:
    """List the processes that share the database of a running service, and how they do.

    The key is API_KEY, or what the service keeps in DATA_DIR. The one that answered has a star.

    Exit code 2: the service cannot be reached, refuses the key, or is none that can tell.
    """
    body = _ask(named_service(url))
    try:
        data = _ANSWER.validate_json(body)["data"]
    except ValidationError:
        raise ListFailedError(
            f"what answered 200 tells of no replicas: {NO_TIMER_SERVICE}"
        ) from None
    if as_json:
        click.echo(json.dumps(json.loads(body)["data"], indent=2))
        return
    for line in table(data):
        click.echo(line)


def _ask(service: Service) -> bytes:
    try:
        with service.client(ANSWER_TIMEOUT_S) as client:
            answer = client.get(service.at("/replicas"))
    except REQUEST_ERRORS as error:
        raise ListFailedError(service.no_answer(error)) from error
    if answer.status_code != HTTPStatus.OK:
        raise ListFailedError(_refused(service, answer))
    return answer.content


def _refused(service: Service, answer: httpx.Response) -> str:
    if says_no_such_route(answer) and not service.path:
        return f"the service at {service.url} is an older one, which cannot tell of its replicas"
    return service.refused(answer)


def table(data: Replicas) -> Iterator[str]:
    """Yield the lines of a table for people."""
    rows = [_HEADINGS, *(_cells(each, data["timestamp"]) for each in data["replicas"])]
    for row in aligned(rows, _NUMBERS):
        yield in_columns(row)


def _cells(replica: Replica, now: datetime) -> tuple[str, ...]:
    host, offset_s = replica["host"], replica["clock_offset_seconds"]
    return (
        f"{'*' if replica['is_this_one'] else ' '} {replica['status']}",
        f"{host}:{replica['pid']}" if host else "unknown",
        replica["version"] or "unknown",
        f"{replica['started_at'].astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        str(replica["shards"]),
        str(replica["in_flight"]),
        str(replica["cached"]),
        _ago(replica["heartbeat_at"], now),
        "unknown" if offset_s is None else f"{offset_s:+.3f}s",
    )


def _ago(instant: datetime | None, now: datetime) -> str:
    if instant is None:
        return "never"
    # A heartbeat that came while the service was reading lies ahead of its time.
    return f"{in_words(max(0.0, (now - instant).total_seconds()))} ago"
