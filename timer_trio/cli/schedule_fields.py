"""The fields of a new schedule as options."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from timer_trio.cli.timer_fields import OF_CALLBACK, members_of
from timer_trio.cli.values import span
from timer_trio.domain.schedule import CatchUp, Overlap

_Command = TypeVar("_Command", bound=Callable[..., Any])

_RULE_OPTIONS: Final = (
    click.option("--cron", metavar="FIELDS", help="Such as '0 9 * * MON-FRI'."),
    click.option("--every", type=span, metavar="TIME", help="How far apart: 90, 5m, 1h30m."),
    click.option("--rrule", metavar="RRULE", help="Such as 'FREQ=MONTHLY;BYMONTHDAY=-1'."),
    click.option("--timezone", metavar="ZONE", help="Such as Europe/Berlin; by default UTC."),
    click.option("--start-at", metavar="INSTANT", help="None is before it; every counts from it."),
    click.option("--end-at", metavar="INSTANT", help="None is after it."),
    click.option("--max-occurrences", type=click.IntRange(1), help="How many there are in all."),
)
_OWN_OPTIONS: Final = (
    click.option("--name", help="At most one schedule that has not ended has it."),
    click.option("--catch-up", type=click.Choice([each.value for each in CatchUp])),
    click.option("--overlap", type=click.Choice([each.value for each in Overlap])),
    click.option(
        "--jitter", "jitter_seconds", type=span, metavar="TIME", help="Later by up to so much."
    ),
)
_RULES: Final = ("cron", "every", "rrule")
RULE_FIELDS: Final = (*_RULES, "timezone", "start_at", "end_at", "max_occurrences")
_OWN_FIELDS: Final = ("name", "catch_up", "overlap", "jitter_seconds")


def rule_options(command: _Command) -> _Command:
    """Give a command an option for each field that says when."""
    for option in reversed(_RULE_OPTIONS):
        command = option(command)
    return command


def schedule_options(command: _Command) -> _Command:
    """Give a command an option for each usual field of a new schedule."""
    for option in reversed((*_RULE_OPTIONS, *_OWN_OPTIONS, *OF_CALLBACK)):
        command = option(command)
    return command


def rule_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that say when.

    Raises:
        click.UsageError: there is no rule, or more than one.
    """
    if sum(given[name] is not None for name in _RULES) != 1:
        raise click.UsageError("name exactly one of --cron, --every and --rrule")
    return {name: given[name] for name in RULE_FIELDS if given[name] is not None}


def schedule_body_of(given: Mapping[str, Any]) -> str:
    """Return the body of the create, the payload in it as it was given.

    Raises:
        click.UsageError: what was given makes no schedule.
    """
    own = {name: given[name] for name in _OWN_FIELDS if given[name] is not None}
    return members_of(given, rule_of(given) | own)


def preview_body_of(given: Mapping[str, Any], count: int, first: str | None) -> str:
    """Return the body of a preview.

    Raises:
        click.UsageError: there is no rule, or more than one.
    """
    beside = {"count": count} if first is None else {"count": count, "from": first}
    return json.dumps(rule_of(given) | beside)
