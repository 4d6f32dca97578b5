"""The fields of a new timer as options."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from math import isinf
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from timer_trio.cli.values import endless_span, pairs, span
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.keys import OnConflict
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import Delivery, Method

_Command = TypeVar("_Command", bound=Callable[..., Any])

_WHEN: Final = (
    click.option(
        "--in", "delay", type=span, metavar="TIME", help="How long from now: 90, 5m, 1h30m."
    ),
    click.option("--at", "execute_at", metavar="INSTANT", help="RFC 3339: 2030-01-31T09:30:00Z."),
    click.option("--key", help="A name: at most one live timer has it."),
    click.option(
        "--on-conflict",
        type=click.Choice([each.value for each in OnConflict]),
        help="What becomes of a live timer that has the key; by default the new one is refused.",
    ),
)
OF_CALLBACK: Final = (
    click.option("--url", "callback_url", required=True, metavar="URL", help="Where to call back."),
    click.option("--payload", metavar="JSON", help="What to send; @FILE reads it, @- from stdin."),
    click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'"),
    click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Text; once for each key."),
    click.option("--method", "callback_method", type=click.Choice([each.value for each in Method])),
    click.option("--timeout", "timeout_seconds", type=span, metavar="TIME"),
    click.option("--delivery", type=click.Choice([each.value for each in Delivery])),
    click.option(
        "--retry",
        metavar="JSON",
        help='How a failure is tried again: {} for the defaults, or such as {"max_attempts": 8}.',
    ),
    click.option(
        "--misfire-grace",
        "misfire_grace_seconds",
        type=endless_span,
        metavar="TIME",
        help="How late it may be sent; none: however late.",
    ),
    click.option(
        "--store-response",
        type=click.Choice([each.value for each in StoreResponse]),
        help="Which answers are kept; by default those of failures.",
    ),
    click.option(
        "--signing",
        type=click.Choice([each.value for each in Signing]),
        help="Whether callbacks are signed; by default they are.",
    ),
    click.option("--flow-key", metavar="KEY", help="The flow that it is in, for good."),
    click.option("--on-completed", metavar="URL", help="Who is told that it has completed."),
    click.option("--on-failed", metavar="URL", help="Who is told that it has failed for good."),
)
"""What is sent where, of a timer as of a schedule."""
_WHEN_FIELDS: Final = ("delay", "execute_at", "key", "on_conflict")
_AS_THEY_ARE: Final = (
    "callback_url",
    "callback_method",
    "timeout_seconds",
    "delivery",
    "store_response",
    "signing",
    "flow_key",
)
_RESULTS: Final = ("on_completed", "on_failed")


def field_options(command: _Command) -> _Command:
    """Give a command an option for each usual field of a new timer."""
    for option in reversed((*_WHEN, *OF_CALLBACK)):
        command = option(command)
    return command


def body_of(given: Mapping[str, Any]) -> str:
    """Return the body of the create, the payload in it as it was given.

    Raises:
        click.UsageError: what was given makes no timer.
    """
    if (given["delay"] is None) == (given["execute_at"] is None):
        raise click.UsageError("name exactly one of --in and --at")
    return members_of(given, {n: given[n] for n in _WHEN_FIELDS if given[n] is not None})


def members_of(given: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """Return a body of what says where and what to send, and of other members.

    Raises:
        click.UsageError: something of it cannot be read.
    """
    fields = {name: given[name] for name in _AS_THEY_ARE if given[name] is not None}
    fields.update(others)
    if (grace_s := given["misfire_grace_seconds"]) is not None:
        fields["misfire_grace_seconds"] = None if isinf(grace_s) else grace_s
    if headers := pairs(given["headers"], ":", "--header"):
        fields["callback_headers"] = {n.strip(): value.strip() for n, value in headers.items()}
    if metadata := pairs(given["metadata"], "=", "--metadata"):
        fields["metadata"] = metadata
    fields |= {name: {"url": given[name]} for name in _RESULTS if given[name] is not None}
    if given["retry"] is not None:
        fields["retry"] = _retry(given["retry"])
    body = json.dumps(fields)
    if given["payload"] is None:
        return body
    return f'{body[:-1]}, "callback_payload": {_payload(given["payload"])}}}'


def _retry(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise click.UsageError("--retry is no JSON") from None


def _payload(text: str) -> str:
    if text.startswith("@"):
        text = _content(text[1:])
    try:
        # As text, since a number may have more digits than Python reads.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise click.UsageError(
            """--payload is no JSON; text needs quotes: --payload '"text"'"""
        ) from None
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _content(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode()
    except OSError as error:
        raise click.UsageError(f"--payload: {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"--payload: {name} is not UTF-8") from None
