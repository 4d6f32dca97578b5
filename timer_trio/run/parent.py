"""The parent's side of more than one process: it starts the workers and keeps them running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import structlog
import trio

from timer_trio.backoff import restart_pause_s
from timer_trio.cluster.heartbeat import sweep_predecessors
from timer_trio.config import Settings, StartRefusedError, environment_of
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.timer import ReplicaId
from timer_trio.embedded import exit_code
from timer_trio.lifecycle import Lifecycle
from timer_trio.run.lifeline import READY, STOP, Lifeline
from timer_trio.run.metrics_line import MetricsLine
from timer_trio.run.metrics_of_all import MetricsOfAll
from timer_trio.server import Listening
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage

LAST_S: Final = 15.0
"""What a worker may take beyond its grace, for its last claims and outcomes: then it is stuck."""
REFUSED: Final = 2
"""A worker exits with it where a person has to change something."""
_ENDED_WELL: Final = {0, -signal.SIGTERM, -signal.SIGHUP}
"""A signal ends a worker that has not begun; later it is a request to stop in order."""

log = structlog.get_logger()


async def prepare_database(url: str, *, alone: bool) -> None:
    """Migrate, once for all workers, and if nobody else can be alive free what the dead claim.

    While the database is away there is nothing to do: the workers wait for it, and see to both.

    Raises:
        MigrationError: the database cannot be brought to the schema.
    """
    try:
        await migrate_database(url)
        if alone:
            async with PostgresStorage(url, pool_size=1) as storage:
                await sweep_predecessors(storage, await storage.beat(ReplicaId(uuid4())))
    except (StorageUnavailableError, ContentionError) as error:
        log.warning("waiting_for_database", reason=str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a worker is started. The settings name the database and the key.

    `keep` are files that it holds open and does nothing with.
    """

    settings: Settings
    hypercorn_config: Path | None
    listening: Listening
    keep: Sequence[int]

    def __call__(self) -> Worker:
        """Start one, in a process group of its own: Ctrl-C in the terminal is for the parent.

        Call it in the main thread.

        Raises:
            OSError: the system has no room for it now.
        """
        with ExitStack() as ours, ExitStack() as theirs:
            lifeline, metrics = (_pair(ours, theirs) for _ in range(2))
            lines = (lifeline[1].fileno(), metrics[1].fileno())
            process = subprocess.Popen(  # noqa: S603 - our own command, no words of a consumer
                [*_program(), *self._options(*lines)],
                env=os.environ | environment_of(self.settings),
                stdin=subprocess.DEVNULL,
                pass_fds=(*lines, *self.listening.files, *self.keep),
                process_group=0,
            )
            ours.pop_all()
        return Worker(process, Lifeline(lifeline[0]), MetricsLine(metrics[0]))

    def _options(self, lifeline: int, metrics: int) -> list[str]:
        options = ["--lifeline", str(lifeline), "--metrics", str(metrics)]
        listening = self.listening
        for name, files in (("--main", listening.main), ("--insecure", listening.insecure)):
            for file in files:
                options += [name, str(file)]
        if self.hypercorn_config is not None:
            options += ["--hypercorn-config", str(self.hypercorn_config)]
        return options


def _pair(ours: ExitStack, theirs: ExitStack) -> tuple[socket.socket, socket.socket]:
    own, other = socket.socketpair()
    return ours.enter_context(own), theirs.enter_context(other)


def _program() -> list[str]:
    # Where this process does not look for modules in the current folder, no worker may.
    safe = [] if str(Path.cwd()) in sys.path else ["-P"]
    return [sys.executable, *safe, "-m", "timer_trio", "worker"]


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process, and the lines to it: with `lifeline` closed, it stops in order."""

    process: subprocess.Popen[bytes]
    lifeline: Lifeline
    metrics: MetricsLine


class Workers:
    """As many workers as there should be, each with a number from 1.

    `on_ready` is called when the first of them works, `on_stop` when they are told to stop. Who has
    not ended `LAST_S` after its grace, or after a hurry, is killed.
    """

    def __init__(
        self,
        start: Callable[[], Worker],
        *,
        metrics: MetricsOfAll,
        grace_s: float,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
    ) -> None:
        self._start = start
        self._metrics = metrics
        self._grace_s = grace_s
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._running: set[Worker] = set()
        self._lifecycle = Lifecycle()
        self._is_refused = False
        self._is_well = True

    async def run(self, count: int) -> bool:
        """Keep so many running until `stop`; answers whether they ended well then.

        Raises:
            StartRefusedError: one of them has said why it cannot run.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._kill_stuck)
            async with trio.open_nursery() as keeping:
                for number in range(1, count + 1):
                    keeping.start_soon(self._keep_running, number)
            nursery.cancel_scope.cancel()
        if self._is_refused:
            raise StartRefusedError("the workers cannot run: see above")
        return self._is_well

    def stop(self) -> None:
        """Stop all in order; called again, hurry them."""
        if not self._lifecycle.handing_over.is_set():
            self._on_stop()
        self._lifecycle.stop()
        for worker in self._running:
            worker.lifeline.send(STOP)

    async def _kill_stuck(self) -> None:
        await self._lifecycle.close_after(self._grace_s)
        await trio.sleep(LAST_S)
        for worker in self._running:
            log.error("worker_killed", pid=worker.process.pid, reason="it did not stop")
            worker.process.kill()

    async def _keep_running(self, number: int) -> None:
        pause_s = 0.0
        while not self._lifecycle.handing_over.is_set():
            began = trio.current_time()
            code = await self._run_one(number)
            if self._lifecycle.handing_over.is_set():
                self._is_well &= code in _ENDED_WELL
            elif code == REFUSED:
                self._is_refused = True
                self.stop()
            else:
                pause_s = restart_pause_s(pause_s, trio.current_time() - began)
                self._metrics.count_ended()
                log.error("worker_ended", worker=number, code=code, restart_in_s=pause_s)
                with trio.move_on_after(pause_s):
                    await self._lifecycle.handing_over.wait()

    async def _run_one(self, number: int) -> int | None:
        """Run a worker to its end; answers with its exit code, None: it was not to be started."""
        try:
            worker = self._start()
        except OSError as error:
            log.error("worker_not_started", worker=number, reason=str(error))  # noqa: TRY400 - the words say it all
            return None
        log.info("worker_started", worker=number, pid=worker.process.pid)
        self._running.add(worker)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._await_ready, number, worker.lifeline)
                nursery.start_soon(self._metrics.serve, worker.metrics)
                code = await exit_code(worker.process)
                nursery.cancel_scope.cancel()
        finally:
            self._running.remove(worker)
            worker.lifeline.close()
            worker.metrics.close()
            with trio.CancelScope(shield=True):
                # The database must not go before its last outcomes are written.
                await exit_code(worker.process)
        return code

    async def _await_ready(self, number: int, lifeline: Lifeline) -> None:
        if await lifeline.receive() != READY:
            return
        log.info("worker_ready", worker=number)
        if not self._lifecycle.running.is_set():
            self._lifecycle.running.set()
            self._on_ready()
