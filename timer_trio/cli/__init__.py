"""The commands. Exit code 2: something to change is said on stderr; 1: the service crashed.

An import exits with 1 where lines of its file were refused, `timers` where the service refuses.

- ``group``           what all commands share: version, settings, refusals in words
- ``on_demand``       the group of all commands, which loads the one that is asked for
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

from typing import Final

import click

from timer_trio.cli.group import version
from timer_trio.cli.on_demand import GroupOnDemand

_PLACES: Final = {
    "audit": "audit:audit_command",
    "bulk": "bulk:bulk_command",
    "cells": "cells:cells_command",
    "db": "db:db",
    "destinations": "destinations:destinations_command",
    "flows": "flows:flows_command",
    "import": "imports:import_command",
    "keys": "keys:keys_command",
    "listen": "listen:listen_command",
    "pause": "pauses:pause_command",
    "projects": "projects:projects_command",
    "replicas": "replicas:replicas_command",
    "resume": "pauses:resume_command",
    "schedules": "schedules:schedules_command",
    "serve": "serve:serve",
    "signing-secrets": "signing_secrets:signing_secrets_command",
    "timers": "timers:timers_command",
    "worker": "worker:worker",
}


@click.group(
    cls=GroupOnDemand, places=_PLACES, context_settings={"help_option_names": ["-h", "--help"]}
)
@version
def main() -> None:
    """Run a durable timer service: POST when and where, and it makes that HTTP callback.

    Settings come from the environment and from the file .env in the current folder.
    """
