"""The filters of lists as options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from timer_trio.cli.values import instant, pairs
from timer_trio.domain.timer import Status

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _bound(option: str, words: str) -> Callable[[_Command], _Command]:
    return click.option(option, type=instant, metavar="WHEN", help=f"{words} WHEN.")


OPTIONS: Final = (
    click.option("--status", type=click.Choice([status.value for status in Status])),
    click.option(
        "--destination", metavar="URL", help="Scheme, host and port, such as https://example.com."
    ),
    click.option("--last-error", metavar="TEXT", help="Any part of why they failed."),
    click.option("--http-status", type=int, help="Of the answer to the last attempt."),
    click.option("--key", help="The name that its consumer gave it."),
    click.option("--schedule-id", metavar="ID", help="Only occurrences of this schedule."),
    click.option("--flow-key", metavar="KEY", help="Only timers of this flow."),
    _bound("--created-after", "Created later than"),
    _bound("--created-before", "Created earlier than"),
    _bound("--execute-after", "Due later than"),
    _bound("--execute-before", "Due earlier than"),
    _bound("--ended-after", "Ended later than"),
    _bound("--ended-before", "Ended earlier than"),
    click.option("--metadata", metavar="KEY=VALUE", multiple=True, help="Once for each key."),
)
"""By the names of the API's parameters."""


def filter_options(command: _Command) -> _Command:
    """Give a command an option for each filter of a list."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def parameters_of(filters: Mapping[str, Any]) -> dict[str, str]:
    """Return what was given as parameters of the API.

    Raises:
        click.UsageError: a pair is none, or comes twice.
    """
    others = {**filters}
    metadata = pairs(others.pop("metadata"), "=", "--metadata")
    given = {name: value for name, value in others.items() if value is not None}
    return given | {f"metadata.{key}": value for key, value in metadata.items()}
