"""A primary and its standbys, of the programs that the service carries: killed, frozen, promoted.

Each listens on a port of its own, so that a URL can name them all, as it would name machines.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg
import trio
from psycopg.conninfo import make_conninfo

from timer_trio.embedded.account import Account, choose_account
from timer_trio.embedded.binaries import installed_programs, reachable_programs
from timer_trio.embedded.initdb import DATABASE, SUPERUSER, make_cluster
from timer_trio.embedded.subprocesses import end_group, exit_code, log_tail
from timer_trio.threads import run_in_thread

HOST: Final = "127.0.0.1"
PATIENCE_S: Final = 30.0
LOOK_S: Final = 0.01
REPLICATES: Final = """\
local all all trust
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
"""
_SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "logging_collector": "off",
    "log_destination": "stderr",
    "hot_standby": "on",
    # Vacuum and statistics write as well: what a server has written is to be the service's alone.
    "autovacuum": "off",
    # For pg_rewind, which starts at the last checkpoint that both have in common.
    "wal_keep_size": "512MB",
    "wal_receiver_timeout": "5s",
    "wal_retrieve_retry_interval": "200ms",
    "track_commit_timestamp": "on",
}
_LOOKING: Final = trio.CapacityLimiter(4)
_OWN_SESSION: Final = "-c synchronous_commit=local -c statement_timeout=5s"
"""What a test writes by itself waits for no standby."""


class Server:
    """One server. `name`: what others call it as a standby; `settings`: what it is started with."""

    def __init__(self, name: str, folder: Path, account: Account, programs: Path) -> None:
        self.name = name
        self.port = _free_port()
        self.settings: dict[str, str] = {}
        self._folder = folder
        self._cluster = folder / "cluster"
        self._log = folder / "postgresql.log"
        self._account = account
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []
        folder.mkdir(mode=0o711)

    @property
    def url(self) -> str:
        return url_of([self])

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def make(self, **settings: str) -> None:
        """Make an empty cluster, and start on it with these settings beside its own."""
        await make_cluster(self._cluster, self._programs, self._account, self._log)
        (self._cluster / "pg_hba.conf").write_text(REPLICATES)
        await self.launch(**settings)

    async def follow(self, primary: Server) -> None:
        """Copy another server, and start as a standby of it; returns when it receives from it."""
        self._cluster.mkdir(0o700)
        os.chown(self._cluster, *self._account.file_owner)
        source = f"--dbname={primary.url}"
        await self._do("pg_basebackup", f"--pgdata={self._cluster}", source, "--checkpoint=fast")
        await self.launch_behind(primary)

    async def launch_behind(self, primary: Server) -> None:
        """Start as a standby of another; returns when it receives from it."""
        signal_file = self._cluster / "standby.signal"
        signal_file.touch()
        os.chown(signal_file, *self._account.file_owner)
        conninfo = f"host={HOST} port={primary.port} user={SUPERUSER} application_name={self.name}"
        await self.launch(primary_conninfo=conninfo)
        with trio.fail_after(PATIENCE_S):
            while not await primary.ask(_STREAMS, self.name):  # noqa: ASYNC110 - nothing tells
                await trio.sleep(LOOK_S)

    async def rewind(self, source: Server) -> None:
        """Drop what it wrote that another, promoted meanwhile, has not; it must have ended."""
        await self._do(
            "pg_rewind",
            f"--target-pgdata={self._cluster}",
            f"--source-server={source.url}",
            f"--config-file={self._cluster / 'postgresql.conf'}",
        )

    async def launch(self, **settings: str) -> None:
        """Start it with these settings beside its own; returns when it takes connections."""
        self.settings |= settings
        self._write_settings()
        command: list[str | Path] = [self._programs / "postgres", "-D", self._cluster]
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        with self._log.open("ab") as output:
            self._process = self._account.spawn(command, output)
        with trio.fail_after(PATIENCE_S):
            while not await self._answers():
                assert self.runs, log_tail(self._log)
                await trio.sleep(LOOK_S)

    async def set(self, **settings: str) -> None:
        """Have it use other settings; returns once new sessions do."""
        self.settings |= settings
        self._write_settings()
        os.kill(self._pid, signal.SIGHUP)
        with trio.fail_after(PATIENCE_S):
            for name, value in settings.items():
                await self._wait_shown(name, value)

    async def _wait_shown(self, name: str, value: str) -> None:
        while await self.ask("SELECT current_setting(%s)", name) != value:  # noqa: ASYNC110
            await trio.sleep(LOOK_S)

    async def stop_receiving(self) -> None:
        """Cut a standby off from its primary: what is committed from now on it never gets."""
        await self.set(primary_conninfo="")
        with trio.fail_after(PATIENCE_S):
            while await self.ask("SELECT true FROM pg_stat_wal_receiver"):  # noqa: ASYNC110
                await trio.sleep(LOOK_S)

    async def promote(self) -> None:
        """Make it the primary; returns when it can be written to."""
        self.settings.pop("primary_conninfo", None)
        await self.ask("SELECT pg_promote(false)")
        with trio.fail_after(PATIENCE_S):
            while await self.ask("SELECT pg_is_in_recovery()"):  # noqa: ASYNC110 - nothing tells
                await trio.sleep(LOOK_S)

    async def stop(self) -> None:
        """Stop it in good order (pg_ctl stop -m fast): its standbys get all that it has written."""
        os.kill(self._pid, signal.SIGINT)
        with trio.fail_after(PATIENCE_S):
            await self.wait_ended()

    async def kill(self) -> None:
        """End all its processes at once, as a power failure does."""
        self.freeze()
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.wait_ended()

    def freeze(self) -> None:
        """Stop all its processes where they stand: no signal reaches them together."""
        os.kill(self._pid, signal.SIGSTOP)
        self._frozen = [self._pid, *_children(self._pid)]
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in reversed(self._frozen):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def wait_ended(self) -> None:
        assert self._process is not None
        await exit_code(self._process)
        with trio.fail_after(PATIENCE_S):
            while any(map(_is_alive, self._frozen)):  # noqa: ASYNC110 - they are not ours to wait for
                await trio.sleep(LOOK_S)
        self._frozen = []

    async def end(self) -> None:
        """End it whatever state it is in."""
        if self.runs:
            await self.kill()

    async def ask(self, statement: str, *parameters: object) -> Any:
        """Read one value from it, on a connection for this alone."""

        def fetch() -> Any:
            conninfo = make_conninfo(self.url, options=_OWN_SESSION, connect_timeout=3)
            with psycopg.connect(conninfo, autocommit=True) as connection:
                cursor = connection.execute(statement.encode(), parameters or None)
                row = cursor.fetchone() if cursor.description else None
                return row[0] if row else None

        return await run_in_thread(fetch, limiter=_LOOKING)

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            return bool(await self.ask("SELECT true"))
        return False

    async def _do(self, program: str, *arguments: str) -> None:
        with self._log.open("ab") as output:
            process = self._account.spawn([self._programs / program, *arguments], output)
        try:
            code = await exit_code(process)
        finally:
            end_group(process)
        assert code == 0, log_tail(self._log)

    def _write_settings(self) -> None:
        # All in a file, since pg_rewind recovers a killed server by itself; it brings the file of
        # another server, as a backup does.
        whole = _SETTINGS | {"port": str(self.port)} | self.settings
        lines = [f"{name} = '{value}'\n" for name, value in whole.items()]
        (self._cluster / "postgresql.auto.conf").write_text("".join(lines))


_STREAMS: Final = """
SELECT true FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'
"""


class Servers:
    """Servers side by side; nothing of them is left behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._account = choose_account(folder / "cluster")
        self._programs = reachable_programs(installed_programs(), self._account, folder)
        self.all: list[Server] = []

    @property
    def url(self) -> str:
        """Names them all, in the order in which they were made."""
        return url_of(self.all)

    async def make_primary(self, name: str, **settings: str) -> Server:
        server = self._add(name)
        await server.make(**settings)
        return server

    async def make_standby(self, name: str, primary: Server, *, synchronous: bool) -> Server:
        server = self._add(name)
        await server.follow(primary)
        if synchronous:
            await primary.set(synchronous_standby_names=name)
        return server

    def _add(self, name: str) -> Server:
        server = Server(name, self._folder / name, self._account, self._programs)
        self.all.append(server)
        return server


@asynccontextmanager
async def several_servers(folder: Path) -> AsyncIterator[Servers]:
    """Have room for servers until the block ends."""
    servers = Servers(folder)
    try:
        yield servers
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(PATIENCE_S):
            for server in servers.all:
                await server.end()
                shutil.rmtree(server._cluster, ignore_errors=True)


def url_of(servers: Sequence[Server]) -> str:
    places = ",".join(f"{HOST}:{server.port}" for server in servers)
    return f"postgresql://{SUPERUSER}@{places}/{DATABASE}"


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


def _children(pid: int) -> list[int]:
    return [child for child in _processes() if _parent(child) == pid]


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        return int(_stat(pid)[1])
    return None


def _is_alive(pid: int) -> bool:
    with suppress(OSError):
        return _stat(pid)[0] != "Z"
    return False


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
