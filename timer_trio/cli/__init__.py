"""The commands. Exit code 2: something to change is said on stderr; 1: the service crashed.

An import exits with 1 where lines of its file were refused, `timers` where the service refuses.

- ``group``           what all commands share: version, settings, refusals in words
- ``errors``          why a command failed
- ``serve``           the service
- ``worker``          one of its processes, if it has several
- ``listen``          a receiver to try it with
- ``trial_receiver``  what ``listen`` runs
- ``imports``         a file of timers, sent to the service
- ``bulk``            many timers changed by the service
- ``replicas``        which processes share the database, asked of the service
- ``timers``          lists, reads, creates, cancels and redrives timers, asked of the service
- ``schedules``       likewise schedules
- ``projects``        likewise projects
- ``flows``           likewise flows
- ``destinations``    lists, pauses and resumes destinations
- ``pauses``          likewise all that a project sends
- ``keys``            likewise the keys of a project
- ``signing_secrets`` likewise what signs callbacks
- ``audit``           who has done what, asked of the service
- ``replan``          schedules planned anew, one after the other
- ``schedule_fields`` what a new schedule is, as options
- ``schedule_output`` schedules on a terminal, and for programs
- ``timer_filters``   which timers, as options
- ``timer_fields``    what a new timer is, as options
- ``timer_output``    timers on a terminal, and for programs
- ``output``          likewise whatever else
- ``values``          spans of time, instants and pairs as people write them
- ``asking``          one question to the service, and what it says
- ``service``         how these commands reach the service
- ``table``           rows of text in columns, or with tabs
- ``terminal``        what the terminal can show
- ``db``              the schema
- ``cells``           the databases among which timers are divided
- ``database``        how ``db`` reaches the database
"""

from __future__ import annotations

import click

from timer_trio.cli.audit import audit_command
from timer_trio.cli.bulk import bulk_command
from timer_trio.cli.cells import cells_command
from timer_trio.cli.db import db
from timer_trio.cli.destinations import destinations_command
from timer_trio.cli.flows import flows_command
from timer_trio.cli.group import RefusingGroup, version
from timer_trio.cli.imports import import_command
from timer_trio.cli.keys import keys_command
from timer_trio.cli.listen import listen_command
from timer_trio.cli.pauses import pause_command, resume_command
from timer_trio.cli.projects import projects_command
from timer_trio.cli.replicas import replicas_command
from timer_trio.cli.schedules import schedules_command
from timer_trio.cli.serve import serve
from timer_trio.cli.signing_secrets import signing_secrets_command
from timer_trio.cli.timers import timers_command
from timer_trio.cli.worker import worker


@click.group(cls=RefusingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@version
def main() -> None:
    """Run a durable timer service: POST when and where, and it makes that HTTP callback.

    Settings come from the environment and from the file .env in the current folder.
    """


for command in (
    *(serve, worker, listen_command, timers_command, import_command),
    *(schedules_command, bulk_command, replicas_command),
    *(flows_command, destinations_command, pause_command, resume_command),
    *(projects_command, keys_command, signing_secrets_command, audit_command),
):
    main.add_command(command)
main.add_command(db)
main.add_command(cells_command)
