"""One of several processes of the service; `serve` runs this command, nobody else."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

import click
import trio

from timer_trio.cli.group import read_settings
from timer_trio.telemetry.output import queue_stdout


@click.command(hidden=True)
@click.option("--lifeline", type=int, required=True)
@click.option("--metrics", type=int, required=True)
@click.option("--main", type=int, multiple=True, required=True)
@click.option("--insecure", type=int, multiple=True)
@click.option("--hypercorn-config", type=click.Path(path_type=Path))
def worker(
    lifeline: int,
    metrics: int,
    main: tuple[int, ...],
    insecure: tuple[int, ...],
    hypercorn_config: Path | None,
) -> None:
    """Work for the process that has started this one, on files that it has opened."""
    # As for the service.
    from timer_trio.run.lifeline import Lifeline  # noqa: PLC0415 - see above
    from timer_trio.run.worker import work  # noqa: PLC0415 - see above
    from timer_trio.server import Listening  # noqa: PLC0415 - see above

    queue_stdout()
    run = partial(
        work,
        read_settings(env_file=None),  # its parent has, and says it all in the environment
        hypercorn_config=hypercorn_config,
        listening=Listening(main=main, insecure=insecure),
        parent=Lifeline(socket.socket(fileno=lifeline)),
        metrics_line=socket.socket(fileno=metrics),
    )
    trio.run(run)
