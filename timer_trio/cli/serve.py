"""The service."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click
import trio

from timer_trio.cli.group import read_settings, version
from timer_trio.config import for_development
from timer_trio.telemetry.output import queue_stdout


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
@version
def serve(hypercorn_config: Path | None, workers: int | None, *, dev: bool) -> None:
    """Run the service until SIGTERM, SIGINT or SIGHUP; it migrates the database first.

    Without DATABASE_URL it runs a PostgreSQL of its own under DATA_DIR.
    """
    # The other commands need not wait for the libraries of the API.
    from timer_trio.run import main  # noqa: PLC0415 - see above

    queue_stdout()
    settings = for_development(read_settings()) if dev else read_settings()
    if workers is not None:
        settings = settings.model_copy(update={"workers": workers})
    run = partial(main.serve, settings, hypercorn_config=hypercorn_config)
    if not trio.run(run):
        sys.exit(1)
