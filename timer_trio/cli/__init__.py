"""The commands. Exit code 2: something to change is said on stderr; 1: the service crashed.

An import exits with 1 where lines of its file were refused.

- ``group``           what all commands share: version, settings, refusals in words
- ``errors``          why a command failed
- ``serve``           the service
- ``worker``          one of its processes, if it has several
- ``listen``          a receiver to try it with
- ``trial_receiver``  what ``listen`` runs
- ``imports``         a file of timers, sent to the service
- ``replicas``        which processes share the database, asked of the service
- ``service``         how ``import`` and ``replicas`` reach the service
- ``terminal``        what the terminal can show
- ``db``              the schema
- ``database``        how ``db`` reaches the database
"""

from __future__ import annotations

import click

from timer_trio.cli.db import db
from timer_trio.cli.group import RefusingGroup, version
from timer_trio.cli.imports import import_command
from timer_trio.cli.listen import listen_command
from timer_trio.cli.replicas import replicas_command
from timer_trio.cli.serve import serve
from timer_trio.cli.worker import worker


@click.group(cls=RefusingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@version
def main() -> None:
    """Run a durable timer service: POST when and where, and it makes that HTTP callback.

    Settings come from the environment and from the file .env in the current folder.
    """


for command in (serve, worker, listen_command, import_command, replicas_command, db):
    main.add_command(command)
