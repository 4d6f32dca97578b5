"""Asks a running service for its schedules, and to make, change and end them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import quote
from uuid import UUID

import click

from timer_trio.cli.asking import asking, listed
from timer_trio.cli.group import version
from timer_trio.cli.output import print_data, print_json
from timer_trio.cli.replan import replan_all
from timer_trio.cli.schedule_fields import (
    preview_body_of,
    rule_options,
    schedule_body_of,
    schedule_options,
)
from timer_trio.cli.schedule_output import print_schedules
from timer_trio.cli.service import project_option, url_option
from timer_trio.cli.timers import any_digits, json_option, limit_option
from timer_trio.cli.values import instant, pairs
from timer_trio.domain.schedule import ScheduleStatus

_Command = TypeVar("_Command", bound=Callable[..., Any])

_WHICH: Final = (
    click.argument("schedule_id", metavar="[ID]", type=click.UUID, required=False),
    click.option("--name", help="The one that has this name, in place of its ID."),
)


@click.group("schedules")
@url_option
@project_option
@version
@click.pass_context
def schedules_command(context: click.Context, url: str | None) -> None:
    """List, read, create, pause, trigger and end schedules of a running service.

    The key is API_KEY, or what the service keeps in DATA_DIR. Tables are for terminals: a program
    that reads the output gets a line for each schedule, or for each field, with tabs and no
    heading. A schedule is named by its ID, or by --name.

    Exit code 1: the service refuses; 2: it cannot be reached, or the command is wrong.
    """
    context.with_resource(any_digits())
    context.obj = url


def _of_one(command: _Command) -> _Command:
    for option in reversed((*_WHICH, json_option, version)):
        command = option(command)
    return command


@schedules_command.command("list")
@click.option("--status", type=click.Choice([each.value for each in ScheduleStatus]))
@click.option("--name", help="The name that its consumer gave it.")
@click.option("--flow-key", metavar="KEY", help="Only those whose occurrences are in this flow.")
@click.option("--metadata", metavar="KEY=VALUE", multiple=True, help="Once for each key.")
@limit_option
@json_option
@version
@click.pass_obj
def list_command(
    url: str | None, /, *, limit: int, as_json: bool, metadata: tuple[str, ...], **asked: Any
) -> None:
    """List schedules, the newest first."""
    wanted = {name: value for name, value in asked.items() if value is not None}
    of_metadata = pairs(metadata, "=", "--metadata")
    wanted |= {f"metadata.{key}": value for key, value in of_metadata.items()}
    with asking(url) as api:
        found = listed(api, "schedules", wanted, limit)
        if as_json:
            print_json({"schedules": [*found]})
        else:
            print_schedules(found)


@schedules_command.command()
@_of_one
@click.pass_obj
def get(url: str | None, schedule_id: UUID | None, name: str | None, *, as_json: bool) -> None:
    """Show all that is known of a schedule."""
    with asking(url) as api:
        print_data(api.ask("GET", _path(schedule_id, name)), as_json=as_json)


@schedules_command.command()
@schedule_options
@json_option
@version
@click.pass_obj
def create(url: str | None, /, *, as_json: bool, **given: Any) -> None:
    """Create a schedule that calls back at --url.

    What is left out is as the service has it by default. A payload is JSON, and sent as it is.
    """
    body = schedule_body_of(given)
    with asking(url) as api:
        print_data(api.ask("POST", "/schedules", body=body), as_json=as_json)


@schedules_command.command()
@rule_options
@click.option("--count", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--from", "first", type=instant, metavar="WHEN", help="By default now.")
@json_option
@version
@click.pass_obj
def preview(
    url: str | None, /, *, count: int, first: str | None, as_json: bool, **given: Any
) -> None:
    """Show the next instants of a rule; nothing is written."""
    body = preview_body_of(given, count, first)
    with asking(url) as api:
        data = api.ask("POST", "/schedules/preview", body=body)
    if as_json:
        print_json(data)
    else:
        click.echo("\n".join(map(str, data["next"])))


@schedules_command.command()
@_of_one
@click.pass_obj
def pause(url: str | None, schedule_id: UUID | None, name: str | None, *, as_json: bool) -> None:
    """Pause a schedule: once this exits with 0, nothing of it begins."""
    _act(url, schedule_id, name, "pause", as_json=as_json)


@schedules_command.command()
@_of_one
@click.pass_obj
def resume(url: str | None, schedule_id: UUID | None, name: str | None, *, as_json: bool) -> None:
    """Have a paused schedule go on with its next instant."""
    _act(url, schedule_id, name, "resume", as_json=as_json)


@schedules_command.command()
@_of_one
@click.pass_obj
def trigger(url: str | None, schedule_id: UUID | None, name: str | None, *, as_json: bool) -> None:
    """Fire a schedule now, beside its rule; shows the timer."""
    _act(url, schedule_id, name, "trigger", as_json=as_json)


@schedules_command.command()
@click.option("--from", "first", type=instant, required=True, metavar="WHEN")
@click.option("--to", "last", type=instant, required=True, metavar="WHEN")
@click.option("--limit", type=click.IntRange(1, 10_000), help="By default 1000, the oldest first.")
@click.option("--rate", type=click.FloatRange(0.1, 10_000), help="So many a second.")
@_of_one
@click.pass_obj
def backfill(
    url: str | None,
    schedule_id: UUID | None,
    name: str | None,
    *,
    first: str,
    last: str,
    limit: int | None,
    rate: float | None,
    as_json: bool,
) -> None:
    """Make up for the occurrences of a schedule from --from to --to.

    WHEN is an RFC 3339 timestamp, or how long ago: 45s, 90m, 12h, 7d.
    """
    asked = {"from": first, "to": last, "limit": limit, "rate_per_second": rate}
    body = json.dumps({name: value for name, value in asked.items() if value is not None})
    _act(url, schedule_id, name, "backfill", body, as_json=as_json)


@schedules_command.command()
@_of_one
@click.pass_obj
def delete(url: str | None, schedule_id: UUID | None, name: str | None, *, as_json: bool) -> None:
    """End a schedule: once this exits with 0, nothing of it begins any more."""
    with asking(url) as api:
        print_data(api.ask("DELETE", _path(schedule_id, name)), as_json=as_json)


@schedules_command.command()
@click.option("--cursor", help="Go on with one that broke off.")
@_of_one
@click.pass_obj
def replan(
    url: str | None,
    schedule_id: UUID | None,
    name: str | None,
    *,
    cursor: str | None,
    as_json: bool,
) -> None:
    """Move what is pending to where the rules have it by today's zone data.

    Without an ID or --name, of all active schedules. Again, it moves nothing more.
    """
    if schedule_id or name is not None:
        _act(url, schedule_id, name, "replan", as_json=as_json)
        return
    with asking(url) as api:
        count, moved = replan_all(api, cursor)
    if as_json:
        print_json({"schedules": count, "moved": moved})
    else:
        click.echo(f"{count:,} planned anew, {moved:,} occurrences moved")


def _act(
    url: str | None,
    schedule_id: UUID | None,
    name: str | None,
    verb: str,
    body: str | None = None,
    *,
    as_json: bool,
) -> None:
    path = _path(schedule_id, name)
    with asking(url) as api:
        if name is not None:
            path = f"/schedules/{api.ask('GET', path)['id']}"
        print_data(api.ask("POST", f"{path}/{verb}", body=body), as_json=as_json)


def _path(schedule_id: UUID | None, name: str | None) -> str:
    """Return where a schedule is.

    Raises:
        click.UsageError: it is named by nothing, or twice.
    """
    if (schedule_id is None) == (name is None):
        raise click.UsageError("name the schedule by its ID or by --name")
    if name is None:
        return f"/schedules/{schedule_id}"
    return f"/schedules/by-name/{quote(name, safe='')}"
