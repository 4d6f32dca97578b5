"""A peer as a contender: a program in Node, on a fresh database like the service's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, LiteralString

from benchmarks.contender import Contender
from benchmarks.database import Database, running_database
from benchmarks.peers.node import PEERS, installed_node
from benchmarks.programs import START_S, Program, running_command, temporary_folder
from benchmarks.timers import PAYLOAD
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.retry import RetryPolicy

# As advised for production. graphile-worker would make a line of text for each job otherwise.
_ENVIRON: Final = {"NODE_ENV": "production", "NO_LOG_SUCCESS": "1"}


@dataclass(frozen=True, slots=True)
class Kind:
    """Which program, and how to count its jobs that have not ended well."""

    program: str
    unfinished: LiteralString
    arguments: Sequence[str] = ()


PG_BOSS: Final = Kind(
    "pg_boss.js",
    "SELECT count(*) FROM pgboss.job WHERE name = 'callbacks' AND state <> 'completed'",
)
PG_BOSS_AT_ONCE: Final = replace(PG_BOSS, arguments=["10000"])
"""All callbacks of a burst under way at once, as those of the service may be."""
# It deletes what has ended well.
GRAPHILE_WORKER: Final = Kind(
    "graphile_worker.js", "SELECT count(*) FROM graphile_worker._private_jobs"
)


class Peer(Contender):
    """It writes its own jobs, and works them from its first `load` on."""

    def __init__(self, kind: Kind, program: Program, database: Database) -> None:
        super().__init__(program, [database])
        self._kind = kind

    def write(
        self,
        instants: Sequence[float],
        urls: Sequence[str],
        retry: RetryPolicy | None = None,
        flows: Sequence[FlowKey] = (),
    ) -> None:
        assert retry is None, "a peer has its own rules of retries"
        assert not flows, "a peer has its own queues"
        self.program.tell(json.dumps({"instants": instants, "urls": urls, "payload": PAYLOAD}))
        self.program.wait_line("written", START_S)

    def completed(self, instants: Sequence[float], attempts: int) -> int:  # noqa: ARG002 - of one
        return len(instants) - self.count(self._kind.unfinished)


@contextmanager
def peer(kind: Kind) -> Iterator[Contender]:
    """Run a peer, ready to be written to, until the block ends."""
    node = installed_node()
    with temporary_folder() as folder, running_database(folder / "data") as database:
        command = (str(node), str(PEERS / kind.program), database.url, *kind.arguments)
        with running_command(command, folder / "peer.log", _ENVIRON) as program:
            program.wait_line(f"started with {node.resolve()}", START_S)
            yield Peer(kind, program, database)
