"""The service."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import trio

from timer_trio.cli.group import read_settings, version


@click.command()
@click.option(
    "--hypercorn-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Hypercorn's own settings (TLS and so on), as TOML or Python.",
)
@version
def serve(hypercorn_config: Path | None) -> None:
    """Run the service until SIGTERM or SIGINT; it migrates the database first.

    Without DATABASE_URL it runs a PostgreSQL of its own under DATA_DIR.
    """
    # The other commands need not wait for the libraries of the API.
    from timer_trio import supervisor  # noqa: PLC0415 - see above

    run = partial(supervisor.serve, read_settings(), hypercorn_config=hypercorn_config)
    trio.run(run)
