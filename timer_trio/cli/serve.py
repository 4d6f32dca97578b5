"""The service."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial
from pathlib import Path

import click
import trio

from timer_trio.cli.group import read_settings, version
from timer_trio.cli.values import exact_instant
from timer_trio.config import for_development
from timer_trio.telemetry.output import queue_stdout


def _instant(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    return None if value is None else exact_instant(value)


@click.command()
@click.option(
    "--hypercorn-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Hypercorn's own settings (TLS and so on), as TOML or Python.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Processes that share the port, each a replica of its own; wins over WORKERS.",
)
@click.option(
    "--dev",
    is_flag=True,
    help="For development: callbacks may reach this machine (127.0.0.0/8, ::1), "
    "unless CALLBACK_ALLOW is set.",
)
@click.option(
    "--test-clock",
    is_flag=True,
    help="For tests of what uses the service: no real one, but one in memory whose clock stands "
    "still until POST /clock/advance; callbacks may go anywhere, unless CALLBACK_ALLOW is set.",
)
@click.option(
    "--test-clock-start",
    metavar="INSTANT",
    callback=_instant,
    help="What the test clock shows first, and after POST /clock/reset, such as "
    "2030-01-01T00:00:00Z; by default the machine's time.",
)
@click.option(
    "--until-stdin-ends",
    is_flag=True,
    help="Of a test clock: end as well with its standard input, as with the process that wrote it.",
)
@version
def serve(
    hypercorn_config: Path | None,
    workers: int | None,
    *,
    dev: bool,
    test_clock: bool,
    test_clock_start: datetime | None,
    until_stdin_ends: bool,
) -> None:
    """Run the service until SIGTERM, SIGINT or SIGHUP; it migrates the database first.

    Without DATABASE_URL it runs a PostgreSQL of its own under DATA_DIR.
    """
    if (test_clock_start or until_stdin_ends) and not test_clock:
        raise click.UsageError("--test-clock-start and --until-stdin-ends need --test-clock")
    queue_stdout()
    settings = for_development(read_settings()) if dev else read_settings()
    if workers is not None:
        settings = settings.model_copy(update={"workers": workers})
    # The other commands need not wait for the libraries of the API.
    if test_clock:
        from timer_trio.testing.served import serve_test_clock  # noqa: PLC0415 - see above

        trio.run(
            partial(
                serve_test_clock,
                settings,
                start=test_clock_start,
                hypercorn_config=hypercorn_config,
                until_stdin_ends=until_stdin_ends,
            )
        )
        return
    from timer_trio.run import main  # noqa: PLC0415 - see above

    run = partial(main.serve, settings, hypercorn_config=hypercorn_config)
    if not trio.run(run):
        sys.exit(1)
